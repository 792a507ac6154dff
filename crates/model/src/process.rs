//! Process types: the names on the left side of a Procfile.

use crate::text::text_type;
use std::collections::BTreeMap;

text_type!(
    /// A process type: `[A-Za-z0-9][A-Za-z0-9_-]{0,62}`, case kept.
    Type, TypeError, check
);

/// Process types of a release with the command of each.
pub type Types = BTreeMap<Type, String>;

/// The type that gets HTTP.
pub const WEB: &str = "web";
/// The type that runs before a release's dynos and is never scaled.
pub const RELEASE: &str = "release";
/// The type of one-off dynos.
pub const RUN: &str = "run";

/// The text is no process type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "process types are 1 to 63 letters, digits, dashes and underscores and start with a letter or digit"
)]
pub struct TypeError;

impl Type {
    /// `web`, the type that is routed.
    pub fn web() -> Self {
        Self(WEB.to_owned())
    }

    /// `release`, the type of the release phase.
    pub fn release() -> Self {
        Self(RELEASE.to_owned())
    }

    /// `run`, the type of one-off dynos.
    pub fn run() -> Self {
        Self(RUN.to_owned())
    }

    /// Whether the router sends requests to dynos of this type.
    pub fn is_web(&self) -> bool {
        self.0 == WEB
    }

    /// Whether dynos of this type belong to a formation (the release phase does not).
    pub fn is_scalable(&self) -> bool {
        self.0 != RELEASE
    }
}

/// A command as people are shown it: without what command lines add to a one-off in order to
/// learn its exit status, ` ; echo "U+FFFF heroku-command-exit-status: $?"`.
pub fn shown(command: &str) -> &str {
    command
        .split(" ; echo \"\u{ffff}")
        .next()
        .unwrap_or(command)
}

fn check(text: &str) -> Result<(), TypeError> {
    let good = (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if good { Ok(()) } else { Err(TypeError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_for_the_exit_status_is_not_shown() {
        let asked = "ls ; echo \"\u{ffff} heroku-command-exit-status: $?\"";
        assert_eq!(shown(asked), "ls");
        assert_eq!(shown("ls ; echo x"), "ls ; echo x");
    }
}
