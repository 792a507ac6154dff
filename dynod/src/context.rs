//! What every dyno's task uses, and what tasks know of each other.

use crate::crash::Policy;
use crate::log::Log;
use crate::nursery::Nursery;
use crate::seats::Seats;
use crate::slug::Slugs;
use crate::watch::Watcher;
use link::config::Config;
use link::feed::Feed;
use model::dyno::{Id, Network};
use model::feed::{DynoChange, Event};
use model::network::Range;
use model::query::Reply;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// What every dyno's task uses; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) nursery: Nursery,
    pub(crate) slugs: Slugs,
    pub(crate) log: Log,
    pub(crate) watcher: Watcher,
    pub(crate) feed: Feed,
    pub(crate) range: Range,
    pub(crate) dynos: PathBuf,
    pub(crate) policy: Policy,
    pub(crate) seats: Seats,
    reports: Arc<Mutex<BTreeMap<Id, DynoChange>>>,
    runs: Arc<Mutex<BTreeMap<Id, Run>>>,
}

/// The present run of a dyno, or its last, for those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// The nursery knows it.
    Known {
        /// Its slot.
        slot: u16,
        /// The way in which it is on the network.
        network: Network,
    },
    /// It ended; this is what there was to say of its port and of its start.
    Ended {
        /// To [`model::query::Query::Port`].
        port: Reply,
        /// To [`model::query::Query::Start`].
        start: Reply,
    },
}

impl Context {
    /// Puts everything together that a dyno's task uses.
    pub(crate) fn new(config: &Config, parts: (Nursery, Slugs, Log, Watcher, Feed)) -> Self {
        let (nursery, slugs, log, watcher, feed) = parts;
        Self {
            range: config.network,
            dynos: config.run_dir.join("dynos"),
            config: Arc::new(config.clone()),
            nursery,
            slugs,
            log,
            watcher,
            feed,
            policy: Policy::from(config.dynod),
            seats: Seats::default(),
            reports: Arc::default(),
            runs: Arc::default(),
        }
    }

    /// Keeps the last word about a dyno, to be said again to an api that was started anew.
    pub(crate) fn remember(&self, change: &DynoChange, ended: bool) {
        let mut reports = lock(&self.reports);
        if ended {
            reports.remove(&change.dyno);
        } else {
            reports.insert(change.dyno, change.clone());
        }
    }

    /// Tells the api how every dyno is.
    pub(crate) async fn say_all_again(&self) {
        let reports = lock(&self.reports).clone();
        for change in reports.into_values() {
            self.feed.event(Event::Dyno(change)).await;
        }
    }

    /// Notes how a dyno runs, or ran.
    pub(crate) fn note_run(&self, dyno: Id, run: Run) {
        lock(&self.runs).insert(dyno, run);
    }

    /// The dyno is gone, and its slot is another's.
    pub(crate) fn forget_run(&self, dyno: Id) {
        lock(&self.runs).remove(&dyno);
    }

    /// How a dyno runs, or ran.
    pub(crate) fn run_of(&self, dyno: Id) -> Option<Run> {
        lock(&self.runs).get(&dyno).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}
