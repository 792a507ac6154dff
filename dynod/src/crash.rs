//! When a dyno that crashed is started again: pure arithmetic over its history.
//!
//! The first restart comes at once; a dyno that crashes again within [`Policy::reset_after_us`] of
//! its start waits 10 s, 20 s, 40 s, ... up to 20 minutes. Heroku's own numbers changed over the
//! years (10 minutes and more); these are short because a self-hosted node has one owner who waits.

/// The numbers of the back-off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// The pause before the second restart, milliseconds; it doubles from there.
    pub(crate) first_ms: u64,
    /// The longest pause, milliseconds.
    pub(crate) cap_ms: u64,
    /// A dyno that ran so long starts from the beginning, microseconds.
    pub(crate) reset_after_us: u64,
}

impl From<link::config::Dynod> for Policy {
    fn from(config: link::config::Dynod) -> Self {
        Self {
            first_ms: config.crash_wait_first_ms,
            cap_ms: config.crash_wait_max_ms,
            reset_after_us: config.crash_reset_ms.saturating_mul(1000),
        }
    }
}

/// Crashes in a row, each within the reset time of its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct History(u32);

impl History {
    /// Notes a crash after a run of so many microseconds and says how long to wait, milliseconds.
    pub(crate) fn crashed(&mut self, policy: Policy, ran_us: u64) -> u64 {
        if ran_us >= policy.reset_after_us {
            self.0 = 0;
        }
        let pause_ms = match self.0.checked_sub(1) {
            None => 0,
            Some(doublings) => policy
                .first_ms
                .saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX))
                .min(policy.cap_ms),
        };
        self.0 = self.0.saturating_add(1);
        pause_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_start_anew_after_a_long_run() {
        let policy = Policy::from(link::config::Dynod::default());
        let mut history = History::default();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            pauses.push(history.crashed(policy, 1_000));
        }
        let seconds: Vec<_> = pauses.iter().map(|ms| ms / 1000).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 320, 640, 1200, 1200]);
        assert_eq!(history.crashed(policy, policy.reset_after_us), 0);
        assert_eq!(history.crashed(policy, 1_000), 10_000);
    }

    #[test]
    fn a_very_long_history_does_not_overflow() {
        let mut history = History(u32::MAX);
        assert_eq!(
            history.crashed(Policy::from(link::config::Dynod::default()), 0),
            1_200_000
        );
        assert_eq!(history, History(u32::MAX));
    }
}
