//! Config vars: names and values that a release hands to its dynos.

use crate::limits::CONFIG_VARS_MAX_BYTES;
use crate::text::text_type;
use std::collections::BTreeMap;

text_type!(
    /// The name of a config var: `[A-Za-z_][A-Za-z0-9_]*`, at most 255 bytes.
    Key, KeyError, check_key
);

/// All config vars of a release. Values are any UTF-8 without NUL.
pub type Vars = BTreeMap<Key, String>;

/// The text is no name of a config var.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config var names are letters, digits and underscores and do not start with a digit")]
pub struct KeyError;

/// Why a set of config vars is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VarsError {
    /// Together larger than [`CONFIG_VARS_MAX_BYTES`].
    #[error("config vars take {bytes} bytes together, the limit is {CONFIG_VARS_MAX_BYTES}")]
    TooLarge {
        /// What they take.
        bytes: usize,
    },
    /// A value holds a NUL byte, which no environment can carry.
    #[error("the value of {key} holds a NUL byte")]
    Nul {
        /// Whose value.
        key: Key,
    },
}

/// Checks what can only be said of all vars together.
pub fn check(vars: &Vars) -> Result<(), VarsError> {
    if let Some((key, _)) = vars.iter().find(|(_, value)| value.contains('\0')) {
        return Err(VarsError::Nul { key: key.clone() });
    }
    let bytes = vars
        .iter()
        .map(|(key, value)| key.as_str().len() + value.len())
        .sum();
    if bytes > CONFIG_VARS_MAX_BYTES {
        return Err(VarsError::TooLarge { bytes });
    }
    Ok(())
}

fn check_key(text: &str) -> Result<(), KeyError> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let good = text.len() <= 255
        && text.starts_with(first)
        && text.chars().all(|c| first(c) || c.is_ascii_digit());
    if good { Ok(()) } else { Err(KeyError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for (text, good) in [
            ("A", true),
            ("_x1", true),
            ("PATH", true),
            ("1A", false),
            ("A-B", false),
            ("", false),
            ("A=B", false),
            ("Ä", false),
        ] {
            assert_eq!(Key::parse(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn sets() {
        let key = Key::parse("A").unwrap();
        assert_eq!(
            check(&Vars::from([(
                key.clone(),
                "x".repeat(CONFIG_VARS_MAX_BYTES - 1)
            )])),
            Ok(())
        );
        assert_eq!(
            check(&Vars::from([(
                key.clone(),
                "x".repeat(CONFIG_VARS_MAX_BYTES)
            )])),
            Err(VarsError::TooLarge {
                bytes: CONFIG_VARS_MAX_BYTES + 1
            })
        );
        assert_eq!(
            check(&Vars::from([(key.clone(), "a\0b".to_owned())])),
            Err(VarsError::Nul { key })
        );
    }
}
