//! Builds that the API was asked for: each is taken from the feed, built and released like a push,
//! and its lines go to its output alone.

use crate::api::ApiError;
use crate::deploy::{self, Deploy};
use crate::output;
use crate::queue::Turn;
use crate::site::Site;
use link::feed::State;
use link::stop::Stop;
use model::app;
use model::feed::{BuildOrder, Item, Key, Pending};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Takes orders until stop, then waits for the builds that run.
pub(crate) async fn run(site: Arc<Site>, stop: Stop) {
    let mut states = site.api.feed.state.clone();
    let mut begun = HashSet::new();
    let mut builds = JoinSet::new();
    loop {
        let state = states.borrow_and_update().clone();
        for pending in fresh(&state, &mut begun) {
            builds.spawn(one(Arc::clone(&site), pending));
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() { break },
            Some(_) = builds.join_next() => {}
            () = stop.requested() => break,
        }
    }
    while builds.join_next().await.is_some() {}
}

/// Builds that wait for a builder and that were not begun here.
fn fresh(state: &State, begun: &mut HashSet<Uuid>) -> Vec<Pending> {
    if !state.is_live {
        return Vec::new();
    }
    begun.retain(|build| state.items.contains_key(&Key::Build(*build)));
    let waiting = state.items.values().filter_map(|item| match item.as_ref() {
        Item::Build(pending) if pending.is_free => Some(*pending),
        _ => None,
    });
    waiting
        .filter(|pending| begun.insert(pending.build))
        .collect()
}

async fn one(site: Arc<Site>, pending: Pending) {
    let taken = tokio::select! {
        taken = take(&site, pending) => taken,
        () = deploy::cancelled(&site, pending.build) => None,
        () = site.closing.requested() => None,
    };
    let Some((turn, order)) = taken else {
        return;
    };
    let name = order.app.name.clone();
    let (voice, scribe) = output::speak(None);
    let deploy = Deploy {
        order,
        turn,
        receive_ms: 0,
        moving: None,
    };
    let finished = deploy::deploy(&site, deploy, &voice, std::future::pending()).await;
    drop(voice);
    scribe.finish().await;
    match finished {
        Ok(finished) => finished.settle(&site, &name).await,
        Err(reason) => {
            tracing::info!(app.name = %name, build = %pending.build, reason, "no release");
        }
    }
}

/// The app's turn on this node, and the build itself; none when another has it.
async fn take(site: &Site, pending: Pending) -> Option<(Turn, BuildOrder)> {
    let turn = turn(site, pending.app).await?;
    loop {
        match site.api.take_build(pending.build).await {
            Ok(order) => return Some((turn, order)),
            // It waits for its answer, so that this is no busy loop.
            Err(ApiError::Silent(_)) => {}
            Err(error) => {
                tracing::info!(build = %pending.build, %error, "a build was not taken");
                return None;
            }
        }
    }
}

/// A push that has just been released keeps the turn until its branch has moved.
async fn turn(site: &Site, app: app::Id) -> Option<Turn> {
    let mut changes = site.queue.changes();
    loop {
        if let Some(turn) = site.queue.enter(app) {
            return Some(turn);
        }
        changes.changed().await.ok()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn each_order_is_begun_once() {
        let pending = |n: u128, is_free: bool| Pending {
            build: Uuid::from_u128(n),
            app: app::Id::new(Uuid::from_u128(9)),
            is_free,
        };
        let state = |all: &[Pending]| State {
            revision: 1,
            is_live: true,
            items: Arc::new(
                all.iter()
                    .map(|one| (Key::Build(one.build), Arc::new(Item::Build(*one))))
                    .collect::<HashMap<_, _>>(),
            ),
        };
        let mut begun = HashSet::new();
        let (one, two) = (pending(1, true), pending(2, false));
        assert_eq!(fresh(&state(&[one, two]), &mut begun), [one]);
        assert_eq!(fresh(&state(&[one, two]), &mut begun), []);
        let lost = State {
            is_live: false,
            ..state(&[])
        };
        assert_eq!(fresh(&lost, &mut begun), []);
        assert_eq!(begun.len(), 1);
        assert_eq!(fresh(&state(&[]), &mut begun), []);
        assert!(begun.is_empty());
    }
}
