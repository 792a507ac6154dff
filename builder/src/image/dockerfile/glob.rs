//! Patterns of three languages over one matcher: shell globs of `${v#p}`, Go's path globs of COPY,
//! and those of `.dockerignore`. Pure, and linear in text times pattern.

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Node>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// One character.
    Literal(char),
    /// Any but `/`.
    One,
    /// Any.
    Any,
    /// None or more but `/`.
    Star,
    /// None or more.
    Deep,
    /// `(.*/)?`; its second half, which loops, is the next node.
    Folders,
    /// The loop of [`Node::Folders`].
    InFolders,
    /// One of, or none of, these ranges, and not `/`.
    Class(bool, Vec<(char, char)>),
}

/// The pattern cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    /// A class or an escape has no end.
    #[error("syntax error in pattern")]
    Syntax,
    /// `\x` where only some characters may be escaped.
    #[error("invalid escape '\\{0}'")]
    Escape(char),
}

/// Bytes as characters: a name that is no UTF-8 matches byte by byte.
pub(crate) fn symbols(bytes: &[u8]) -> Vec<char> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().collect(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

impl Pattern {
    /// A shell's: `*` and `?` match anything, `\` escapes `*`, `?`, `\`, `/` and `}`.
    pub(crate) fn shell(text: &str) -> Result<Self, PatternError> {
        let mut nodes = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            nodes.push(match c {
                '*' => Node::Deep,
                '?' => Node::Any,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '/' | '}')) => Node::Literal(c),
                    Some(c) => return Err(PatternError::Escape(c)),
                    None => return Err(PatternError::Syntax),
                },
                c => Node::Literal(c),
            });
        }
        Ok(Self(nodes))
    }

    /// Go's `filepath.Match`: nothing crosses a `/`.
    pub(crate) fn path(text: &str) -> Result<Self, PatternError> {
        Self::compile(text, false)
    }

    /// A line of `.dockerignore`: as a path, and `**` crosses folders.
    pub(crate) fn ignore(text: &str) -> Result<Self, PatternError> {
        Self::compile(text, true)
    }

    fn compile(text: &str, is_deep: bool) -> Result<Self, PatternError> {
        let mut nodes = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if is_deep && chars.next_if_eq(&'*').is_some() => {
                    let has_slash = chars.next_if_eq(&'/').is_some();
                    let rest: String = chars.clone().collect();
                    let is_suffix =
                        nodes.is_empty() && !has_slash && !rest.contains(['*', '?', '[', '\\']);
                    if rest.is_empty() || is_suffix {
                        nodes.push(Node::Deep);
                    } else {
                        nodes.extend([Node::Folders, Node::InFolders]);
                    }
                }
                '*' => nodes.push(Node::Star),
                '?' => nodes.push(Node::One),
                '\\' => nodes.push(Node::Literal(chars.next().ok_or(PatternError::Syntax)?)),
                '[' => nodes.push(class(&mut chars)?),
                c => nodes.push(Node::Literal(c)),
            }
        }
        Ok(Self(nodes))
    }

    /// Whether all of the text matches.
    pub(crate) fn matches(&self, text: &[char]) -> bool {
        self.prefixes(text).last().copied().unwrap_or(false)
    }

    /// For each length from 0 on, whether so much of the text matches.
    pub(crate) fn prefixes(&self, text: &[char]) -> Vec<bool> {
        let end = self.0.len();
        let mut states = vec![false; end + 1];
        self.reach(&mut states, 0);
        let mut ends = vec![states.last() == Some(&true)];
        for c in text {
            let mut next = vec![false; end + 1];
            for (at, node) in self.0.iter().enumerate() {
                if states.get(at) == Some(&true) {
                    self.step(node, at, *c, &mut next);
                }
            }
            ends.push(next.last() == Some(&true));
            states = next;
        }
        ends
    }

    fn step(&self, node: &Node, at: usize, c: char, next: &mut [bool]) {
        match node {
            Node::Literal(wanted) if *wanted == c => self.reach(next, at + 1),
            Node::Any => self.reach(next, at + 1),
            Node::One if c != '/' => self.reach(next, at + 1),
            Node::Star if c != '/' => self.reach(next, at),
            Node::Deep => self.reach(next, at),
            Node::InFolders => {
                self.reach(next, at);
                if c == '/' {
                    self.reach(next, at + 1);
                }
            }
            Node::Class(is_inverse, ranges) if c != '/' => {
                let is_in = ranges.iter().any(|(from, to)| (*from..=*to).contains(&c));
                if is_in != *is_inverse {
                    self.reach(next, at + 1);
                }
            }
            _ => {}
        }
    }

    /// Enters a state and those that follow it without a character.
    fn reach(&self, states: &mut [bool], at: usize) {
        let Some(state) = states.get_mut(at) else {
            return;
        };
        if std::mem::replace(state, true) {
            return;
        }
        match self.0.get(at) {
            Some(Node::Star | Node::Deep) => self.reach(states, at + 1),
            Some(Node::Folders) => {
                self.reach(states, at + 1);
                self.reach(states, at + 2);
            }
            _ => {}
        }
    }

    /// The pattern read from its end.
    pub(crate) fn reversed(&self) -> Self {
        Self(self.0.iter().rev().cloned().collect())
    }
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Node, PatternError> {
    let is_inverse = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if chars.peek() == Some(&']') && !ranges.is_empty() {
            chars.next();
            return Ok(Node::Class(is_inverse, ranges));
        }
        let from = class_char(chars)?;
        let to = if chars.next_if_eq(&'-').is_some() {
            class_char(chars)?
        } else {
            from
        };
        ranges.push((from, to));
    }
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, PatternError> {
    match chars.next() {
        Some('\\') => chars.next().ok_or(PatternError::Syntax),
        Some('-' | ']') | None => Err(PatternError::Syntax),
        Some(c) => Ok(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages() {
        type Read = fn(&str) -> Result<Pattern, PatternError>;
        let check = |read: Read, pattern: &str, yes: &[&str], no: &[&str]| {
            let compiled = read(pattern).unwrap();
            let matches = |text: &&str| compiled.matches(&symbols(text.as_bytes()));
            assert!(yes.iter().all(matches), "{pattern}: {yes:?}");
            assert!(!no.iter().any(matches), "{pattern}: {no:?}");
        };
        let (shell, path, ignore): (Read, Read, Read) =
            (Pattern::shell, Pattern::path, Pattern::ignore);
        check(shell, "a*c", &["ac", "a/b/c"], &["acd"]);
        check(shell, "a\\*?", &["a*x", "a*/"], &["a*", "abx"]);
        check(shell, "[a]", &["[a]"], &["a"]);
        check(path, "*.txt", &["a.txt", ".txt"], &["d/a.txt"]);
        check(path, "d/*/x?", &["d/y/xz"], &["d/y/z/xz", "d/y/x"]);
        check(path, "a**", &["abc", "a"], &["a/b"]);
        check(path, "arr[[]0].txt", &["arr[0].txt"], &["arr0.txt"]);
        check(path, "[^a-c]\\*", &["d*"], &["a*", "dx", "/*"]);
        check(
            ignore,
            "**/foo",
            &["foo", "a/foo", "a/b/foo"],
            &["afoo", "foo/a"],
        );
        check(ignore, "**foo", &["foo", "afoo", "a/bfoo"], &["foob"]);
        check(ignore, "a/**", &["a/b", "a/b/c", "a/"], &["a", "b/a"]);
        check(ignore, "a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a/xb"]);
        check(ignore, "e+f.(x)|{y}$", &["e+f.(x)|{y}$"], &["eef.(x)"]);
        check(ignore, "*", &["a", ".b"], &["a/b"]);
        check(ignore, "\\!bang", &["!bang"], &["bang"]);
    }

    #[test]
    fn refusals() {
        for text in ["[a", "[", "a\\", "[a-", "[]a]"] {
            assert_eq!(Pattern::path(text), Err(PatternError::Syntax), "{text}");
        }
        assert_eq!(Pattern::shell("\\x"), Err(PatternError::Escape('x')));
    }
}
