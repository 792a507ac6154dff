//! Layers by what they were made from.
//!
//! A name (see `execute`) leads to a small blob, the record, which leads to the layer's blob: both
//! are sealed before the name is, so that a power cut leaves no name without its blob.

use crate::build::{BuildError, platform};
use crate::site::Site;
use model::digest::Digest;
use model::slug::Blob;
use serde::{Deserialize, Serialize};
use std::io::Read as _;

/// Bytes of a record.
const RECORD_MAX_BYTES: u64 = 16 * 1024;

/// A sealed layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// tar + zstd.
    pub blob: Blob,
    /// Of the tar.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// When it was first made, RFC 3339.
    pub created: String,
}

/// The records of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cache<'a>(&'a Site);

impl<'a> Cache<'a> {
    /// Of this node.
    pub(super) fn new(site: &'a Site) -> Self {
        Self(site)
    }

    /// The layer of a name, if it is still there.
    pub(super) fn get(self, name: &str) -> Result<Option<Record>, BuildError> {
        let Some(digest) = self.0.layers.get(name).map_err(platform)? else {
            return Ok(None);
        };
        if !self.0.blobs.has(&digest).map_err(platform)? {
            return Ok(None);
        }
        let mut text = Vec::new();
        let file = self.0.blobs.file(&digest).map_err(platform)?;
        file.take(RECORD_MAX_BYTES)
            .read_to_end(&mut text)
            .map_err(platform)?;
        let record: Record = serde_json::from_slice(&text).map_err(platform)?;
        let is_there = self.0.blobs.has(&record.blob.digest).map_err(platform)?;
        Ok(is_there.then_some(record))
    }

    /// Keeps a layer under a name.
    pub(super) fn set(self, name: &str, record: &Record) -> Result<(), BuildError> {
        let text = serde_json::to_vec(record).map_err(platform)?;
        let digest = self.0.blobs.put(&text).map_err(platform)?;
        self.0.layers.set(name, &digest).map_err(platform)
    }
}
