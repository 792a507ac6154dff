//! A slug's manifest as a blob: its digest is the slug's id.

use crate::blobs::{BlobError, Blobs};
use crate::disk::failed;
use model::digest::Digest;
use model::limits::MANIFEST_MAX_BYTES;
use model::slug::Manifest;
use std::io::Read;

/// Why a manifest cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum SlugError {
    /// The blob store refused.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The blob is no manifest.
    #[error("read {digest} as a slug's manifest")]
    Invalid {
        /// The blob.
        digest: Digest,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The blob is larger than any manifest.
    #[error("read {0} as a slug's manifest: it is larger than {MANIFEST_MAX_BYTES} bytes")]
    TooLarge(Digest),
}

/// The bytes that stand for a manifest: equal manifests are equal bytes.
pub fn to_bytes(manifest: &Manifest) -> Vec<u8> {
    serde_json::to_vec(manifest).expect("a manifest is plain text and numbers, all of it JSON")
}

/// Keeps a manifest and returns the slug's id.
pub fn seal(blobs: &Blobs, manifest: &Manifest) -> Result<Digest, SlugError> {
    Ok(blobs.put(&to_bytes(manifest))?)
}

/// Reads a slug's manifest.
pub fn load(blobs: &Blobs, slug: &Digest) -> Result<Manifest, SlugError> {
    let mut bytes = Vec::new();
    blobs
        .file(slug)?
        .take(MANIFEST_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read", &blobs.path(slug)))
        .map_err(BlobError::from)?;
    if bytes.len() as u64 > MANIFEST_MAX_BYTES {
        return Err(SlugError::TooLarge(*slug));
    }
    serde_json::from_slice(&bytes).map_err(|source| SlugError::Invalid {
        digest: *slug,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256;
    use crate::scratch::Scratch;
    use model::slug::{Blob, Layer};

    #[test]
    fn the_id_is_the_digest_of_canonical_json() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(scratch.path()).unwrap();
        let blob = Blob {
            digest: sha256(b"app"),
            size_bytes: 3,
        };
        let json = format!(
            "{{\"stack\":\"debian-13\",\"app\":{{\"digest\":\"{0}\",\"size_bytes\":3}},\
             \"layers\":[{{\"name\":\"node\",\"version\":\"22.23.3\",\
             \"blob\":{{\"digest\":\"{0}\",\"size_bytes\":3}}}}],\
             \"process_types\":{{}},\"commit\":null,\"description\":\"Node.js\"}}",
            blob.digest
        );
        let manifest = Manifest {
            stack: "debian-13".into(),
            app: blob,
            layers: vec![Layer {
                name: "node".into(),
                version: "22.23.3".into(),
                blob,
            }],
            process_types: serde_json::from_str("{}").unwrap(),
            commit: None,
            description: Some("Node.js".into()),
            image: None,
        };
        let id = seal(&blobs, &manifest).unwrap();
        assert_eq!(id, sha256(json.as_bytes()));
        assert_eq!(load(&blobs, &id).unwrap(), manifest);
    }

    #[test]
    fn other_blobs_are_no_manifests() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(scratch.path()).unwrap();
        let text = blobs.put(b"hello").unwrap();
        assert!(matches!(
            load(&blobs, &text),
            Err(SlugError::Invalid { .. })
        ));
        let large = blobs.put(&vec![b' '; 2_000_000]).unwrap();
        assert!(matches!(load(&blobs, &large), Err(SlugError::TooLarge(_))));
        let missing = load(&blobs, &sha256(b"nowhere")).unwrap_err();
        assert!(missing.to_string().starts_with("find blob sha256:"));
    }
}
