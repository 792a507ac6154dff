//! Keeps a program's exit marker in one piece.
//!
//! `run --exit-code` has the shell print U+FFFF (`EF BF BF`) and ` heroku-command-exit-status: N`,
//! and the official command line looks for both within one data event, which is one TLS record. A
//! tail that begins with U+FFFF, or may, is held back until its line is complete. Nothing else is
//! ever delayed.

const MARK: &[u8] = b"\xef\xbf\xbf";
/// A line that is longer than any exit marker is not held any longer.
const HELD_MAX_BYTES: usize = 256;

/// What is held back of one stream.
#[derive(Debug, Default)]
pub(super) struct Marker {
    held: Vec<u8>,
}

impl Marker {
    /// Takes the next bytes and returns what may go on now, which may be nothing.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let at = hold_from(&all);
        if all.len() - at <= HELD_MAX_BYTES {
            self.held = all.split_off(at);
        }
        all
    }

    /// Whether something is held.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Lets go of what is held: the wait or the stream is over.
    pub(super) fn release(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// Where the tail begins that may be an incomplete marker; the length when there is none.
fn hold_from(bytes: &[u8]) -> usize {
    let line = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let last = bytes.get(line..).unwrap_or_default();
    if let Some(at) = last.windows(MARK.len()).position(|part| part == MARK) {
        return line + at;
    }
    let begins = |count: &usize| {
        MARK.get(..*count)
            .is_some_and(|start| last.ends_with(start))
    };
    let partial = [2, 1].into_iter().find(begins).unwrap_or(0);
    bytes.len() - partial
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts as they are read, and what goes on after each; then what is left at the end.
    fn check(parts: &[(&[u8], &[u8])], rest: &[u8]) {
        let mut marker = Marker::default();
        for (read, expected) in parts {
            assert_eq!(marker.pass(read), *expected, "{parts:?}");
        }
        assert_eq!(marker.is_holding(), !rest.is_empty());
        assert_eq!(marker.release(), rest);
    }

    #[test]
    fn markers_stay_whole_and_the_rest_is_not_delayed() {
        check(&[(b"$ ", b"$ "), (b"ls", b"ls")], b"");
        check(
            &[(b"a\xef\xbf\xbf status: 0\n", b"a\xef\xbf\xbf status: 0\n")],
            b"",
        );
        check(
            &[
                (b"a\xef", b"a"),
                (b"\xbf", b""),
                (b"\xbf heroku-command-exit-", b""),
                (
                    b"status: 3\r\n",
                    b"\xef\xbf\xbf heroku-command-exit-status: 3\r\n",
                ),
            ],
            b"",
        );
        check(&[(b"\xef\xbf", b""), (b"\xbd ok", b"\xef\xbf\xbd ok")], b"");
        check(&[(b"end\xef\xbf\xbf st", b"end")], b"\xef\xbf\xbf st");
        let long = [b"\xef\xbf\xbf".as_slice(), &[b'x'; 300]].concat();
        check(&[(&long, &long)], b"");
    }
}
