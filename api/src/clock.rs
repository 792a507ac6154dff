//! The clock and how times are written: in records as Unix microseconds, in the API as RFC 3339 in
//! whole seconds, in log lines with microseconds.

use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::macros::format_description;

/// Now, Unix microseconds. A clock before 1970 reads as 1970.
pub(crate) fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
}

/// A time in an answer of the API: `2026-01-02T03:04:05Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) u64);

impl serde::Serialize for Stamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&seconds(self.0))
    }
}

/// `2026-01-02T03:04:05Z`.
pub(crate) fn seconds(at_us: u64) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    moment(at_us)
        .format(form)
        .expect("the form has only parts that every time has")
}

/// `2026-01-02T03:04:05.123456+00:00`, as log lines begin.
pub(crate) fn microseconds(at_us: u64) -> String {
    let form = format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]+00:00"
    );
    moment(at_us)
        .format(form)
        .expect("the form has only parts that every time has")
}

/// The moment; what lies behind the year 9999 is shown as 1970.
fn moment(at_us: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_us) * 1000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let at = 1_767_323_045_123_456;
        assert_eq!(seconds(at), "2026-01-02T03:04:05Z");
        assert_eq!(microseconds(at), "2026-01-02T03:04:05.123456+00:00");
        assert_eq!(seconds(u64::MAX), "1970-01-01T00:00:00Z");
    }
}
