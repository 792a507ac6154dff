//! What has to be done about dynos without anybody asking: a successor that is up takes over, a
//! dyno that is drained stops, a one-off that ended is forgotten.
//!
//! One task per api. It decides purely ([`plan`]) and then changes records; killed in between, the
//! next api decides the same again.

use crate::clock::now_us;
use crate::fleet::View;
use crate::platform::Platform;
use crate::records::{RecordsError, Stage, Want};
use model::dyno::{Id, Purpose, State};
use model::limits::{BOOT_TIMEOUT_MS, DRAIN_TIMEOUT_MS};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a successor may take, microseconds: a dynod gives up on it before (R10).
const TAKE_OVER_TIMEOUT_US: u64 = (BOOT_TIMEOUT_MS + 30_000) * 1000;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// It serves now, and the other one leaves.
    TakeOver { new: Id, old: Id },
    /// It shall not run any more.
    Remove(Id),
}

/// Runs until the platform stops.
pub(crate) async fn run(platform: Arc<Platform>) {
    let mut changes = platform.fleet.changes();
    while !platform.stop.is_requested() {
        changes.mark_unchanged();
        let (steps, next_us) = platform.fleet.look(|view| plan(view, now_us()));
        if !steps.is_empty() {
            if let Err(error) = apply(&platform, &steps).await {
                crate::say::failed("keep the dynos in order", &error);
            } else {
                continue;
            }
        }
        let pause_us = next_us.map_or(3_600_000_000, |at| at.saturating_sub(now_us()).max(1000));
        tokio::select! {
            () = platform.stop.requested() => {}
            _ = changes.changed() => {}
            () = tokio::time::sleep(Duration::from_micros(pause_us)) => {}
        }
    }
}

/// What is to be done now, and when to look again though nothing happened.
fn plan(view: &View, now_us: u64) -> (Vec<Step>, Option<u64>) {
    let mut steps = Vec::new();
    let mut next: Option<u64> = None;
    let mut deadline = |at: u64| {
        next = Some(next.map_or(at, |next| next.min(at)));
        at <= now_us
    };
    for want in view.all() {
        let state = view.state(want.dyno);
        let has_ended = matches!(state, State::Crashed | State::Complete | State::Down);
        match (want.stage, &want.purpose) {
            (Stage::Leaving { since_us }, _) => {
                let is_quiet = (state != State::Up && view.is_reported(want.dyno))
                    || view.is_drained(want.dyno);
                if is_quiet || deadline(since_us + DRAIN_TIMEOUT_MS * 1000) {
                    steps.push(Step::Remove(want.dyno));
                }
            }
            (Stage::Successor { of }, _) => {
                let is_settled = matches!(state, State::Up | State::Crashed);
                if is_settled
                    || view.want(of).is_none()
                    || deadline(want.created_at_us + TAKE_OVER_TIMEOUT_US)
                {
                    let (new, old) = (want.dyno, of);
                    steps.push(Step::TakeOver { new, old });
                }
            }
            (_, Purpose::Detached { .. } | Purpose::Attached { .. }) if has_ended => {
                steps.push(Step::Remove(want.dyno));
            }
            _ => {}
        }
    }
    (steps, next)
}

async fn apply(platform: &Arc<Platform>, steps: &[Step]) -> Result<(), RecordsError> {
    let mut change = platform.begin().await;
    let wants: Vec<Arc<Want>> = platform.fleet.look(|view| view.all().cloned().collect());
    let find = |dyno: Id| wants.iter().find(|want| want.dyno == dyno);
    let removed: BTreeSet<_> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Remove(dyno) => Some(*dyno),
            Step::TakeOver { .. } => None,
        })
        .collect();
    for step in steps {
        match step {
            Step::Remove(dyno) => {
                if let Some(want) = find(*dyno) {
                    change.remove_want(want);
                }
            }
            Step::TakeOver { new, old } => {
                if let Some(want) = find(*new) {
                    change.put_want(&in_stage(want, Stage::Serving));
                }
                if let Some(want) = find(*old).filter(|want| !removed.contains(&want.dyno)) {
                    let since_us = now_us();
                    change.put_want(&in_stage(want, Stage::Leaving { since_us }));
                }
            }
        }
    }
    change.commit().await
}

/// The same dyno in another stage.
pub(crate) fn in_stage(want: &Want, stage: Stage) -> Want {
    Want {
        stage,
        ..want.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Fleet;
    use crate::records::Step::Put;
    use crate::tests::{seen, want};

    fn id(number: u128) -> Id {
        Id::new(uuid::Uuid::from_u128(number))
    }

    fn check(
        wants: Vec<Want>,
        states: &[(u128, State)],
        now_us: u64,
        expected: (&[Step], Option<u64>),
    ) {
        let fleet = Fleet::new(Vec::new());
        fleet.apply(wants.into_iter().map(|want| Put(Box::new(want))).collect());
        for (number, state) in states {
            fleet.observe(seen(*number, *state));
        }
        let (steps, next) = fleet.look(|view| plan(view, now_us));
        assert_eq!((steps.as_slice(), next), expected);
    }

    #[test]
    fn leaving_dynos_stop_when_quiet_or_late() {
        let leaving = || vec![want(1, "web.1", Stage::Leaving { since_us: 1000 })];
        let end = 1000 + DRAIN_TIMEOUT_MS * 1000;
        let removed: &[Step] = &[Step::Remove(id(1))];
        check(leaving(), &[(1, State::Up)], 2000, (&[], Some(end)));
        check(leaving(), &[(1, State::Up)], end, (removed, Some(end)));
        check(leaving(), &[(1, State::Crashed)], 2000, (removed, None));
        check(leaving(), &[], 2000, (removed, None));
        // After a start of the api nothing is known of it: it may have requests.
        let (steps, next) = Fleet::new(leaving()).look(|view| plan(view, 2000));
        assert_eq!((steps, next), (Vec::new(), Some(end)));
    }

    #[test]
    fn successors_take_over() {
        let both = || {
            vec![
                want(1, "web.1", Stage::Serving),
                want(2, "web.1", Stage::Successor { of: id(1) }),
            ]
        };
        let taken: &[Step] = &[Step::TakeOver {
            new: id(2),
            old: id(1),
        }];
        check(
            both(),
            &[(1, State::Up), (2, State::Starting)],
            5,
            (&[], Some(2 + TAKE_OVER_TIMEOUT_US)),
        );
        check(both(), &[(1, State::Up), (2, State::Up)], 5, (taken, None));
        check(
            both(),
            &[(1, State::Up), (2, State::Crashed)],
            5,
            (taken, None),
        );
    }

    #[test]
    fn one_offs_end_and_the_others_stay() {
        let detached = Want {
            purpose: Purpose::Detached { time_to_live_s: 60 },
            ..want(1, "run.1", Stage::Serving)
        };
        let removed: &[Step] = &[Step::Remove(id(1))];
        check(
            vec![detached.clone()],
            &[(1, State::Complete)],
            5,
            (removed, None),
        );
        check(vec![detached], &[(1, State::Up)], 5, (&[], None));
        let release = Want {
            purpose: Purpose::Release,
            ..want(1, "release.1", Stage::Serving)
        };
        check(vec![release], &[(1, State::Complete)], 5, (&[], None));
        check(
            vec![want(1, "web.1", Stage::Serving)],
            &[(1, State::Crashed)],
            5,
            (&[], None),
        );
    }
}
