//! Bytes of a program's output -> lines that do no harm to a terminal. Pure.

use model::limits::LOG_LINE_MAX_BYTES;

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes bytes as they come; returns the lines that are whole by now.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            if *byte == b'\n' || self.rest.len() >= LOG_LINE_MAX_BYTES {
                lines.push(harmless(&self.rest));
                self.rest.clear();
            }
            if *byte != b'\n' {
                self.rest.push(*byte);
            }
        }
        lines
    }

    /// What stands after the last line feed.
    pub(crate) fn end(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| harmless(&rest))
    }
}

/// One line without its end, so that it moves no cursor and rings no bell: control characters but
/// tabs and colours (`ESC [ … m`) are replaced, bytes that are no UTF-8, too. Of a line that was
/// rewritten with carriage returns (a progress bar) the last state is kept.
pub(crate) fn harmless(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches('\r');
    let text = text.rsplit('\r').next().unwrap_or(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (taken, after) = match colour(rest) {
            Some(split) => split,
            None => rest.split_at(c.len_utf8()),
        };
        let is_colour = c == '\u{1b}' && taken.len() > 1;
        if c.is_control() && c != '\t' && !is_colour {
            out.push('\u{fffd}');
        } else {
            out.push_str(taken);
        }
        rest = after;
    }
    out
}

/// Splits `ESC [ digits ; … m` off the front.
fn colour(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix("\u{1b}[")?;
    let end = body.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    let is_colour = body.get(end..)?.starts_with('m');
    is_colour.then(|| text.split_at(end + 3))
}

/// Bytes for people, in decimal units, as Heroku's push output has them: `27.9M`.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1_000_000 {
        return format!("{}K", bytes.div_ceil(1_000));
    }
    let tenths = bytes / 100_000;
    format!("{}.{}M", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_bounded() {
        let mut lines = Lines::default();
        assert_eq!(lines.bytes(b"a\nb"), ["a"]);
        assert_eq!(lines.bytes(b"c\n\nd"), ["bc", ""]);
        assert_eq!(lines.end().as_deref(), Some("d"));
        assert_eq!(lines.end(), None);
        let long = vec![b'x'; 2 * LOG_LINE_MAX_BYTES + 1];
        let cut = lines.bytes(&long);
        assert_eq!(cut.len(), 2);
        assert!(cut.iter().all(|line| line.len() == LOG_LINE_MAX_BYTES));
        assert_eq!(lines.end().as_deref(), Some("x"));
    }

    #[test]
    fn control_characters_do_no_harm() {
        for (line, expected) in [
            (&b"plain \tline"[..], "plain \tline"),
            (b"crlf\r", "crlf"),
            (b"10%\r50%\r100%", "100%"),
            (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            (b"\x1b[2J\x1b]0;t\x07", "\u{fffd}[2J\u{fffd}]0;t\u{fffd}"),
            (b"\x1b", "\u{fffd}"),
            (b"\x1b[31", "\u{fffd}[31"),
            (b"nul\0", "nul\u{fffd}"),
            (b"\xff", "\u{fffd}"),
            ("\u{9b}31mä".as_bytes(), "\u{fffd}31mä"),
        ] {
            assert_eq!(harmless(line), expected, "{line:?}");
        }
    }

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0K"),
            (1, "1K"),
            (999_999, "1000K"),
            (1_000_000, "1.0M"),
            (27_949_999, "27.9M"),
            (500_100_000, "500.1M"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
