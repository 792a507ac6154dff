//! A dyno's output: bytes from its FIFO, cut into lines for the log.

use crate::log::Log;
use model::app;
use model::limits::LOG_LINE_MAX_BYTES;
use std::path::Path;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// Reads until the last writer is gone. Lines reach the log in the order in which they were
/// written.
pub(crate) async fn follow(mut pipe: pipe::Receiver, app: app::Id, process: String, log: Log) {
    let mut lines = Lines::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match pipe.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => {
                let whole = lines.feed(buffer.get(..count).unwrap_or_default());
                if !whole.is_empty() {
                    log.output(app, &process, whole);
                }
            }
            Err(error) => {
                tracing::warn!(%error, app.id = %app, dyno.name = process, "failed to read the output of a dyno");
                break;
            }
        }
    }
    if let Some(rest) = lines.end() {
        log.output(app, &process, vec![rest]);
    }
}

/// Opens the reading side of a dyno's FIFO.
pub(crate) fn open(path: &Path) -> std::io::Result<pipe::Receiver> {
    pipe::OpenOptions::new().open_receiver(path)
}

/// Cuts bytes into lines: at LF, CR before it dropped, and at the length that one line may have.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = part
                .strip_suffix(b"\n")
                .map_or((part, false), |text| (text, true));
            self.take(text, &mut whole);
            if ended {
                let mut line = std::mem::take(&mut self.rest);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                whole.push(line);
            }
        }
        whole
    }

    /// Lines of the greatest length as often as there are; no line keeps more memory than it has
    /// bytes to tell.
    fn take(&mut self, mut text: &[u8], whole: &mut Vec<Vec<u8>>) {
        while self.rest.len() + text.len() > LOG_LINE_MAX_BYTES {
            let room = LOG_LINE_MAX_BYTES - self.rest.len();
            let (now, later) = text.split_at(room);
            self.rest.extend_from_slice(now);
            whole.push(std::mem::take(&mut self.rest));
            text = later;
        }
        self.rest.extend_from_slice(text);
    }

    fn end(&mut self) -> Option<Vec<u8>> {
        (!self.rest.is_empty()).then(|| std::mem::take(&mut self.rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&str], expected: &[&str], rest: Option<&str>) {
        let mut lines = Lines::default();
        let got: Vec<_> = chunks
            .iter()
            .flat_map(|chunk| lines.feed(chunk.as_bytes()))
            .collect();
        let got: Vec<_> = got
            .iter()
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        assert_eq!(got, expected, "{chunks:?}");
        assert_eq!(
            lines
                .end()
                .map(|rest| String::from_utf8(rest).unwrap())
                .as_deref(),
            rest,
            "{chunks:?}"
        );
    }

    #[test]
    fn no_line_keeps_the_memory_of_others() {
        let mut lines = Lines::default();
        let whole = lines.feed("x".repeat(64 * 1024).as_bytes());
        assert_eq!(whole.len(), 6);
        let kept: usize = whole.iter().map(Vec::capacity).sum();
        assert!(kept <= 2 * 64 * 1024, "{kept}");
    }

    #[test]
    fn lines() {
        check(&["a\nb\n"], &["a", "b"], None);
        check(&["a", "b\r\n\n", "c"], &["ab", ""], Some("c"));
        check(&[""], &[], None);
        let long = "x".repeat(LOG_LINE_MAX_BYTES + 5);
        let head = "x".repeat(LOG_LINE_MAX_BYTES);
        check(&[&long, "\n"], &[&head, "xxxxx"], None);
    }
}
