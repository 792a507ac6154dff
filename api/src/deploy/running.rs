//! A release on its way to serving, as others see it: its output, its end, and the way to stop it.

use model::app;
use model::release::Number;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Lines of a release phase that are kept in memory for those who follow; the file has all.
const LINES_MAX: usize = 10_000;

/// How a deploy ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The route was switched.
    Released {
        /// Time of the release phase.
        release_ms: u64,
        /// Time until the new web dynos were up.
        start_ms: u64,
    },
    /// The old release serves on.
    NotReleased(NotReleased),
}

/// Why a release does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotReleased {
    /// `dynos did not boot`
    pub(crate) reason: String,
    /// For the person who pushed, the cause last.
    pub(crate) lines: Vec<String>,
}

/// A deploy that runs in this process.
#[derive(Debug)]
pub(crate) struct Running {
    /// Of which release.
    pub(crate) release: Number,
    state: watch::Sender<State>,
    cancelled: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    outcome: Option<Outcome>,
}

impl Running {
    fn new(release: Number) -> Self {
        Self {
            release,
            state: watch::Sender::default(),
            cancelled: watch::Sender::new(false),
        }
    }

    /// Adds a line of the release phase.
    pub(super) fn line(&self, line: String) {
        self.state.send_modify(|state| {
            if state.lines.len() < LINES_MAX {
                state.lines.push(line);
            }
        });
    }

    pub(super) fn end(&self, outcome: Outcome) {
        self.state
            .send_modify(|state| state.outcome = Some(outcome));
    }

    /// Asks the deploy to stop; after the switch it has no effect.
    pub(crate) fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Waits until somebody asks for that. Cancel-safe.
    pub(super) async fn cancelled(&self) {
        let mut cancelled = self.cancelled.subscribe();
        cancelled
            .wait_for(|asked| *asked)
            .await
            .expect("the sender lives as long as self");
    }

    /// Waits for the end. Cancel-safe.
    pub(crate) async fn outcome(&self) -> Outcome {
        self.follow(&mut 0).await.1
    }

    /// Waits for lines from `seen` on, or for the end: at least one of the two is not empty. Lines
    /// that came before the end are given first.
    pub(crate) async fn next(&self, seen: &mut usize) -> (Vec<String>, Option<Outcome>) {
        let mut state = self.state.subscribe();
        let from = *seen;
        let state = state
            .wait_for(|state| state.lines.len() > from || state.outcome.is_some())
            .await
            .expect("the sender lives as long as self");
        let lines: Vec<String> = state.lines.iter().skip(from).cloned().collect();
        *seen += lines.len();
        (lines, state.outcome.clone())
    }

    async fn follow(&self, seen: &mut usize) -> (Vec<String>, Outcome) {
        let mut all = Vec::new();
        loop {
            let (lines, outcome) = self.next(seen).await;
            all.extend(lines);
            if let Some(outcome) = outcome {
                return (all, outcome);
            }
        }
    }
}

/// All deploys that run: one per app at most, since each holds the app's turn.
#[derive(Debug, Default)]
pub(crate) struct Deploys(Mutex<HashMap<app::Id, Arc<Running>>>);

impl Deploys {
    /// The one of an app.
    pub(crate) fn of(&self, app: app::Id) -> Option<Arc<Running>> {
        self.lock().get(&app).cloned()
    }

    pub(super) fn add(&self, app: app::Id, release: Number) -> Arc<Running> {
        let running = Arc::new(Running::new(release));
        let before = self.lock().insert(app, Arc::clone(&running));
        debug_assert!(before.is_none(), "a deploy holds the app's turn");
        running
    }

    pub(super) fn remove(&self, app: app::Id) {
        self.lock().remove(&app);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<app::Id, Arc<Running>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_before_the_end() {
        let running = Running::new(Number(3));
        running.line("a".to_owned());
        let mut seen = 0;
        assert_eq!(running.next(&mut seen).await, (vec!["a".to_owned()], None));
        running.line("b".to_owned());
        let outcome = Outcome::Released {
            release_ms: 1,
            start_ms: 2,
        };
        running.end(outcome.clone());
        let end = (vec!["b".to_owned()], Some(outcome.clone()));
        assert_eq!(running.next(&mut seen).await, end);
        assert_eq!(running.outcome().await, outcome);
    }
}
