//! Patterns of paths in static.json: `*` stands for anything but a slash, `**` for anything.

/// A pattern, matched against a whole decoded path in time proportional to both lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Byte(u8),
    AnyButSlash,
    Any,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Pattern {
        let mut parts = Vec::with_capacity(text.len());
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            parts.push(match byte {
                b'*' if bytes.next_if_eq(&b'*').is_some() => Part::Any,
                b'*' => Part::AnyButSlash,
                byte => Part::Byte(byte),
            });
        }
        Pattern { parts }
    }

    /// Whether the whole path fits. All possibilities are followed at once, so no pattern is slow.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let mut reached = vec![false; self.parts.len() + 1];
        if let Some(first) = reached.first_mut() {
            *first = true;
        }
        self.skip_stars(&mut reached);
        for byte in path.bytes() {
            reached = self.step(&reached, byte);
        }
        reached.last().copied().unwrap_or(false)
    }

    fn step(&self, reached: &[bool], byte: u8) -> Vec<bool> {
        let mut next = vec![false; reached.len()];
        for (at, part) in self.parts.iter().enumerate() {
            if !reached.get(at).copied().unwrap_or(false) {
                continue;
            }
            let target = match part {
                Part::Byte(wanted) if *wanted == byte => at + 1,
                Part::AnyButSlash if byte != b'/' => at,
                Part::Any => at,
                Part::Byte(_) | Part::AnyButSlash => continue,
            };
            if let Some(place) = next.get_mut(target) {
                *place = true;
            }
        }
        self.skip_stars(&mut next);
        next
    }

    /// A star may stand for nothing.
    fn skip_stars(&self, reached: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            if *part != Part::AnyButSlash && *part != Part::Any {
                continue;
            }
            let here = reached.get(at).copied().unwrap_or(false);
            if let Some(after) = reached.get_mut(at + 1) {
                *after |= here;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches() {
        let cases = [
            ("/", "/", true),
            ("/", "/a", false),
            ("/**", "/", true),
            ("/**", "/a/b.css", true),
            ("/assets/*", "/assets/a.css", true),
            ("/assets/*", "/assets/a/b.css", false),
            ("/assets/**", "/assets/a/b.css", true),
            ("/assets/**", "/asset", false),
            ("/*.html", "/a.html", true),
            ("/*.html", "/a.htm", false),
            ("/*.html", "/a/b.html", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/b/c", false),
            ("/a/**/c", "/a/b/b/c", true),
            ("/a.b", "/aXb", false),
            ("", "", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(
                Pattern::new(pattern).matches(path),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn many_stars_are_not_slow() {
        let pattern = Pattern::new(&"/*a".repeat(80));
        assert!(!pattern.matches(&"/a".repeat(4000)));
    }
}
