//! The status file of a dyno: what its keeper wrote, line by line.
//!
//! The keeper only appends, so a reader remembers how far it read. A line without its end is not
//! there yet.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// One thing that a keeper reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The command runs since then, Unix microseconds.
    Started(u64),
    /// Everything that listens now, as `ADDRESS:PORT`.
    Listening(Vec<String>),
    /// The kernel refused something; told once of each kind.
    Refused(String),
    /// It listens on its PORT since then, Unix microseconds.
    Up(u64),
    /// The kernel killed it for its memory.
    OutOfMemory,
    /// Lines of output that nobody read in time.
    Dropped(u64),
    /// Its keeper gave up, and why; it ends with it.
    Failed(String),
    /// It ended: exit code, or 128 + signal, and when, Unix microseconds.
    Exited {
        /// Exit code, or 128 + signal.
        code: i32,
        /// When, Unix microseconds; 0 when the keeper could not say.
        at_us: u64,
    },
}

/// Reads one line; words that a newer keeper may add are none.
pub(crate) fn parse(line: &str) -> Option<Report> {
    let mut words = line.split(' ');
    let word = words.next()?;
    let first = words.next();
    let last = words.next().or(first);
    let time = |text: Option<&str>| text.and_then(|t| t.parse().ok()).unwrap_or(0);
    match word {
        "started" => Some(Report::Started(time(first))),
        "up" => Some(Report::Up(time(first))),
        "oom" => Some(Report::OutOfMemory),
        "dropped" => Some(Report::Dropped(time(first))),
        "refused" => text(line).map(Report::Refused),
        "failed" => text(line).map(Report::Failed),
        "listening" => Some(Report::Listening(listeners(first?))),
        "exit" => Some(Report::Exited {
            code: first?.parse().ok()?,
            at_us: time(last),
        }),
        "signal" => Some(Report::Exited {
            code: 128 + first?.parse::<u8>().ok().map(i32::from)?,
            at_us: time(last),
        }),
        _ => None,
    }
}

/// Of `WORD TEXT UNIX_US` the text, which may have blanks.
fn text(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(' ')?;
    Some(rest.rsplit_once(' ')?.0.to_owned())
}

fn listeners(text: &str) -> Vec<String> {
    text.split(',')
        .filter(|part| !part.is_empty() && *part != "-")
        .map(str::to_owned)
        .collect()
}

/// A place in a status file.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    offset: u64,
}

impl Cursor {
    /// Reads what came since the last call. A file that is not there has nothing.
    pub(crate) fn read(&mut self, path: &Path) -> std::io::Result<Vec<Report>> {
        let mut file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = Vec::new();
        file.take(1024 * 1024).read_to_end(&mut text)?;
        let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        text.truncate(end + 1);
        self.offset += text.len() as u64;
        Ok(String::from_utf8_lossy(&text)
            .lines()
            .filter_map(parse)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn lines() {
        for (line, report) in [
            ("started 17", Some(Report::Started(17))),
            ("up 18", Some(Report::Up(18))),
            ("oom 19", Some(Report::OutOfMemory)),
            ("dropped 4 20", Some(Report::Dropped(4))),
            (
                "listening 127.0.0.1:80,[::]:81 21",
                Some(Report::Listening(vec![
                    "127.0.0.1:80".into(),
                    "[::]:81".into(),
                ])),
            ),
            (
                "refused connect to 10.201.0.4:10001 (ECONNREFUSED) 21",
                Some(Report::Refused(
                    "connect to 10.201.0.4:10001 (ECONNREFUSED)".into(),
                )),
            ),
            ("refused 21", None),
            (
                "failed no such device 21",
                Some(Report::Failed("no such device".into())),
            ),
            ("exit 3 22", Some(Report::Exited { code: 3, at_us: 22 })),
            (
                "signal 9 23",
                Some(Report::Exited {
                    code: 137,
                    at_us: 23,
                }),
            ),
            ("later word", None),
            ("exit x", None),
            ("", None),
        ] {
            assert_eq!(parse(line), report, "{line}");
        }
    }

    #[test]
    fn a_torn_line_is_read_when_it_is_whole() {
        let folder = std::env::temp_dir().join(format!("dynod-status-{}", std::process::id()));
        let mut cursor = Cursor::default();
        assert_eq!(cursor.read(&folder).unwrap(), []);
        let mut file = std::fs::File::create(&folder).unwrap();
        file.write_all(b"started 1\nexit ").unwrap();
        assert_eq!(cursor.read(&folder).unwrap(), [Report::Started(1)]);
        assert_eq!(cursor.read(&folder).unwrap(), []);
        file.write_all(b"0 2\n").unwrap();
        assert_eq!(
            cursor.read(&folder).unwrap(),
            [Report::Exited { code: 0, at_us: 2 }]
        );
        std::fs::remove_file(&folder).unwrap();
    }
}
