//! Which names and links of a git tree may become files. Pure.
//!
//! git itself refuses most of these on the client, and `receive.fsckObjects` again on arrival; a
//! tree that reaches us is still a stranger's. The rules for `.git` are those of git's
//! `verify_path` (read-cache.c): no file system that takes our files later, with whatever rules of
//! case and invisible characters, may see a repository in it.

/// Why a tree is refused; each is a sentence's end after the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hostile {
    /// Empty, `.`, `..`, or with a slash or NUL in it.
    #[error("is no name for a file")]
    Name,
    /// `.git`, or what some file system takes for it.
    #[error("would be a git repository inside the app")]
    DotGit,
    /// Longer than Linux takes (`NAME_MAX`).
    #[error("has a name of more than 255 bytes")]
    TooLong,
    /// A link to `/…`.
    #[error("is a symbolic link to an absolute path; make it relative")]
    AbsoluteLink,
    /// A link that leaves the tree.
    #[error("is a symbolic link that leads out of the app")]
    EscapingLink,
    /// A commit of another repository.
    #[error("is a submodule; submodules are not fetched: add its files to this repository")]
    Submodule,
    /// A mode that git does not write.
    #[error("is neither a file, a folder nor a symbolic link")]
    Kind,
}

/// Checks one name of a tree.
pub fn check(name: &[u8]) -> Result<(), Hostile> {
    if matches!(name, b"" | b"." | b"..") || name.iter().any(|b| matches!(b, b'/' | 0)) {
        return Err(Hostile::Name);
    }
    if name.len() > 255 {
        return Err(Hostile::TooLong);
    }
    if is_dot_git(name) {
        return Err(Hostile::DotGit);
    }
    Ok(())
}

/// Checks the target of a link that lies `depth` folders below the root of the tree.
///
/// Text only: the way of each `..` is counted as if no other link stood on it. A chain of links
/// can lead elsewhere, but only to what the jail shows; nobody writes through one.
pub fn check_link(target: &[u8], depth: usize) -> Result<(), Hostile> {
    if target.first() == Some(&b'/') {
        return Err(Hostile::AbsoluteLink);
    }
    if target.is_empty() || target.contains(&0) {
        return Err(Hostile::Kind);
    }
    let mut level = depth;
    for part in target.split(|b| *b == b'/') {
        level = match part {
            b"" | b"." => level,
            b".." => level.checked_sub(1).ok_or(Hostile::EscapingLink)?,
            _ => level + 1,
        };
    }
    Ok(())
}

/// `.git` in any case, with NTFS's short name, trailing dots, blanks, streams and backslashes, and
/// with the code points that HFS+ passes over (git's utf8.c, `next_hfs_char`).
fn is_dot_git(name: &[u8]) -> bool {
    let visible: String = String::from_utf8_lossy(name)
        .chars()
        .filter(|c| !is_passed_over(*c))
        .collect();
    // A backslash parts names on NTFS, a colon starts a stream.
    let mut parts = visible.split(['\\', ':']);
    parts.any(|part| {
        let part = part.trim_end_matches([' ', '.']);
        part.eq_ignore_ascii_case(".git") || part.eq_ignore_ascii_case("git~1")
    })
}

fn is_passed_over(c: char) -> bool {
    matches!(
        c,
        '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "a",
            ".gitignore",
            ".github",
            "...",
            "..a",
            "a b",
            "git",
            "x.git",
            ".gitx",
            "ä",
            "-rf",
            "git~2",
            "gitlab",
            ".gitmodules",
        ] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", Hostile::Name),
            (".", Hostile::Name),
            ("..", Hostile::Name),
            ("a/b", Hostile::Name),
            ("a\0b", Hostile::Name),
            (".git", Hostile::DotGit),
            (".GiT", Hostile::DotGit),
            (".git ", Hostile::DotGit),
            (".git. .", Hostile::DotGit),
            ("git~1", Hostile::DotGit),
            ("GIT~1", Hostile::DotGit),
            (".git::$INDEX_ALLOCATION", Hostile::DotGit),
            ("a\\.git\\b", Hostile::DotGit),
            (".g\u{200c}it", Hostile::DotGit),
            ("\u{feff}.git", Hostile::DotGit),
        ] {
            assert_eq!(check(bad.as_bytes()), Err(why), "{bad:?}");
        }
        assert_eq!(check(&[b'x'; 256]), Err(Hostile::TooLong));
        assert_eq!(check(b"\xff\xfe"), Ok(()));
    }

    #[test]
    fn links() {
        for (target, depth, expected) in [
            ("a", 0, Ok(())),
            ("a/../b", 0, Ok(())),
            ("../a", 1, Ok(())),
            ("./..//a", 1, Ok(())),
            ("..", 1, Ok(())),
            ("..", 0, Err(Hostile::EscapingLink)),
            ("../a", 0, Err(Hostile::EscapingLink)),
            ("a/../../b", 0, Err(Hostile::EscapingLink)),
            ("../../a", 1, Err(Hostile::EscapingLink)),
            ("/etc/passwd", 3, Err(Hostile::AbsoluteLink)),
            ("", 0, Err(Hostile::Kind)),
            ("a\0b", 0, Err(Hostile::Kind)),
        ] {
            assert_eq!(check_link(target.as_bytes(), depth), expected, "{target}");
        }
    }
}
