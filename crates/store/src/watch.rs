//! Following changes.
//!
//! A watcher keeps a revision, not a queue: it asks the store what came after. However slow it is,
//! nothing piles up for it, and a fast one is woken by each commit.

use crate::store::{Listening, Store};
use crate::view::{ReadError, Revision};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// A key was written or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub key: String,
    /// By which commit, the last one to touch it.
    pub revision: Revision,
    /// The record as JSON; none if it was deleted.
    pub json: Option<String>,
}

impl Change {
    /// The record; none if it was deleted.
    pub fn value<T: DeserializeOwned>(&self) -> Result<Option<T>, ReadError> {
        let parsed = self.json.as_deref().map(serde_json::from_str);
        parsed.transpose().map_err(|source| ReadError::Record {
            key: self.key.clone(),
            source,
        })
    }
}

/// What came after a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// All changes, or the first thousand or so, up to a revision, at which to go on.
    Some {
        /// Oldest first, each key once.
        changes: Vec<Change>,
        /// Where to go on.
        through: Revision,
    },
    /// The revision is too old, or of another store: read everything again.
    Gap {
        /// The last revision.
        now: Revision,
    },
}

/// Follows the changes under a prefix.
#[derive(Debug)]
pub struct Watch {
    store: Arc<Store>,
    prefix: String,
    after: Revision,
    woken: Receiver<()>,
}

impl Watch {
    pub(crate) fn new(store: &Arc<Store>, prefix: &str, after: Revision) -> Self {
        // One place is enough: what matters is that something was committed since the last look.
        let (wake, woken) = sync_channel(1);
        store.listen(move |_| match wake.try_send(()) {
            Ok(()) | Err(TrySendError::Full(())) => Listening::Yes,
            Err(TrySendError::Disconnected(())) => Listening::No,
        });
        Self {
            store: Arc::clone(store),
            prefix: prefix.to_owned(),
            after,
            woken,
        }
    }

    /// Waits at most `timeout` for changes; no changes if the time was over. After
    /// [`Changes::Gap`] it goes on behind the revision that this told.
    pub fn next(&mut self, timeout: Duration) -> Result<Changes, ReadError> {
        let deadline = Instant::now() + timeout;
        loop {
            let answer = self.store.changes(&self.prefix, self.after)?;
            match &answer {
                Changes::Some { through, .. } => self.after = *through,
                Changes::Gap { now } => self.after = *now,
            }
            let is_empty = matches!(&answer, Changes::Some { changes, .. } if changes.is_empty());
            if !is_empty {
                return Ok(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.woken.recv_timeout(left) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Ok(answer);
                }
            }
        }
    }
}
