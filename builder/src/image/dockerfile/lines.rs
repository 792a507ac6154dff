//! The text of a Dockerfile -> logical lines: directives read, comments dropped, continuations
//! joined, heredocs taken with the line that opens them. Pure.
//!
//! What is text and what is not follows `BuildKit`'s parser (docs/images.md, "The language").

use super::fault::Fault;
use super::heredoc::{self, Heredoc};
use super::words;

/// Bytes of a Dockerfile. Ours: `BuildKit` bounds the line (64 KiB), not the file.
pub(crate) const FILE_MAX_BYTES: usize = 1024 * 1024;
/// Count of logical lines. Ours: a layer each, and an overlay has 128.
const LINES_MAX: usize = 10_000;

/// A line of the language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// First and last physical line, from 1.
    pub span: (usize, usize),
    /// The first word as it is written.
    pub keyword: String,
    /// What follows, trimmed.
    pub rest: String,
    /// What it opened.
    pub heredocs: Vec<Heredoc>,
}

/// A file as lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    /// `\` or a backtick.
    pub escape: char,
    /// In order.
    pub all: Vec<Line>,
    /// Spans of instructions with an empty line in a continuation.
    pub empty_continuations: Vec<(usize, usize)>,
}

/// Reads all of a file.
pub(crate) fn read(bytes: &[u8]) -> Result<Lines, Fault> {
    let whole = |message: &str| Fault::new((0, 0), message);
    if bytes.len() > FILE_MAX_BYTES {
        return Err(whole("the Dockerfile is larger than 1 MiB"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| whole("the Dockerfile is not UTF-8 text"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(whole("the Dockerfile cannot be empty"));
    }
    let mut reader = Reader {
        physical: text.split_inclusive('\n').collect(),
        at: 0,
        read: Lines {
            escape: '\\',
            all: Vec::new(),
            empty_continuations: Vec::new(),
        },
    };
    reader.directives()?;
    reader.all()?;
    if reader.read.all.is_empty() {
        return Err(whole("file with no instructions"));
    }
    Ok(reader.read)
}

struct Reader<'a> {
    /// Each with its end.
    physical: Vec<&'a str>,
    /// How many of them were read: the number of the last one, from 1.
    at: usize,
    read: Lines,
}

impl<'a> Reader<'a> {
    /// The directives at the very top: `# key=value`, up to the first line that is none.
    /// `syntax` and `check` are taken and change nothing.
    fn directives(&mut self) -> Result<(), Fault> {
        let mut seen: Vec<String> = Vec::new();
        for (index, line) in self.physical.iter().enumerate() {
            let Some((key, value)) = directive(line) else {
                return Ok(());
            };
            let fault = |message: String| Err(Fault::new((index + 1, index + 1), message));
            if seen.contains(&key) {
                return fault(format!("only one {key} parser directive can be used"));
            }
            if key == "escape" {
                self.read.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    other => {
                        return fault(format!(
                            "invalid escape token '{other}' does not match ` or \\"
                        ));
                    }
                };
            }
            seen.push(key);
        }
        Ok(())
    }

    fn next(&mut self) -> Option<&'a str> {
        let line = self.physical.get(self.at).copied();
        self.at += usize::from(line.is_some());
        line
    }

    fn all(&mut self) -> Result<(), Fault> {
        while let Some(line) = self.next() {
            if is_comment(line) {
                continue;
            }
            let first = self.at;
            let (mut joined, mut is_whole) = self.continued(line.trim_start_matches(BLANKS));
            if is_whole && joined.trim_matches(BLANKS).is_empty() {
                continue;
            }
            let mut has_empty = false;
            while !is_whole && let Some(line) = self.next() {
                if is_comment(line) {
                    continue;
                }
                if line.trim_matches(BLANKS_AND_ENDS).is_empty() {
                    has_empty = true;
                    continue;
                }
                let (more, is_end) = self.continued(line);
                joined.push_str(&more);
                is_whole = is_end;
            }
            if has_empty {
                self.read.empty_continuations.push((first, self.at));
            }
            self.line(first, joined.trim_matches(BLANKS))?;
        }
        Ok(())
    }

    /// Adds a joined line.
    fn line(&mut self, first: usize, joined: &str) -> Result<(), Fault> {
        if joined.is_empty() {
            return Ok(());
        }
        if self.read.all.len() == LINES_MAX {
            return Err(Fault::new(
                (first, self.at),
                "more than 10,000 instructions",
            ));
        }
        let (keyword, rest) = words::split_first(joined);
        let heredocs = if heredoc::may_open(joined) && rest.contains("<<") {
            self.heredocs(first, rest)?
        } else {
            Vec::new()
        };
        self.read.all.push(Line {
            span: (first, self.at),
            keyword: keyword.to_owned(),
            rest: rest.to_owned(),
            heredocs,
        });
        Ok(())
    }

    fn heredocs(&mut self, first: usize, rest: &str) -> Result<Vec<Heredoc>, Fault> {
        let mut all = heredoc::openings(rest, self.read.escape);
        for heredoc in &mut all {
            let is_closed = loop {
                let Some(line) = self.next() else {
                    break false;
                };
                let (mut end, mut body) = (line.trim_end_matches(['\r', '\n']), line);
                if heredoc.strips_tabs {
                    end = end.trim_start_matches('\t');
                    body = body.trim_start_matches('\t');
                }
                if end == heredoc.name {
                    break true;
                }
                heredoc.content.push_str(body);
            };
            if !is_closed {
                let message = format!("unterminated heredoc: no line is {}", heredoc.name);
                return Err(Fault::new((first, first), message).at("<<"));
            }
        }
        Ok(all)
    }

    /// The line without its end, and whether it is the last of its instruction.
    fn continued(&self, line: &str) -> (String, bool) {
        let line = line.trim_end_matches(['\n', '\r']);
        let text = line.trim_end_matches([' ', '\t']);
        match text.strip_suffix(self.read.escape) {
            Some(before) if !before.ends_with(self.read.escape) => (before.to_owned(), false),
            _ => (line.to_owned(), true),
        }
    }
}

