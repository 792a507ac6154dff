//! Who may build when: one build per app, a few at once on this node, the rest in line.

use model::app;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The builds of this node.
#[derive(Clone, Debug)]
pub(crate) struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    at_once: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Apps whose turn is taken, and what for.
    apps: BTreeMap<app::Id, Use>,
    running: usize,
    line: VecDeque<u64>,
    next: u64,
}

/// What an app's turn is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// A build, running or in line.
    Build,
    /// Its repository is tidied, which is soon over.
    Tidying,
}

/// An app's turn; dropping it ends it, wherever it stands.
#[derive(Debug)]
pub(crate) struct Turn {
    queue: Queue,
    app: app::Id,
    ticket: u64,
    is_running: bool,
}

impl Queue {
    /// A queue that lets so many builds run at once.
    pub(crate) fn new(at_once: usize) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            at_once,
        }))
    }

    /// Takes a place in line; none if the app's turn is taken.
    pub(crate) fn enter(&self, app: app::Id) -> Option<Turn> {
        self.take(app, Use::Build)
    }

    /// Takes the app's turn to tidy its repository, outside of the line.
    pub(crate) fn tidy(&self, app: app::Id) -> Option<Turn> {
        self.take(app, Use::Tidying)
    }

    fn take(&self, app: app::Id, purpose: Use) -> Option<Turn> {
        let mut state = self.lock();
        if state.apps.contains_key(&app) {
            return None;
        }
        state.apps.insert(app, purpose);
        let ticket = state.next;
        state.next += 1;
        if purpose == Use::Build {
            state.line.push_back(ticket);
        }
        Some(Turn {
            queue: self.clone(),
            app,
            ticket,
            is_running: false,
        })
    }

    /// What to wait on before entering again; taken before the try, so that no change is missed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Whether the app's turn is taken.
    pub(crate) fn has(&self, app: app::Id) -> bool {
        self.lock().apps.contains_key(&app)
    }

    /// Whether it is taken for what is soon over.
    pub(crate) fn is_tidying(&self, app: app::Id) -> bool {
        self.lock().apps.get(&app) == Some(&Use::Tidying)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Takes a free place; else says how many builds come before.
    pub(crate) fn try_start(&mut self) -> Result<(), usize> {
        let mut state = self.queue.lock();
        let place = state.line.iter().position(|ticket| *ticket == self.ticket);
        let ahead = place.unwrap_or(0) + state.running;
        if ahead >= self.queue.0.at_once {
            return Err(ahead + 1 - self.queue.0.at_once);
        }
        state.line.retain(|ticket| *ticket != self.ticket);
        state.running += 1;
        self.is_running = true;
        Ok(())
    }

    /// As [`Queue::changes`], for the next try.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.queue.changes()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.apps.remove(&self.app);
        state.line.retain(|ticket| *ticket != self.ticket);
        if self.is_running {
            state.running -= 1;
        }
        drop(state);
        self.queue.0.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_start_in_order_and_each_app_has_one() {
        let queue = Queue::new(2);
        let apps: Vec<app::Id> = (0..4).map(|_| app::Id::new(uuid::Uuid::new_v4())).collect();
        let mut turns: VecDeque<Turn> = apps
            .iter()
            .map(|app| queue.enter(*app).expect("the first of its app"))
            .collect();
        assert!(queue.enter(apps[0]).is_none());
        let tries: Vec<_> = turns.iter_mut().map(Turn::try_start).collect();
        assert_eq!(tries, [Ok(()), Ok(()), Err(1), Err(2)]);
        let changes = turns[2].changes();
        turns.pop_front();
        assert!(changes.has_changed().unwrap());
        assert!(queue.enter(apps[0]).is_some(), "its build ended");
        // The last in line does not overtake.
        assert_eq!(turns[2].try_start(), Err(1));
        assert_eq!(turns[1].try_start(), Ok(()));
        drop(turns);
        assert!(!queue.has(apps[3]));
        let tidying = queue.tidy(apps[0]);
        assert!(tidying.is_some() && queue.is_tidying(apps[0]));
        assert!(queue.enter(apps[0]).is_none());
        drop(tidying);
        assert!(queue.enter(apps[0]).is_some());
    }
}
