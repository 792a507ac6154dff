//! The exit status in the output: a line `U+FFFF heroku-command-exit-status: N` that nobody sees.

const MARK: &[u8] = "\u{ffff} heroku-command-exit-status: ".as_bytes();
/// A line that starts like the mark is held back up to this length; then it is no status.
const HELD_MAX_BYTES: usize = 64;

/// Takes the status out of a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    held: Vec<u8>,
    code: Option<u8>,
}

impl Watch {
    /// Takes bytes and gives those to be shown.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let mut shown = Vec::with_capacity(self.held.len());
        loop {
            let start = self
                .held
                .iter()
                .position(|byte| Some(byte) == MARK.first())
                .unwrap_or(self.held.len());
            shown.extend(self.held.drain(..start));
            if self.held.is_empty() || !self.take_status(&mut shown) {
                return shown;
            }
        }
    }

    /// What was held back when the stream ended.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// The status, if it has come.
    pub(crate) fn code(&self) -> Option<u8> {
        self.code
    }

    /// Looks at what starts with the mark's first byte; false: more bytes are needed.
    fn take_status(&mut self, shown: &mut Vec<u8>) -> bool {
        let common = self
            .held
            .iter()
            .zip(MARK)
            .take_while(|(a, b)| a == b)
            .count();
        let end = self.held.iter().position(|byte| *byte == b'\n');
        if common == MARK.len()
            && let Some(end) = end
        {
            let line: Vec<u8> = self.held.drain(..=end).collect();
            let digits = String::from_utf8_lossy(line.get(MARK.len()..).unwrap_or_default())
                .trim()
                .to_owned();
            self.code = digits
                .parse::<u16>()
                .ok()
                .map(|code| u8::try_from(code).unwrap_or(1));
            return true;
        }
        let is_start = common == self.held.len() || common == MARK.len();
        if is_start && self.held.len() < HELD_MAX_BYTES {
            return false;
        }
        shown.extend(self.held.drain(..1));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&[u8]], shown: &[u8], code: Option<u8>) {
        let mut watch = Watch::default();
        let mut got: Vec<u8> = chunks.iter().flat_map(|chunk| watch.feed(chunk)).collect();
        got.extend(watch.end());
        assert_eq!((got.as_slice(), watch.code()), (shown, code), "{chunks:?}");
    }

    #[test]
    fn statuses() {
        let mark = "\u{ffff} heroku-command-exit-status: 7\r\n".as_bytes();
        check(&[b"a\n", mark], b"a\n", Some(7));
        check(
            &[b"a\n", &mark[..1], &mark[1..9], &mark[9..]],
            b"a\n",
            Some(7),
        );
        check(
            &["x\u{fffe}y\u{ffff}z".as_bytes()],
            "x\u{fffe}y\u{ffff}z".as_bytes(),
            None,
        );
        check(
            &["\u{ffff} heroku-command-exit-status: 300\n".as_bytes()],
            b"",
            Some(1),
        );
        check(&[b"abc"], b"abc", None);
    }
}
