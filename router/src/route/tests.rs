//! Choosing and waiting, over tables as the api tells them.

use super::*;
use crate::table::Table;
use model::route as told;

fn app() -> app::Id {
    app::Id::parse("00000000-0000-4000-8000-000000000001").unwrap()
}

fn dyno_id(n: u32) -> dyno::Id {
    dyno::Id::parse(&format!("00000000-0000-4000-8000-1000000000{n:02}")).unwrap()
}

fn up(n: u32) -> told::Endpoint {
    endpoint(
        n,
        EndpointState::Up {
            address: SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 5000),
        },
    )
}

fn endpoint(n: u32, state: EndpointState) -> told::Endpoint {
    told::Endpoint {
        dyno: dyno_id(n),
        name: dyno::Name::parse(&format!("web.{n}")).unwrap(),
        state,
    }
}

fn tell(table: &Table, state: told::State) {
    let route = told::Route {
        app: app(),
        app_name: app::Name::parse("hello").unwrap(),
        hosts: vec!["hello.test".to_owned()],
        state,
    };
    table.apply([route].iter());
}

fn web(endpoints: Vec<told::Endpoint>) -> told::State {
    told::State::Web { endpoints }
}

fn table(state: told::State) -> (Table, Arc<Route>) {
    let table = Table::default();
    tell(&table, state);
    let route = table.lookup("hello.test").unwrap();
    (table, route)
}

async fn ask(route: &Route, wait: Duration) -> Result<String, Failure> {
    let held = AtomicUsize::new(0);
    let using = route.dyno(Instant::now() + wait, &held, || 0).await?;
    assert_eq!(held.load(Ordering::Relaxed), 0);
    Ok(using.dyno.name.clone())
}

#[tokio::test]
async fn what_answers_for_a_route() {
    let crashed = |n| endpoint(n, EndpointState::Crashed);
    let starting = |n| endpoint(n, EndpointState::Starting);
    for (state, wanted) in [
        (told::State::Blank, Err(Failure::Blank)),
        (told::State::NoWeb, Err(Failure::NoWeb)),
        (told::State::Maintenance, Err(Failure::Maintenance)),
        (web(vec![crashed(1)]), Err(Failure::Crashed)),
        (
            web(vec![crashed(1), starting(2)]),
            Err(Failure::BootTimeout),
        ),
        (web(vec![]), Err(Failure::BootTimeout)),
        (web(vec![crashed(1), up(2)]), Ok("web.2".to_owned())),
    ] {
        let (_, route) = table(state.clone());
        let answer = ask(&route, Duration::from_millis(5)).await;
        assert_eq!(answer, wanted, "{state:?}");
    }
}

#[tokio::test]
async fn a_held_request_goes_on_when_a_dyno_is_up() {
    let (table, route) = table(web(vec![endpoint(1, EndpointState::Starting)]));
    let (answer, ()) = tokio::join!(ask(&route, Duration::from_secs(5)), async {
        tokio::task::yield_now().await;
        tell(&table, web(vec![up(1)]));
    });
    assert_eq!(answer, Ok("web.1".to_owned()));
}

#[tokio::test]
async fn quarantine_ends() {
    let (_, route) = table(web(vec![up(1)]));
    let held = AtomicUsize::new(0);
    let using = route.dyno(Instant::now(), &held, || 0).await.unwrap();
    using.dyno.quarantine(Duration::from_millis(30));
    drop(using);
    let soon = ask(&route, Duration::from_millis(2)).await;
    assert_eq!(soon, Err(Failure::Platform));
    assert_eq!(
        ask(&route, Duration::from_secs(5)).await,
        Ok("web.1".to_owned())
    );
}

#[tokio::test]
async fn a_dyno_that_left_is_drained_when_its_last_request_ends() {
    let (table, route) = table(web(vec![up(1), up(2)]));
    let held = AtomicUsize::new(0);
    let using = route.dyno(Instant::now(), &held, || 0).await.unwrap();
    let (busy, idle) = if using.dyno.id == dyno_id(1) {
        (1, 2)
    } else {
        (2, 1)
    };
    tell(&table, web(vec![up(3)]));
    let drains = table.drains();
    assert_eq!(drains.next().await, [dyno_id(idle)]);
    assert_eq!(ask(&route, Duration::ZERO).await, Ok("web.3".to_owned()));
    let early = tokio::time::timeout(Duration::from_millis(5), drains.next()).await;
    assert!(early.is_err(), "its request is still under way");
    drop(using);
    assert_eq!(drains.next().await, [dyno_id(busy)]);
}

#[test]
fn requests_at_once_are_bounded() {
    let (_, route) = table(web(vec![up(1), up(2)]));
    let entered: Vec<Entered> = (0..400).map(|_| route.enter().unwrap()).collect();
    assert_eq!(route.enter().unwrap_err(), Failure::Backlog);
    drop(entered);
    assert!(route.enter().is_ok());
}
