//! An account: a person or a program that owns apps and holds tokens.

use crate::text::{id_type, text_type};

id_type!(
    /// An account's id.
    Id
);

text_type!(
    /// An email address, only as far as it has to be checked here: one `@`, something on both
    /// sides, no blank or control character, at most 254 bytes.
    Email, EmailError, check_email
);

/// The text is no email address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an email address has the form name@host")]
pub struct EmailError;

fn check_email(text: &str) -> Result<(), EmailError> {
    let plain = text.len() <= 254 && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    match text.split_once('@') {
        Some((user, host))
            if plain && !user.is_empty() && !host.is_empty() && !host.contains('@') =>
        {
            Ok(())
        }
        _ => Err(EmailError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails() {
        for (text, good) in [
            ("a@b", true),
            ("root@paas.localhost", true),
            ("a", false),
            ("@b", false),
            ("a@", false),
            ("a@b@c", false),
            ("a b@c", false),
        ] {
            assert_eq!(Email::parse(text).is_ok(), good, "{text}");
        }
    }
}
