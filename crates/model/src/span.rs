//! Spans of time as people read them.

/// `15 minutes`, `90 s`.
pub fn shown(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, _) | (_, 1..) => format!("{seconds} s"),
        (1, 0) => "1 minute".to_owned(),
        (minutes, 0) => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (seconds, expected) in [
            (5, "5 s"),
            (60, "1 minute"),
            (90, "90 s"),
            (900, "15 minutes"),
        ] {
            assert_eq!(shown(seconds), expected);
        }
    }
}
