//! What a client's connection is doing, for the one timer that watches it.
//!
//! Deadlines move by storing a number; the timer compares when it fires. Atomics, since hyper wants
//! the stream, which notes reads and writes here, to be `Send`; all of it runs on one thread.

use crate::timers::{Timers, milliseconds, now_ms};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;
/// As `HEAD`, and not one byte of it has come.
const FRESH: u8 = 3;

/// The state of a connection to a client.
#[derive(Debug)]
pub(crate) struct Activity {
    phase: AtomicU8,
    since_ms: AtomicU64,
    /// When a write found no room; 0: there is room.
    stuck_since_ms: AtomicU64,
    has_stalled: AtomicBool,
}

/// What a look at the connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Look again at this moment, milliseconds of the router's clock.
    LookAt(u64),
    /// It is to be closed.
    Expired,
}

impl Activity {
    /// A connection that was accepted and owes its first request.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(FRESH),
            since_ms: AtomicU64::new(now_ms()),
            stuck_since_ms: AtomicU64::new(0),
            has_stalled: AtomicBool::new(false),
        })
    }

    /// A request's head is there; its turn ends when the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Turn {
        self.enter(BUSY);
        Turn(Arc::clone(self))
    }

    /// Bytes came from the client.
    pub(crate) fn has_read(&self) {
        match self.phase.load(Ordering::Relaxed) {
            IDLE => self.enter(HEAD),
            FRESH => self.phase.store(HEAD, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Whether the client has not sent anything yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == FRESH
    }

    /// A write to the client went through, or found no room.
    pub(crate) fn has_written(&self, had_room: bool) {
        let stuck = self.stuck_since_ms.load(Ordering::Relaxed);
        if had_room {
            if stuck != 0 {
                self.stuck_since_ms.store(0, Ordering::Relaxed);
            }
        } else if stuck == 0 {
            self.stuck_since_ms.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// Whether the client was given up for not reading its answer.
    pub(crate) fn has_stalled(&self) -> bool {
        self.has_stalled.load(Ordering::Relaxed)
    }

    /// Compares the deadlines with the clock.
    pub(crate) fn look(&self, timers: &Timers) -> Verdict {
        let now = now_ms();
        let idle = milliseconds(timers.idle);
        let stuck = match self.stuck_since_ms.load(Ordering::Relaxed) {
            0 => u64::MAX,
            since => since + idle,
        };
        if now >= stuck {
            self.has_stalled.store(true, Ordering::Relaxed);
            return Verdict::Expired;
        }
        let since = self.since_ms.load(Ordering::Relaxed);
        let head = milliseconds(timers.head);
        let client_idle = milliseconds(timers.client_idle);
        let phase = match self.phase.load(Ordering::Relaxed) {
            IDLE => since + client_idle,
            HEAD | FRESH => since + head,
            _ => u64::MAX,
        };
        if now >= phase {
            return Verdict::Expired;
        }
        // Any phase may begin meanwhile: its own deadline is no nearer than the shortest wait.
        let soonest = now + head.min(client_idle).min(idle);
        Verdict::LookAt(phase.min(stuck).min(soonest))
    }

    fn enter(&self, phase: u8) {
        self.since_ms.store(now_ms(), Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }
}

/// A request's turn on its connection.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Activity>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.enter(IDLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_phase_has_its_deadline() {
        let long = Duration::from_hours(1);
        let timers = |head, client_idle| Timers {
            head,
            client_idle,
            idle: long,
            ..Timers::default()
        };
        let zero = Duration::ZERO;
        let activity = Activity::new();
        assert_eq!(activity.look(&timers(zero, long)), Verdict::Expired);
        assert!(matches!(
            activity.look(&timers(long, zero)),
            Verdict::LookAt(_)
        ));
        let turn = activity.begin();
        assert!(matches!(
            activity.look(&timers(zero, zero)),
            Verdict::LookAt(_)
        ));
        drop(turn);
        assert_eq!(activity.look(&timers(long, zero)), Verdict::Expired);
        activity.has_read();
        assert!(matches!(
            activity.look(&timers(long, zero)),
            Verdict::LookAt(_)
        ));
        activity.has_written(false);
        let stuck = Timers {
            idle: zero,
            ..timers(long, long)
        };
        assert_eq!(activity.look(&stuck), Verdict::Expired);
        assert!(activity.has_stalled());
        activity.has_written(true);
        assert!(matches!(activity.look(&stuck), Verdict::LookAt(_)));
    }
}
