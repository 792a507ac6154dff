//! The dynos that shall run and what is known of each: the wanted ones as a copy of their records,
//! the observed states in memory alone (a dynod tells them again after a reconnect).
//!
//! Everybody who waits for a dyno (a deploy, the upkeep, an attached one-off) waits here.

use crate::placement::Existing;
use crate::records::{Stage, Step, Want};
use model::dyno::{Id, State};
use model::feed::DynoChange;
use model::{app, release};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Fleet {
    inner: Mutex<View>,
    changes: watch::Sender<u64>,
}

/// What is known at one moment.
#[derive(Debug, Default)]
pub(crate) struct View {
    wants: BTreeMap<Id, Arc<Want>>,
    observed: HashMap<Id, DynoChange>,
    /// The last crash of each: a dynod starts a dyno again at once, and its next state may come
    /// before anybody has looked.
    crashes: HashMap<Id, DynoChange>,
    drained: HashSet<Id>,
    /// Wanted since before this process started, and not reported by a dynod since.
    unreported: BTreeSet<Id>,
}

impl Fleet {
    /// Starts with what the records say.
    pub(crate) fn new(wants: Vec<Want>) -> Self {
        let unreported = wants.iter().map(|want| want.dyno).collect();
        let wants = wants
            .into_iter()
            .map(|want| (want.dyno, Arc::new(want)))
            .collect();
        Self {
            inner: Mutex::new(View {
                wants,
                unreported,
                ..View::default()
            }),
            changes: watch::Sender::new(0),
        }
    }

    /// Takes over what a committed change did to the wanted dynos.
    pub(crate) fn apply(&self, steps: Vec<Step>) {
        if steps.is_empty() {
            return;
        }
        let mut view = self.lock();
        for step in steps {
            match step {
                Step::Put(want) => {
                    view.wants.insert(want.dyno, Arc::from(want));
                }
                Step::Remove(dyno) => {
                    view.wants.remove(&dyno);
                    view.observed.remove(&dyno);
                    view.crashes.remove(&dyno);
                    view.drained.remove(&dyno);
                    view.unreported.remove(&dyno);
                }
            }
        }
        drop(view);
        self.tell();
    }

    /// Takes what a dynod reports; returns the app when the dyno is one that is wanted.
    pub(crate) fn observe(&self, change: DynoChange) -> Option<app::Id> {
        let mut view = self.lock();
        let app = view.wants.get(&change.dyno)?.app;
        view.unreported.remove(&change.dyno);
        if change.state == State::Crashed {
            view.crashes.insert(change.dyno, change.clone());
        }
        view.observed.insert(change.dyno, change);
        drop(view);
        self.tell();
        Some(app)
    }

    /// Takes a router's word that a dyno gets nothing any more.
    pub(crate) fn drained(&self, dyno: Id) {
        let mut view = self.lock();
        if view.wants.contains_key(&dyno) {
            view.drained.insert(dyno);
            drop(view);
            self.tell();
        }
    }

    /// Looks at the moment.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.lock())
    }

    /// Waits until `look` finds something. Cancel-safe. The caller has the deadline.
    pub(crate) async fn wait_for<T>(&self, mut look: impl FnMut(&View) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = self.look(&mut look) {
                return found;
            }
            changes
                .changed()
                .await
                .expect("the sender lives as long as self");
        }
    }

    /// Hears of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn tell(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    /// All wanted dynos of an app, oldest first.
    pub(crate) fn of(&self, app: app::Id) -> Vec<Arc<Want>> {
        let mut wants: Vec<_> = self.all().filter(|want| want.app == app).cloned().collect();
        wants.sort_by_key(|want| (want.created_at_us, want.dyno));
        wants
    }

    /// All wanted dynos.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Want>> {
        self.wants.values()
    }

    /// One wanted dyno.
    pub(crate) fn want(&self, dyno: Id) -> Option<&Arc<Want>> {
        self.wants.get(&dyno)
    }

    /// What is known of a dyno; nothing before a dynod's first word.
    pub(crate) fn observed(&self, dyno: Id) -> Option<&DynoChange> {
        self.observed.get(&dyno)
    }

    /// The last crash of a dyno that may be running again.
    pub(crate) fn crash(&self, dyno: Id) -> Option<&DynoChange> {
        self.crashes.get(&dyno)
    }

    /// The state of a wanted dyno.
    pub(crate) fn state(&self, dyno: Id) -> State {
        self.observed(dyno)
            .map_or(State::Created, |seen| seen.state)
    }

    /// Why the web dynos of a release run isolated, if they would run central where they can.
    pub(crate) fn fallback(&self, app: app::Id, release: release::Number) -> Option<String> {
        let mut wants = self.wants.values().filter(|want| {
            let is_web = want.is_formation() && want.name.process_type.is_web();
            want.app == app && want.release == release && is_web
        });
        wants.find_map(|want| {
            let network = self.observed(want.dyno)?.network.as_ref()?;
            network.fallback().map(str::to_owned)
        })
    }

    /// Whether no router sends it anything.
    pub(crate) fn is_drained(&self, dyno: Id) -> bool {
        self.drained.contains(&dyno)
    }

    /// Whether the state of a dyno is known, as far as there is one: false only from the start of
    /// this process until a dynod has spoken of it.
    pub(crate) fn is_reported(&self, dyno: Id) -> bool {
        !self.unreported.contains(&dyno)
    }

    /// Whether that holds for every dyno. Until then a router would be told less than it knows.
    pub(crate) fn is_all_reported(&self) -> bool {
        self.unreported.is_empty()
    }

    /// The formation dynos of an app that are not about to leave, for placement.
    pub(crate) fn existing(&self, app: app::Id) -> Vec<Existing> {
        self.of(app)
            .iter()
            .filter(|want| want.is_formation() && !want.is_leaving())
            .map(|want| Existing {
                dyno: want.dyno,
                name: want.name.clone(),
                release: want.release,
                size: want.size,
                replaces: match want.stage {
                    Stage::Successor { of } => Some(of),
                    _ => None,
                },
            })
            .collect()
    }

    /// The new web dynos of a release that is not switched to yet.
    pub(crate) fn booting(&self, app: app::Id, release: release::Number) -> Vec<Arc<Want>> {
        let mut wants = self.of(app);
        wants.retain(|want| want.stage == Stage::Booting && want.release == release);
        wants
    }
}
