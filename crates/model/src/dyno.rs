//! A dyno: its id, its name, its states, and the order to run it.

use crate::process::Type;
use crate::size::Size;
use crate::slug::Manifest;
use crate::text::id_type;
use crate::{account, app, release};
use std::collections::BTreeMap;

id_type!(
    /// A dyno's id: a restarted dyno has the same name and a new id.
    Id
);

/// A dyno's name: `web.1`, `run.4711`.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Name {
    /// Its process type.
    pub process_type: Type,
    /// Its number within the type, from 1.
    pub number: u32,
}

/// The text is no dyno name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dyno names have the form web.1")]
pub struct NameError;

impl Name {
    /// Parses `web.1`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (process_type, number) = text.rsplit_once('.').ok_or(NameError)?;
        let plain = !number.starts_with(['0', '+']);
        match (Type::parse(process_type), number.parse()) {
            (Ok(process_type), Ok(number)) if plain => Ok(Self {
                process_type,
                number,
            }),
            _ => Err(NameError),
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{}.{}", self.process_type, self.number))
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.to_string()
    }
}

/// The states of a dyno, in Heroku's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Wanted, not started yet.
    Created,
    /// Started; a web dyno does not listen on its PORT yet.
    Starting,
    /// Runs; a web dyno listens on its PORT.
    Up,
    /// Ended by itself; waits for its restart.
    Crashed,
    /// Stopped on purpose.
    Down,
    /// A one-off or release dyno that ended by itself.
    Complete,
}

impl State {
    /// The word in logs and in the API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Crashed => "crashed",
            Self::Down => "down",
            Self::Complete => "complete",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// The ways in which a dyno can be on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the net namespace that the dynos of its owner share on a node: the kernel holds its PORT
    /// for its cgroup.
    Central,
    /// In a net namespace of its own: iptables inside hold its PORT.
    Isolated,
}

impl Mode {
    /// The word in configuration and in the API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Central => "central",
            Self::Isolated => "isolated",
        }
    }
}

/// The way in which a dyno is on the network.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase", tag = "mode")]
pub enum Network {
    /// [`Mode::Central`]
    Central,
    /// [`Mode::Isolated`]
    Isolated {
        /// Why not central, as a slug is where it can be; a sentence without a full stop.
        fallback: Option<String>,
    },
}

impl Network {
    /// Which of the two.
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Central => Mode::Central,
            Self::Isolated { .. } => Mode::Isolated,
        }
    }

    /// Why it is not central although a slug is where it can be.
    pub fn fallback(&self) -> Option<&str> {
        match self {
            Self::Central => None,
            Self::Isolated { fallback } => fallback.as_deref(),
        }
    }
}

/// The order to run one dyno: all that a dynod needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Want {
    /// Which dyno.
    pub dyno: Id,
    /// `web.1`.
    pub name: Name,
    /// Whose.
    pub app: app::Id,
    /// Whose the app is: the dynos of one owner share a network on a node.
    pub owner: account::Id,
    /// The app's name today, for log lines and DYNO metadata.
    pub app_name: app::Name,
    /// Of which release.
    pub release: release::Number,
    /// What it is for.
    pub purpose: Purpose,
    /// The command line, run by bash in /app.
    pub command: String,
    /// The slug to run it from.
    pub slug: Manifest,
    /// Config vars, with a one-off's overlay already laid over them. Secret: sealed at rest.
    pub config: BTreeMap<String, String>,
    /// Memory, share and process limits.
    pub size: Size,
    /// How long it may take until it listens, milliseconds; 60,000 unless the app says otherwise.
    pub boot_timeout_ms: u64,
}

/// What a dyno is for; decides restarts and where its output goes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Purpose {
    /// Part of the formation: started again when it ends.
    Formation,
    /// The release phase: runs once.
    Release,
    /// A one-off whose output goes to the log.
    Detached {
        /// Killed after so many seconds.
        time_to_live_s: u64,
    },
    /// A one-off whose output goes to a rendezvous connection.
    Attached {
        /// Killed after so many seconds.
        time_to_live_s: u64,
        /// The terminal's size; none: pipes instead of a terminal.
        window: Option<Window>,
    },
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for text in ["web.1", "my-worker.12", "run.4711"] {
            assert_eq!(Name::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "web",
            "web.",
            ".1",
            "web.01",
            "web.+1",
            "web.-1",
            "web.1.x",
            "w b.1",
            "web.99999999999",
        ] {
            assert_eq!(Name::parse(bad), Err(NameError), "{bad}");
        }
    }
}
