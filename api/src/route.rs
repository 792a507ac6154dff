//! An app's route, from its records and the states of its dynos. Pure.

use crate::fleet::View;
use crate::records::{App, Stage};
use model::dyno::State;
use model::route::{self, Endpoint, EndpointState, Route};

/// The route of an app as routers shall have it now.
pub(crate) fn of(app: &App, hosts: Vec<String>, is_released: bool, view: &View) -> Route {
    let endpoints: Vec<_> = view
        .of(app.id)
        .iter()
        .filter(|want| want.is_formation() && want.name.process_type.is_web())
        .filter(|want| want.stage == Stage::Serving)
        .map(|want| Endpoint {
            dyno: want.dyno,
            name: want.name.clone(),
            state: endpoint(view, want.dyno),
        })
        .collect();
    let state = if app.maintenance {
        route::State::Maintenance
    } else if !is_released {
        route::State::Blank
    } else if endpoints.is_empty() {
        route::State::NoWeb
    } else {
        route::State::Web { endpoints }
    };
    Route {
        app: app.id,
        app_name: app.name.clone(),
        hosts,
        state,
    }
}

fn endpoint(view: &View, dyno: model::dyno::Id) -> EndpointState {
    match view.observed(dyno) {
        Some(seen) => match (seen.state, seen.address) {
            (State::Up, Some(address)) => EndpointState::Up { address },
            (State::Crashed | State::Complete, _) => EndpointState::Crashed,
            _ => EndpointState::Starting,
        },
        None => EndpointState::Starting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Fleet;
    use crate::records::Want;
    use crate::tests::{app, seen, want};

    fn check(wants: Vec<Want>, states: &[(u128, State)], is_released: bool, expected: &str) {
        let fleet = Fleet::new(wants);
        for (number, state) in states {
            fleet.observe(seen(*number, *state));
        }
        let route = fleet.look(|view| of(&app(), vec!["hello.x".to_owned()], is_released, view));
        assert_eq!(route.hosts, ["hello.x"]);
        let shown = match route.state {
            route::State::Web { endpoints } => endpoints
                .iter()
                .map(|endpoint| match endpoint.state {
                    EndpointState::Up { address } => format!("{} up {address}", endpoint.name),
                    state => format!("{} {state:?}", endpoint.name),
                })
                .collect::<Vec<_>>()
                .join(", "),
            state => format!("{state:?}"),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn states() {
        check(vec![], &[], false, "Blank");
        check(vec![], &[], true, "NoWeb");
        check(
            vec![want(1, "worker.1", Stage::Serving)],
            &[],
            true,
            "NoWeb",
        );
        check(vec![want(1, "web.1", Stage::Booting)], &[], true, "NoWeb");
        check(
            vec![want(1, "web.1", Stage::Serving)],
            &[],
            true,
            "web.1 Starting",
        );
        check(
            vec![
                want(1, "web.1", Stage::Serving),
                want(2, "web.2", Stage::Serving),
                want(3, "web.3", Stage::Leaving { since_us: 1 }),
                want(
                    4,
                    "web.1",
                    Stage::Successor {
                        of: model::dyno::Id::new(uuid::Uuid::from_u128(1)),
                    },
                ),
            ],
            &[
                (1, State::Up),
                (2, State::Crashed),
                (3, State::Up),
                (4, State::Up),
            ],
            true,
            "web.1 up 10.201.128.2:5000, web.2 Crashed",
        );
    }
}
