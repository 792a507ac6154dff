//! Waiting for a journal to grow without a thread for it.

use journal::{Batch, Follower, Position};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// A follower that tokio can wait on.
#[derive(Debug)]
pub(crate) struct Lines {
    follower: Follower,
    changed: Changed,
}

/// The same of a build's or release's output.
#[derive(Debug)]
pub(crate) struct Bytes {
    follower: journal::output::Follower,
    changed: Changed,
}

impl Lines {
    /// Follows producers from a position on.
    pub(crate) fn open(folders: &[PathBuf], from: &Position) -> Result<Self, FollowError> {
        let follower = Follower::open(folders, from)?;
        let changed = Changed::of(&follower)?;
        Ok(Self { follower, changed })
    }

    /// Waits for the next lines. Cancel-safe: lines are taken only when they are returned.
    pub(crate) async fn next(&mut self) -> Result<Batch, FollowError> {
        loop {
            let batch = self.follower.next(Duration::ZERO)?;
            if !batch.lines.is_empty() || batch.has_gap {
                return Ok(batch);
            }
            if !batch.has_more {
                self.changed.wait().await?;
            }
        }
    }
}

impl Bytes {
    /// Follows an output from its first byte.
    pub(crate) fn open(path: &Path) -> Result<Self, FollowError> {
        let follower = journal::output::Follower::open(path, 0)?;
        let changed = Changed::of(&follower)?;
        Ok(Self { follower, changed })
    }

    /// Waits for the next bytes; empty ones are the end.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>, FollowError> {
        loop {
            let chunk = self.follower.next(Duration::ZERO)?;
            if !chunk.bytes.is_empty() || chunk.is_last {
                return Ok(chunk.bytes);
            }
            self.changed.wait().await?;
        }
    }
}

/// A second descriptor of the follower's inotify instance: it becomes readable with the first.
#[derive(Debug)]
struct Changed(AsyncFd<OwnedFd>);

impl Changed {
    #[expect(
        deprecated,
        reason = "the other constructor is unsafe; an OwnedFd keeps its descriptor for life"
    )]
    fn of(follower: &impl AsFd) -> Result<Self, FollowError> {
        let descriptor = follower.as_fd().try_clone_to_owned();
        let changed = descriptor.and_then(AsyncFd::new);
        changed.map(Self).map_err(FollowError::Wait)
    }

    /// Cancel-safe. What changed before the follower looked last may wake it once for nothing.
    async fn wait(&mut self) -> Result<(), FollowError> {
        let ready = self.0.readable().await;
        ready.map_err(FollowError::Wait)?.clear_ready();
        Ok(())
    }
}

/// Why a journal cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] journal::DiskError),
    /// Waiting for its descriptor.
    #[error("wait for a journal to grow")]
    Wait(#[source] std::io::Error),
}
