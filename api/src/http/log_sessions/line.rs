//! How a log line is written: `TIMESTAMP SOURCE[PROCESS]: TEXT`, harmless to a terminal.

use crate::clock::microseconds;
use journal::Line;

/// The line without its end. Control characters but TAB become U+FFFD: a stranger's program wrote
/// it, and somebody's terminal shows it.
pub(super) fn written(line: &Line) -> String {
    let mut text = format!(
        "{} {}[{}]: ",
        microseconds(line.at_us),
        line.source,
        line.process
    );
    let harmless = |c: char| {
        if c.is_control() && c != '\t' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.extend(line.text_lossy().chars().map(harmless));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::Source;

    #[test]
    fn lines() {
        for (text, expected) in [
            (b"hello\tworld".as_slice(), "hello\tworld"),
            (b"\x1b[31mred\x07", "\u{fffd}[31mred\u{fffd}"),
            (b"a\nb\r", "a\u{fffd}b\u{fffd}"),
            (b"\xff\xc3\xa4", "\u{fffd}\u{e4}"),
            (b"\xc2\x9b2J", "\u{fffd}2J"),
        ] {
            let line = Line {
                at_us: 1_767_323_045_123_456,
                source: Source::App,
                process: "web.1".to_owned(),
                text: text.to_vec(),
            };
            let expected = format!("2026-01-02T03:04:05.123456+00:00 app[web.1]: {expected}");
            assert_eq!(written(&line), expected);
        }
    }
}
