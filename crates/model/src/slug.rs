//! A slug: what a build by buildpacks makes. Its digest is the sha256 of its manifest's JSON.

use crate::digest::Digest;
use crate::process::Types;

/// All that is needed to run a slug and to say where it came from.
///
/// serde writes the fields in this order and maps in key order, so equal manifests are equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// The stack by name, e.g. `debian-13`.
    pub stack: String,
    /// tar + zstd, everything under `./app`.
    pub app: Blob,
    /// Runtime layers, read-only at `/layers/<name>`, in the order of the buildpacks.
    pub layers: Vec<Layer>,
    /// Process types with their commands.
    pub process_types: Types,
    /// The commit that was built, 40 hex digits.
    pub commit: Option<String>,
    /// What the buildpacks called the app, e.g. `Python`.
    pub description: Option<String>,
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
        self.app.size_bytes
    }
}
