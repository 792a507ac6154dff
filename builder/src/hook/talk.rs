//! What hook and builder say to each other over the socket that the hook inherits: JSON, one
//! message a line.
//!
//! The hook sends one [`Request`]; the builder sends [`Word`]s, of which [`Word::Verdicts`] is the
//! last.

use serde::{Deserialize, Serialize};

/// Bytes of one message: a push of 20,000 refs.
pub const MESSAGE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A ref that the pusher wants to move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Its object now; all zeros when it is new.
    pub old: String,
    /// Its object then; all zeros to delete it.
    pub new: String,
    /// `refs/heads/main`. A stranger's text.
    pub name: String,
}

impl Update {
    /// Whether the ref shall go.
    pub fn is_deletion(&self) -> bool {
        self.new.bytes().all(|b| b == b'0')
    }
}

/// All that the pusher wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// In git's order.
    pub updates: Vec<Update>,
}

/// What the builder answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// A line for the pusher's terminal, without its end.
    Say(String),
    /// What becomes of each update, in the order of the request. Ends the talk.
    Verdicts(Vec<Verdict>),
}

/// What becomes of an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// git moves the ref.
    Move,
    /// The ref stays, and git shows this reason beside it.
    Refuse(String),
}
