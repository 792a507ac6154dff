//! `.dockerignore`, to the letter: the last pattern that hits a path or a folder above it decides.
//! Pure.
//!
//! Not gitignore: every pattern is anchored at the root, and `!` re-includes below a folder that
//! is excluded (docs/images.md, "The context").

use super::glob::{Pattern, PatternError, symbols};

/// Bytes of a `.dockerignore`. Ours.
const FILE_MAX_BYTES: usize = 64 * 1024;
/// Count of patterns. Ours.
const PATTERNS_MAX: usize = 1_000;

/// A list of patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignored(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    is_exception: bool,
    pattern: Pattern,
    /// What a path must begin with to match, as far as it is plain text.
    prefix: Vec<char>,
}

/// Whether the folder's patterns hit, pattern by pattern: carried down a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hits(Vec<bool>);

impl Ignored {
    /// Reads a `.dockerignore`, or a list of `--exclude` patterns one a line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > FILE_MAX_BYTES {
            return Err("it is larger than 64 KiB".to_owned());
        }
        let text = text.trim_start_matches('\u{feff}');
        let mut rules = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let (is_exception, line) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim_start()),
                None => (false, line),
            };
            if line.is_empty() {
                return Err("illegal exclusion pattern: \"!\"".to_owned());
            }
            let cleaned = clean(line);
            let faulty = |error: PatternError| format!("{error}: {line}");
            Pattern::path(&cleaned).map_err(faulty)?;
            rules.push(Rule {
                is_exception,
                pattern: Pattern::ignore(&cleaned).map_err(faulty)?,
                prefix: plain_prefix(&cleaned),
            });
            if rules.len() > PATTERNS_MAX {
                return Err("more than 1,000 patterns".to_owned());
            }
        }
        Ok(Self(rules))
    }

    /// Whether a path in a folder with these hits is left out, and the hits for what is in it.
    pub(crate) fn decide(&self, path: &[u8], folder: &Hits) -> (bool, Hits) {
        let text = symbols(path);
        let mut hits = Vec::with_capacity(self.0.len());
        let mut is_ignored = false;
        for (index, rule) in self.0.iter().enumerate() {
            let is_hit = folder.0.get(index) == Some(&true) || rule.pattern.matches(&text);
            if is_hit {
                is_ignored = !rule.is_exception;
            }
            hits.push(is_hit);
        }
        (is_ignored, Hits(hits))
    }

    /// Whether something below an ignored folder may be in again.
    pub(crate) fn may_reinclude_below(&self, folder: &[u8]) -> bool {
        let folder = symbols(folder);
        let mut rules = self.0.iter().filter(|rule| rule.is_exception);
        rules.any(|rule| folder.iter().zip(&rule.prefix).all(|(a, b)| a == b))
    }

    /// Whether a single path is left out, with all folders above it looked at.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        let mut hits = Hits::default();
        let mut is_ignored = false;
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let part = path.get(..end).unwrap_or_default();
            (is_ignored, hits) = self.decide(part.as_bytes(), &hits);
        }
        is_ignored
    }
}

/// Go's `filepath.Clean` without a slash in front.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if path.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn plain_prefix(pattern: &str) -> Vec<char> {
    let is_plain = |c: &char| !['*', '?', '[', '\\'].contains(c);
    pattern.chars().take_while(is_plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patterns: &str, ignored: &[&str], kept: &[&str]) {
        let rules = Ignored::parse(patterns).unwrap();
        for path in ignored {
            assert!(rules.excludes(path), "{patterns:?} leaves {path} out");
        }
        for path in kept {
            assert!(!rules.excludes(path), "{patterns:?} keeps {path}");
        }
    }

    #[test]
    fn patterns() {
        check("", &[], &["a"]);
        check("a\n#b\n  c  \r\n", &["a", "a/x", "c"], &["b", "x/a", "#b"]);
        check(
            "/a/../b\n./c\nd//e\nf/.\ng/",
            &["b", "c", "d/e", "f", "g/x"],
            &["a", "d"],
        );
        check("*.log", &["a.log"], &["d/a.log"]);
        check("**/*.log", &["a.log", "d/e/a.log"], &["a.logs"]);
        check("*\n!keep", &["a", "a/keep"], &["keep", "keep/x"]);
        check("d\n!d/x", &["d", "d/y"], &["d/x"]);
        check("!d/x\nd", &["d/x"], &[]);
        check("*\n!**/*.keep", &["a", "a/b"], &["a/b.keep", "x.keep"]);
        check(
            "*\n!deep/**/*.go",
            &["deep", "deep/x.c"],
            &["deep/a/b/x.go", "deep/x.go"],
        );
        check("dir/**", &["dir/a", "dir/a/b"], &["dir"]);
        check("**foo", &["foo", "xfoo", "a/xfoo"], &["food"]);
        check("e+f", &["e+f"], &["eef"]);
        check("\\!bang", &["!bang"], &["bang"]);
        check("! keep", &[], &["keep"]);
        check("a?c\n[x-z]", &["abc", "y"], &["a/c", "w"]);
    }

    #[test]
    fn refusals() {
        for (text, message) in [
            ("!", "illegal exclusion pattern: \"!\""),
            ("[a", "syntax error in pattern: [a"),
        ] {
            assert_eq!(Ignored::parse(text).unwrap_err(), message);
        }
    }

    #[test]
    fn walks_are_pruned_only_when_nothing_can_come_back() {
        let check = |patterns: &str, folder: &str, expected: bool| {
            let rules = Ignored::parse(patterns).unwrap();
            assert_eq!(
                rules.may_reinclude_below(folder.as_bytes()),
                expected,
                "{patterns}"
            );
        };
        check("a\n", "a", false);
        check("a\n!a/b", "a", true);
        check("a\n!c/b", "a", false);
        check("a\n!**/x", "a", true);
    }
}
