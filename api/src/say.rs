//! One place where a failure that nobody above can handle is written to the platform's log, with
//! its whole chain of causes.

use std::error::Error;

/// Logs that something failed, once, where it is handled.
pub(crate) fn failed(doing: &str, error: &dyn Error) {
    tracing::error!(cause = chain(error), "failed to {doing}");
}

/// An error with its causes, outermost first.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
