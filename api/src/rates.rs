//! How many requests an account may still make: 4,500 an hour, refilled 75 a minute, as Heroku
//! counts. Requests that reach the router from the machine itself are free.

use model::account::Id;
use model::limits::{API_REQUESTS_MAX, API_REQUESTS_PER_MINUTE};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Accounts that are kept in mind; those that are full are forgotten first.
const ACCOUNTS_MAX: usize = 10_000;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<Id, Bucket>>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Requests that are left, in sixty-thousandths, so that each millisecond refills whole ones.
    left: u64,
    at_ms: u64,
}

const ONE: u64 = 60_000;
const FULL: u64 = API_REQUESTS_MAX * ONE;

impl Rates {
    /// Takes one request; none when there is none left. Otherwise how many are.
    pub(crate) fn take(&self, account: Id, now_ms: u64) -> Option<u64> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ACCOUNTS_MAX {
            buckets.retain(|_, bucket| bucket.at(now_ms) < FULL);
        }
        let full = Bucket {
            left: FULL,
            at_ms: now_ms,
        };
        let bucket = buckets.entry(account).or_insert(full);
        let left = bucket.at(now_ms).checked_sub(ONE)?;
        *bucket = Bucket {
            left,
            at_ms: now_ms,
        };
        Some(left / ONE)
    }

    /// How many are left.
    pub(crate) fn left(&self, account: Id, now_ms: u64) -> u64 {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets
            .get(&account)
            .map_or(FULL, |bucket| bucket.at(now_ms))
            / ONE
    }
}

impl Bucket {
    fn at(&self, now_ms: u64) -> u64 {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        let refilled = passed_ms.saturating_mul(API_REQUESTS_PER_MINUTE);
        self.left.saturating_add(refilled).min(FULL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_refills() {
        let rates = Rates::default();
        let account = Id::new(uuid::Uuid::from_u128(1));
        for left in (0..API_REQUESTS_MAX).rev() {
            assert_eq!(rates.take(account, 0), Some(left));
        }
        assert_eq!(rates.take(account, 0), None);
        assert_eq!(rates.take(account, 799), None);
        assert_eq!(rates.take(account, 800), Some(0));
        assert_eq!(rates.left(account, 60_800), API_REQUESTS_PER_MINUTE);
        assert_eq!(rates.left(account, u64::MAX), API_REQUESTS_MAX);
    }
}
