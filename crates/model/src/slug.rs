//! A slug: what a build by buildpacks makes. Its digest is the sha256 of its manifest's JSON.
//!
//! The manifest stands for an image, too, so that releases need not care which of the two they
//! run: then `image` is there, `app` is the OCI manifest and `layers` is empty.

use crate::digest::Digest;
use crate::image::Image;
use crate::process::Types;

/// All that is needed to run a slug and to say where it came from.
///
/// serde writes the fields in this order and maps in key order, so equal manifests are equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// The stack by name, e.g. `debian-13`; of an image Heroku's name for them.
    pub stack: String,
    /// tar + zstd, everything under `./app`; of an image its OCI manifest.
    pub app: Blob,
    /// Runtime layers, read-only at `/layers/<name>`, in the order of the buildpacks.
    pub layers: Vec<Layer>,
    /// Process types with their commands.
    pub process_types: Types,
    /// The commit that was built, 40 hex digits.
    pub commit: Option<String>,
    /// What the buildpacks called the app, e.g. `Python`.
    pub description: Option<String>,
    /// How it runs, if it is an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Box<Image>>,
}

/// A blob by digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Blob {
    /// Its name in the blob store.
    pub digest: Digest,
    /// Its length.
    pub size_bytes: u64,
}

/// A runtime that several slugs share.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Layer {
    /// `node`, `[a-z0-9][a-z0-9-]{0,31}`: the folder below `/layers`.
    pub name: String,
    /// `22.23.3`.
    pub version: String,
    /// tar + zstd, everything under `./layer`.
    pub blob: Blob,
}

impl Manifest {
    /// Bytes that a fresh node has to get for this slug.
    pub fn size_bytes(&self) -> u64 {
        match &self.image {
            Some(image) => image.layers.iter().map(|layer| layer.size_bytes).sum(),
            None => self.app.size_bytes,
        }
    }
}
