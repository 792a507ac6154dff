//! The dynos that shall be, as they are kept: without the secrets, which the feed adds.

use super::{Change, Records, RecordsError};
use model::digest::Digest;
use model::dyno::{Id, Name, Purpose};
use model::size::Size;
use model::{app, release};
use serde::{Deserialize, Serialize};

/// A dyno that shall run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Want {
    pub(crate) dyno: Id,
    pub(crate) node: String,
    pub(crate) app: app::Id,
    pub(crate) name: Name,
    pub(crate) release: release::Number,
    pub(crate) purpose: Purpose,
    pub(crate) command: String,
    pub(crate) slug: Digest,
    /// The config vars' record.
    pub(crate) config: String,
    /// What a one-off has in its environment besides, sealed.
    pub(crate) overlay: Option<String>,
    pub(crate) size: Size,
    pub(crate) stage: Stage,
    pub(crate) created_at_us: u64,
}

/// What part a dyno has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub(crate) enum Stage {
    /// Boots for a release that is not switched to yet: gets no requests.
    Booting,
    /// Boots to take over from another dyno of the same release: gets no requests until then.
    Successor {
        /// The dyno that serves meanwhile.
        of: Id,
    },
    /// Does its work.
    Serving,
    /// Has left the route and ends its requests.
    Leaving {
        /// Since when.
        since_us: u64,
    },
}

impl Want {
    /// Whether it belongs to the formation.
    pub(crate) fn is_formation(&self) -> bool {
        self.purpose == Purpose::Formation
    }

    /// Whether it is on its way out.
    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving { .. })
    }
}

impl Records {
    pub(crate) fn wants(&self) -> Result<Vec<Want>, RecordsError> {
        self.values("want/")
    }
}

impl Change {
    /// A new dyno, or another stage of one.
    pub(crate) fn put_want(&mut self, want: &Want) {
        self.touch(want.app);
        self.put(&key(want), want);
        self.wants.push(Step::Put(Box::new(want.clone())));
    }

    /// The dyno shall not run any more.
    pub(crate) fn remove_want(&mut self, want: &Want) {
        self.touch(want.app);
        self.remove(&key(want));
        self.wants.push(Step::Remove(want.dyno));
    }
}

/// What a change does to the wanted dynos, for the copy in memory.
#[derive(Debug)]
pub(crate) enum Step {
    Put(Box<Want>),
    Remove(Id),
}

fn key(want: &Want) -> String {
    format!("want/{}/{}", want.node, want.dyno)
}