/// What separates words.
const BLANKS: [char; 5] = [' ', '\t', '\u{b}', '\u{c}', '\r'];
const BLANKS_AND_ENDS: [char; 6] = [' ', '\t', '\u{b}', '\u{c}', '\r', '\n'];

/// Key, in lower case, and value of a directive that is known.
fn directive(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let key = key.trim().to_lowercase();
    let is_known = ["syntax", "escape", "check"].contains(&key.as_str());
    (is_known && !value.trim().is_empty()).then(|| (key, value.trim()))
}

fn is_comment(line: &str) -> bool {
    line.trim_start_matches(BLANKS).starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as `KEYWORD|rest`, or the fault.
    fn check(text: &str, expected: &[&str]) {
        let got: Vec<String> = match read(text.as_bytes()) {
            Ok(lines) => lines
                .all
                .iter()
                .map(|line| format!("{}|{}", line.keyword, line.rest))
                .collect(),
            Err(fault) => vec![fault.to_string()],
        };
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn lines_comments_and_continuations() {
        check("FROM a\n", &["FROM|a"]);
        check("\u{feff}FROM a", &["FROM|a"]);
        check("  # c\n\n  from\ta  \r\n", &["from|a"]);
        check("RUN a \\\n  b \\  \n c\n", &["RUN|a   b  c"]);
        check("RUN a\\\n# dropped\n\n  b\n", &["RUN|a  b"]);
        check("RUN a \\\\\nRUN b", &["RUN|a \\\\", "RUN|b"]);
        check("RUN echo \"# x\"", &["RUN|echo \"# x\""]);
        check("RUN a \\", &["RUN|a"]);
        check("RUN \\\n\\\nx", &["RUN|x"]);
        check(
            "# escape=`\nRUN a `\nb\nENV P=C:\\",
            &["RUN|a b", "ENV|P=C:\\"],
        );
        check("# other=x\n# escape=`\nRUN a `\nb", &["RUN|a `", "b|"]);
        check("#ESCAPE = `\nRUN a`\nb", &["RUN|ab"]);
    }

    #[test]
    fn refusals() {
        check("", &["line 0: the Dockerfile cannot be empty"]);
        check("# only\n", &["line 0: file with no instructions"]);
        check(
            "# escape=x\nFROM a",
            &["line 1: invalid escape token 'x' does not match ` or \\"],
        );
        check(
            "# escape=`\n# escape=`\nFROM a",
            &["line 2: only one escape parser directive can be used"],
        );
        check(
            "RUN <<E\na",
            &["line 1: unterminated heredoc: no line is E"],
        );
        assert!(read(b"FROM \xff").is_err());
        assert!(read(&vec![b'a'; FILE_MAX_BYTES + 1]).is_err());
    }

    #[test]
    fn heredocs_belong_to_their_line() {
        let text = "RUN <<A <<-'B'\n# one\\\nA\n\ttwo\r\n\tB\nRUN next";
        let lines = read(text.as_bytes()).unwrap().all;
        assert_eq!(lines[0].span, (1, 5));
        let bodies: Vec<&str> = lines[0]
            .heredocs
            .iter()
            .map(|h| h.content.as_str())
            .collect();
        assert_eq!(bodies, ["# one\\\n", "two\r\n"]);
        assert_eq!(lines[1].rest, "next");
        // A blank behind the name makes it text.
        assert!(read(b"RUN <<A\nA \n").is_err());
        assert_eq!(read(b"ENV a=<<A\nFROM b").unwrap().all.len(), 2);
    }
}
