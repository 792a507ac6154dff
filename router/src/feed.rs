//! The table follows the api's feed; dynos that are drained are reported upstream.

use crate::access::Message;
use crate::table::Table;
use link::feed::Feed;
use model::feed::{Event, Item};
use model::{app, limits};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// What follows what.
pub(crate) struct Follow {
    pub(crate) feed: Feed,
    pub(crate) table: Arc<Table>,
    /// The disk copy of the table.
    pub(crate) copy: PathBuf,
    pub(crate) log: SyncSender<Message>,
}

/// Waits for the api's first word and puts it into the table, so that a router that was just
/// started again does not answer from a copy that is a second old. An api that is away is not
/// waited for any longer than [`limits::FIRST_STATE_WAIT_MS`]: then the copy has to do.
pub(crate) async fn first_word(feed: &Feed, table: &Table) {
    let mut states = feed.state.clone();
    let live = states.wait_for(|state| state.is_live);
    let wait = Duration::from_millis(limits::FIRST_STATE_WAIT_MS);
    let Ok(Ok(state)) = tokio::time::timeout(wait, live).await else {
        tracing::warn!("the api is away: routes are those of the disk copy");
        return;
    };
    let routes = state.items.values().filter_map(|item| match &**item {
        Item::Route(route) => Some(route),
        Item::App(_) | Item::Want(_) | Item::Build(_) => None,
    });
    table.apply(routes);
}

impl Follow {
    /// Never ends by itself; dropped, it leaves a whole disk copy behind.
    pub(crate) async fn run(self) {
        tokio::join!(self.routes(), self.drains(), self.save());
    }

    async fn routes(&self) {
        let mut states = self.feed.state.clone();
        loop {
            let state = states.borrow_and_update().clone();
            // Before the first snapshot there is nothing to know better than the disk copy.
            if state.is_live {
                let items = || state.items.values().map(AsRef::as_ref);
                let routes = items().filter_map(|item| match item {
                    Item::Route(route) => Some(route),
                    Item::App(_) | Item::Want(_) | Item::Build(_) => None,
                });
                if self.table.apply(routes) {
                    tracing::debug!(state.revision, "routes changed");
                }
                let living: BTreeSet<app::Id> = items()
                    .filter_map(|item| match item {
                        Item::App(app) => Some(app.id),
                        Item::Route(route) => Some(route.app),
                        Item::Want(_) | Item::Build(_) => None,
                    })
                    .collect();
                if self.log.try_send(Message::Living(living)).is_err() {
                    tracing::debug!("journals of gone apps are looked for at the next change");
                }
                let revision = state.revision;
                self.feed.event(Event::Routed { revision }).await;
            }
            if states.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn drains(&self) {
        let drains = self.table.drains();
        loop {
            for dyno in drains.next().await {
                self.feed.event(Event::Drained { dyno }).await;
            }
        }
    }

    async fn save(&self) {
        let mut generation = self.table.generation();
        loop {
            if generation.changed().await.is_err() {
                return std::future::pending().await;
            }
            let (table, copy) = (Arc::clone(&self.table), self.copy.clone());
            let saved = tokio::task::spawn_blocking(move || table.save(&copy)).await;
            match saved {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the disk copy of the routes is old"
                ),
                Err(error) => tracing::error!(%error, "saving the routes panicked"),
            }
            // Changes in between are in the next copy: at most one a second.
            tokio::time::sleep(Duration::from_millis(limits::TABLE_SAVE_PAUSE_MS)).await;
        }
    }
}
