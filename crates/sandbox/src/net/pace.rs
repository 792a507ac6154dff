//! How often to look at the rules, and to restore them: soon after a change, slowly in a fight.
//!
//! Pure: told what happens and when, it says what to do next. Our own loading is a change as well,
//! so each restoring is followed by one more look, which finds all in order and ends it.

use std::time::{Duration, Instant};

/// How long changes are collected: a tool makes several in a row.
const SOON: Duration = Duration::from_millis(20);
/// Between two looks that found nothing missing.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two restorings in a row at first; each doubles it.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause: a fight costs one load a minute.
const LONGEST: Duration = Duration::from_mins(1);
/// Without a restoring for so long, a fight is over.
const PEACE: Duration = Duration::from_mins(10);

/// What a look at the rules has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// All was there.
    Whole,
    /// Something was missing and is there again.
    Restored,
    /// It could not be restored.
    Failed,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Look after this time.
    Wait(Duration),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Waiting,
    Looking {
        is_touched: bool,
    },
}

/// Where we are.
#[derive(Debug, Default)]
pub(super) struct Pace {
    state: State,
    /// Not before.
    next: Option<Instant>,
    /// The last restoring, and the pause after it.
    last: Option<(Instant, Duration)>,
}

impl Pace {
    /// A rule of ours may be gone.
    pub(super) fn touched(&mut self, now: Instant) -> Option<Step> {
        match self.state {
            State::Idle => Some(self.wait(now)),
            State::Waiting => None,
            State::Looking { .. } => {
                self.state = State::Looking { is_touched: true };
                None
            }
        }
    }

    /// The time is over, a look begins.
    pub(super) fn looking(&mut self) {
        self.state = State::Looking { is_touched: false };
    }

    /// The look has ended.
    pub(super) fn looked(&mut self, looked: Looked, now: Instant) -> Option<Step> {
        let is_touched = self.state == State::Looking { is_touched: true };
        self.state = State::Idle;
        let pause = match looked {
            Looked::Whole => PAUSE,
            Looked::Restored | Looked::Failed => {
                let again = self
                    .last
                    .filter(|(last, _)| now.duration_since(*last) < PEACE);
                let pause = again.map_or(FIRST, |(_, pause)| LONGEST.min(pause * 2));
                self.last = Some((now, pause));
                pause
            }
        };
        self.next = Some(now + pause);
        (is_touched || looked == Looked::Failed).then(|| self.wait(now))
    }

    fn wait(&mut self, now: Instant) -> Step {
        self.state = State::Waiting;
        let until = self
            .next
            .map_or(SOON, |next| next.saturating_duration_since(now));
        Step::Wait(until.max(SOON))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_answered_at_once_and_looked_at_once_more() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.touched(now), Some(Step::Wait(SOON)));
        assert_eq!(pace.touched(now), None, "one timer for a burst of changes");
        pace.looking();
        assert_eq!(pace.touched(now), None, "our own load");
        assert_eq!(pace.looked(Looked::Restored, now), Some(Step::Wait(FIRST)));
        pace.looking();
        assert_eq!(pace.looked(Looked::Whole, now + FIRST), None);
        let later = now + PAUSE * 5;
        assert_eq!(pace.touched(later), Some(Step::Wait(SOON)));
    }

    #[test]
    fn a_fight_slows_down_and_is_forgotten() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let start = now;
        let mut loads = 0;
        let mut step = pace.touched(now);
        while now.duration_since(start) < Duration::from_hours(1) {
            let Some(Step::Wait(time)) = step else {
                unreachable!("somebody removes them each time")
            };
            now += time;
            pace.looking();
            assert_eq!(pace.touched(now), None);
            step = pace.looked(Looked::Restored, now);
            loads += 1;
        }
        assert!((60..80).contains(&loads), "{loads} in an hour");
        pace.looking();
        assert_eq!(pace.looked(Looked::Whole, now), None);
        now += PEACE;
        assert_eq!(pace.touched(now), Some(Step::Wait(SOON)));
        pace.looking();
        assert_eq!(pace.touched(now), None);
        assert_eq!(pace.looked(Looked::Restored, now), Some(Step::Wait(FIRST)));
    }

    #[test]
    fn what_cannot_be_restored_is_tried_again() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(pace.touched(now).is_some());
        pace.looking();
        assert_eq!(pace.looked(Looked::Failed, now), Some(Step::Wait(FIRST)));
    }
}
