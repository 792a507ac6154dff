//! `.slugignore`: what of a tree does not enter the build. Pure.
//!
//! As Heroku's slug compiler reads it: the file in the root alone, `#` starts a comment, no
//! negation. A pattern without a slash matches a name at any depth, one with a slash from the root;
//! `*` and `?` do not match a slash, `**` does; a slash at the end matches folders only.

/// Bytes of a `.slugignore`; ours.
pub const MAX_BYTES: usize = 64 * 1024;
/// Count of patterns; ours. Each is tried on each path.
const PATTERNS_MAX: usize = 1_000;

/// All patterns of a file.
#[derive(Clone, Debug, Default)]
pub struct Ignored(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    glob: Vec<u8>,
    is_rooted: bool,
    only_folders: bool,
}

impl Ignored {
    /// Reads a file; what is too long is cut.
    pub fn parse(bytes: &[u8]) -> Self {
        let bytes = bytes.get(..MAX_BYTES).unwrap_or(bytes);
        let patterns = bytes
            .split(|b| *b == b'\n')
            .filter_map(pattern)
            .take(PATTERNS_MAX)
            .collect();
        Self(patterns)
    }

    /// Whether the path (from the root, without a slash in front) stays out.
    pub fn matches(&self, path: &[u8], is_folder: bool) -> bool {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
        self.0.iter().any(|pattern| {
            let text = if pattern.is_rooted { path } else { name };
            (is_folder || !pattern.only_folders) && is_match(&pattern.glob, text)
        })
    }
}

fn pattern(line: &[u8]) -> Option<Pattern> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") || line.starts_with(b"!") {
        return None;
    }
    let only_folders = line.ends_with(b"/");
    let line = line.strip_suffix(b"/").unwrap_or(line);
    let is_rooted = line.contains(&b'/');
    let glob = line.strip_prefix(b"/").unwrap_or(line);
    if glob.is_empty() {
        return None;
    }
    Some(Pattern {
        glob: glob.to_vec(),
        is_rooted,
        only_folders,
    })
}

/// Whether a glob matches a whole text: at most one step back to the last star each, so the time is
/// bounded by the product of both lengths.
fn is_match(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    // Where to go on when what follows the last star does not match: star, text, may it take `/`.
    let mut last_star: Option<(usize, usize, bool)> = None;
    // A single star cannot pass a slash, but a double one before it can.
    let mut last_double: Option<(usize, usize)> = None;
    loop {
        let byte = text.get(t).copied();
        match (glob.get(g).copied(), byte) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                let is_double = glob.get(g + 1) == Some(&b'*');
                g += if is_double { 2 } else { 1 };
                // `**/x` also matches `x`.
                if is_double
                    && glob.get(g) == Some(&b'/')
                    && (t == 0 || text.get(t - 1) == Some(&b'/'))
                {
                    g += 1;
                }
                last_star = Some((g, t, is_double));
                if is_double {
                    last_double = Some((g, t));
                }
                continue;
            }
            (Some(b'?'), Some(other)) if other != b'/' => {}
            (Some(wanted), Some(other)) if wanted == other && wanted != b'?' => {}
            _ => {
                if let Some(next) = step_back(text, &mut last_star, &mut last_double) {
                    (g, t) = next;
                    continue;
                }
                return false;
            }
        }
        g += 1;
        t += 1;
    }
}

fn step_back(
    text: &[u8],
    last_star: &mut Option<(usize, usize, bool)>,
    last_double: &mut Option<(usize, usize)>,
) -> Option<(usize, usize)> {
    if let Some((g, t, takes_slash)) = *last_star {
        match text.get(t) {
            Some(byte) if takes_slash || *byte != b'/' => {
                *last_star = Some((g, t + 1, takes_slash));
                if takes_slash {
                    *last_double = Some((g, t + 1));
                }
                return Some((g, t + 1));
            }
            _ => *last_star = None,
        }
    }
    let (g, t) = (*last_double)?;
    text.get(t)?;
    *last_double = Some((g, t + 1));
    Some((g, t + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, path: &str, expected: bool) {
        let is_folder = path.ends_with('/');
        let bare = path.trim_end_matches('/');
        let ignored = Ignored::parse(file.as_bytes());
        assert_eq!(
            ignored.matches(bare.as_bytes(), is_folder),
            expected,
            "{file:?} on {path}"
        );
    }

    #[test]
    fn patterns() {
        for (file, path, expected) in [
            ("", "a", false),
            ("# a\n\n!a\n", "a", false),
            ("a", "a", true),
            ("a", "x/y/a", true),
            ("a", "ab", false),
            ("*.psd", "x/y.psd", true),
            ("*.psd\r\n", "y.psd", true),
            ("*.psd", "y.psdx", false),
            ("/a", "a", true),
            ("/a", "x/a", false),
            ("x/a", "x/a", true),
            ("x/a", "y/x/a", false),
            ("x/*", "x/a", true),
            ("x/*", "x/a/b", false),
            ("x/**", "x/a/b", true),
            ("**/a", "a", true),
            ("**/a", "x/y/a", true),
            ("x/**/a", "x/a", true),
            ("x/**/a", "x/y/z/a", true),
            ("x/**/*.c", "x/y/z/a.c", true),
            ("x/**/*.c", "x/y/z/a.h", false),
            ("tmp/", "tmp/", true),
            ("tmp/", "tmp", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("/", "a", false),
        ] {
            check(file, path, expected);
        }
    }

    #[test]
    fn hostile_patterns_end() {
        let glob = "*a".repeat(200);
        assert!(!is_match(glob.as_bytes(), &[b'a'; 199]));
        assert!(!is_match("**a".repeat(50).as_bytes(), &[b'b'; 4_000]));
    }
}
