//! Images in the form of the OCI image specification: manifest, config, and how they are kept.

pub mod config;
pub mod foreign;
pub mod layout;
pub mod manifest;
pub mod received;

pub use config::{Config, History, Settings};
pub use manifest::{Descriptor, Manifest};

use crate::blobs::{BlobError, Blobs};
use crate::disk::failed;
use model::digest::Digest;
use std::io::Read as _;

/// Bytes of a manifest or config. containerd: 8 MiB; ours.
pub const DOCUMENT_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Why an image cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The blob store refused.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// It is not what it should be.
    #[error("read {digest} as {what}")]
    Invalid {
        /// Which blob.
        digest: Digest,
        /// `a manifest`, `a config`.
        what: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It is larger than any such document.
    #[error("read {0}: it is larger than {DOCUMENT_MAX_BYTES} bytes")]
    TooLarge(Digest),
    /// Manifest and config tell different numbers of layers.
    #[error("use image {digest}: {layers} layers in its manifest, {ids} in its config")]
    Layers {
        /// Its manifest.
        digest: Digest,
        /// In the manifest.
        layers: usize,
        /// In the config.
        ids: usize,
    },
}

/// A manifest with its config.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Of the manifest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// The config.
    pub config: Config,
}

/// Reads an image by its manifest's digest.
pub fn load(blobs: &Blobs, digest: Digest) -> Result<Loaded, ImageError> {
    let manifest: Manifest = document(blobs, digest, "a manifest")?;
    let config: Config = document(blobs, manifest.config.digest, "a config")?;
    if manifest.layers.len() != config.rootfs.diff_ids.len() {
        return Err(ImageError::Layers {
            digest,
            layers: manifest.layers.len(),
            ids: config.rootfs.diff_ids.len(),
        });
    }
    Ok(Loaded {
        digest,
        manifest,
        config,
    })
}

/// Keeps config and manifest of layers that are sealed; returns the digests of both, config first.
pub fn seal(
    blobs: &Blobs,
    config: &Config,
    layers: Vec<Descriptor>,
) -> Result<(Digest, Digest), ImageError> {
    let bytes = config.to_bytes();
    let id = blobs.put(&bytes)?;
    let manifest = Manifest::new(id, bytes.len() as u64, layers);
    Ok((id, blobs.put(&manifest.to_bytes())?))
}

/// Reads a config by its digest.
pub fn config(blobs: &Blobs, digest: Digest) -> Result<Config, ImageError> {
    document(blobs, digest, "a config")
}

fn document<T: serde::de::DeserializeOwned>(
    blobs: &Blobs,
    digest: Digest,
    what: &'static str,
) -> Result<T, ImageError> {
    let mut bytes = Vec::new();
    blobs
        .file(&digest)?
        .take(DOCUMENT_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read", &blobs.path(&digest)))
        .map_err(BlobError::from)?;
    if bytes.len() as u64 > DOCUMENT_MAX_BYTES {
        return Err(ImageError::TooLarge(digest));
    }
    serde_json::from_slice(&bytes).map_err(|source| ImageError::Invalid {
        digest,
        what,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256;
    use crate::scratch::Scratch;

    #[test]
    fn an_image_is_sealed_and_loaded() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(scratch.path()).unwrap();
        let mut config = Config::scratch();
        let layer = Descriptor {
            media_type: manifest::LAYER_ZSTD.to_owned(),
            digest: sha256(b"layer"),
            size: 5,
            other: serde_json::Map::new(),
        };
        config.rootfs.diff_ids.push(sha256(b"tar"));
        let (id, digest) = seal(&blobs, &config, vec![layer.clone()]).unwrap();
        let loaded = load(&blobs, digest).unwrap();
        assert_eq!(loaded.manifest.config.digest, id);
        assert_eq!(
            (&loaded.config, &loaded.manifest.layers),
            (&config, &vec![layer])
        );
        let (_, empty) = seal(&blobs, &config, Vec::new()).unwrap();
        assert!(matches!(
            load(&blobs, empty),
            Err(ImageError::Layers { .. })
        ));
        assert!(matches!(load(&blobs, id), Err(ImageError::Invalid { .. })));
    }
}
