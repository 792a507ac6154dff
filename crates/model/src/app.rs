//! An app: its id, its name and the rule for names.

use crate::text::{id_type, text_type};

id_type!(
    /// An app's id: it keeps it through a rename.
    Id
);

text_type!(
    /// An app's name: 3 to 30 characters, `[a-z][a-z0-9-]*[a-z0-9]`, none of [`RESERVED`].
    Name, NameError, check
);

/// Names that the platform's own hosts have.
pub const RESERVED: [&str; 4] = ["api", "git", "registry", "www"];

/// Why a text is no app name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Breaks the grammar.
    #[error(
        "app names are 3 to 30 lower-case letters, digits and dashes, start with a letter and end with a letter or digit"
    )]
    Malformed,
    /// Belongs to the platform.
    #[error("this name is reserved for the platform itself (api, git, registry, www)")]
    Reserved,
}

fn check(text: &str) -> Result<(), NameError> {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let fits = (3..=30).contains(&bytes.len())
        && bytes.iter().all(inner)
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last().is_some_and(|b| *b != b'-');
    if !fits {
        return Err(NameError::Malformed);
    }
    if RESERVED.contains(&text) {
        return Err(NameError::Reserved);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "abc",
            "hello",
            "a-b",
            "a1b",
            "x23456789012345678901234567890",
        ] {
            assert_eq!(
                Name::parse(good).map(String::from),
                Ok(good.to_owned()),
                "{good}"
            );
        }
        for bad in [
            "",
            "ab",
            "1ab",
            "-ab",
            "ab-",
            "aB3",
            "a_b",
            "a.b",
            "x234567890123456789012345678901",
            "äbc",
        ] {
            assert_eq!(Name::parse(bad), Err(NameError::Malformed), "{bad}");
        }
        for taken in RESERVED {
            assert_eq!(Name::parse(taken), Err(NameError::Reserved), "{taken}");
        }
    }

    #[test]
    fn json_refuses_what_parse_refuses() {
        assert!(serde_json::from_str::<Name>("\"hello\"").is_ok());
        assert!(serde_json::from_str::<Name>("\"api\"").is_err());
    }
}
