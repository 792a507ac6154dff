//! An image that others made, as an archive: an OCI layout in a tar, or what `docker save` writes.
//!
//! All of it is a stranger's. No name of the archive becomes a name on the disk: its files are
//! written under numbers, and found by looking their names up. What the manifest names is taken
//! only if its bytes hash to what is said, and a layer only if its tar is the one of the config.
//! Layers are not unpacked here.

mod choose;
mod files;

use super::{Config, Descriptor, Manifest, config, manifest};
use crate::disk::DiskError;
use crate::hash::sha256_of;
use crate::layer;
use crate::unpack::UnpackError;
use files::Files;
use model::digest::Digest;
use model::limits::{SANDBOX_LAYERS_MAX, UNPACKED_MAX_BYTES};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Why an archive is no image that can run here.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It cannot be read.
    #[error(transparent)]
    Archive(#[from] UnpackError),
    /// It is not what it says, or not for us.
    #[error("{0}")]
    Refused(String),
}

/// An image whose parts are all there and what they should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The config.
    pub config: Piece,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// A file of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its name on the disk.
    pub number: u32,
    /// What it hashes to.
    pub digest: Digest,
    /// Its length.
    pub size_bytes: u64,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its blob.
    pub blob: Piece,
    /// Of its tar.
    pub diff_id: Digest,
    /// What its first bytes say that it is.
    pub media_type: String,
}

impl Found {
    /// The layers as a manifest names them.
    pub fn descriptors(&self) -> Vec<Descriptor> {
        let all = self.layers.iter().map(|layer| Descriptor {
            media_type: layer.media_type.clone(),
            digest: layer.blob.digest,
            size: layer.blob.size_bytes,
            other: serde_json::Map::new(),
        });
        all.collect()
    }
}

/// Writes an archive's files into an empty folder and finds the image in them.
pub fn take(archive: impl Read, folder: &Path) -> Result<Found, ForeignError> {
    let files = Files::read(archive, folder)?;
    let chosen = choose::choose(&files)?;
    let config: Config = files.document(chosen.config.number)?;
    let (ours, os) = (config::architecture(), config.os.as_str());
    let is_for_us = ["", "linux"].contains(&os) && ["", ours].contains(&&*config.architecture);
    if !is_for_us {
        return refused(format!(
            "the image is for {os}/{}, and this node runs linux/{ours}",
            config.architecture
        ));
    }
    let (layers, ids) = (chosen.layers, config.rootfs.diff_ids);
    if layers.len() != ids.len() {
        return refused(format!(
            "the image has {} layers in its manifest and {} in its config",
            layers.len(),
            ids.len()
        ));
    }
    if layers.is_empty() {
        return refused("the image has no files at all");
    }
    if layers.len() >= SANDBOX_LAYERS_MAX {
        let (count, max) = (layers.len(), SANDBOX_LAYERS_MAX - 1);
        return refused(format!(
            "the image has {count} layers, at most {max} can be laid over each other"
        ));
    }
    let mut left = UNPACKED_MAX_BYTES;
    let verified: Result<Vec<Layer>, ForeignError> = layers
        .into_iter()
        .zip(ids)
        .map(|(blob, diff_id)| verify(&files, blob, diff_id, &mut left))
        .collect();
    Ok(Found {
        config: chosen.config,
        layers: verified?,
    })
}

/// A layer whose tar is the one that the config names; `left` is what all may still unpack to.
fn verify(
    files: &Files,
    blob: Piece,
    diff_id: Digest,
    left: &mut u64,
) -> Result<Layer, ForeignError> {
    let mut head = Vec::new();
    files
        .open(blob.number)?
        .take(4)
        .read_to_end(&mut head)
        .map_err(UnpackError::Archive)?;
    let media_type = match head.as_slice() {
        [0x1f, 0x8b, ..] => manifest::LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => manifest::LAYER_ZSTD,
        _ => manifest::LAYER_TAR,
    };
    let file: File = files.open(blob.number)?;
    let tar = layer::decoded(file)?.take(left.saturating_add(1));
    let (is, size_bytes) = sha256_of(tar).map_err(UnpackError::Archive)?;
    *left = match left.checked_sub(size_bytes) {
        Some(left) => left,
        None => {
            return refused(format!(
                "the image unpacks to more than {UNPACKED_MAX_BYTES} bytes"
            ));
        }
    };
    if is != diff_id {
        return refused(format!(
            "layer {} is not the {diff_id} of its config",
            blob.digest
        ));
    }
    Ok(Layer {
        blob,
        diff_id,
        media_type: media_type.to_owned(),
    })
}

/// A manifest, config and layers that are files of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chosen {
    config: Piece,
    layers: Vec<Piece>,
}

fn refused<T>(why: impl Into<String>) -> Result<T, ForeignError> {
    Err(ForeignError::Refused(why.into()))
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
