//! How a command fails: an exit code, what happened, and what to do next.

use link::http::ClientError;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: u8,
    /// The API's word for it, for `--json`.
    pub(crate) id: String,
    /// What happened, with the thing's name.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

/// Refused or failed.
pub(crate) const FAILED: u8 = 1;
/// The command line itself is wrong.
pub(crate) const USAGE: u8 = 2;
/// Not signed in.
pub(crate) const SIGNED_OUT: u8 = 3;
/// The platform cannot be reached.
pub(crate) const UNREACHABLE: u8 = 4;

impl Failure {
    /// Refused or failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            exit: FAILED,
            id: "failed".to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    /// The command line itself is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: USAGE,
            id: "usage".to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    /// Nobody is signed in, or the token is not taken.
    pub(crate) fn signed_out(message: impl Into<String>) -> Self {
        Self {
            exit: SIGNED_OUT,
            id: "unauthorized".to_owned(),
            message: message.into(),
            hint: None,
        }
        .hint("sign in: paas login (as root on the server no token is needed)")
    }

    /// The same with a next step.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = chain(&error);
        match error {
            ClientError::Unreachable { .. } => Self {
                exit: UNREACHABLE,
                id: "unreachable".to_owned(),
                message: format!("failed to {message}"),
                hint: None,
            }
            .hint("is the platform running? on the server: paas status"),
            _ => Self::new(format!("failed to {message}")),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// The whole chain of an error in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text = format!("{text}: {part}");
        }
        source = error.source();
    }
    text
}
