//! How steps are shown: `[build 2/4] RUN make`, with their size and time, or `cached`.

use crate::output::steps::seconds;
use std::time::Duration;

/// Characters of an instruction that are shown.
const SOURCE_MAX_CHARS: usize = 60;
/// Column at which results end, as the times of steps do.
const COLUMNS: usize = 75;

/// The name of a step.
pub(super) fn step(stage: &str, (number, count): (usize, usize), source: &str) -> String {
    let place = if stage.is_empty() {
        format!("[{number}/{count}]")
    } else {
        format!("[{stage} {number}/{count}]")
    };
    let source: String = source.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = source.chars().take(SOURCE_MAX_CHARS).collect();
    if shown.len() < source.len() {
        shown.push('…');
    }
    format!("       {place} {shown}")
}

/// The name of a step without its instruction.
pub(super) fn place(step: &str) -> &str {
    step.find(']')
        .map_or(step, |end| step.get(..=end).unwrap_or(step))
}

/// A step with its result at the right.
pub(super) fn result(step: &str, result: &str) -> String {
    let width = COLUMNS.saturating_sub(step.chars().count() + 1);
    format!("{step} {result:>width$}")
}

/// How long a step took.
pub(super) fn took(took: Duration) -> String {
    seconds(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

/// Now, RFC 3339, in whole seconds.
pub(super) fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    moment(since.unwrap_or_default().as_secs())
}

/// Unix seconds as RFC 3339.
pub(super) fn moment(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let mut day = days;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z",
        day + 1,
        second % 60
    )
}

fn is_leap(year: u64) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_826_154, "2000-02-29T12:09:14Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
        ] {
            assert_eq!(moment(seconds), expected);
        }
    }

    #[test]
    fn steps() {
        assert_eq!(
            step("", (2, 4), "RUN  make\n all"),
            "       [2/4] RUN make all"
        );
        assert_eq!(step("build", (1, 1), "FROM a"), "       [build 1/1] FROM a");
        assert_eq!(place("       [build 1/1] FROM a[1]"), "       [build 1/1]");
        let line = result(&step("", (2, 4), "RUN make"), "cached");
        assert_eq!(line.chars().count(), COLUMNS);
    }
}
