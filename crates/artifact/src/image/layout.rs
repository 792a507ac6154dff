//! An image as one archive: an OCI layout (image-layout.md of the specification) in a tar.
//!
//! Blobs go in as they are sealed, so that their digests stay; the archive's own bytes are the same
//! whenever the image is.

use super::manifest::{Descriptor, MANIFEST, Manifest};
use super::{Config, DOCUMENT_MAX_BYTES, Loaded};
use model::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The file that marks a layout, and what it says.
pub const MARK: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
/// The file that names the images of a layout.
pub const INDEX: &str = "index.json";
/// Media type of an index.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// The annotation that holds the name of an image within its layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Where blobs lie.
pub const BLOBS: &str = "blobs/sha256/";

const BLOCK_BYTES: usize = 512;
/// The end of a tar.
pub const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// What a layout holds, or one entry of it points to: images, or indexes again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    pub schema_version: u32,
    /// [`INDEX_TYPE`], or Docker's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The images.
    pub manifests: Vec<Descriptor>,
    /// All else, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A piece of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A sealed blob.
    Blob {
        /// Which.
        digest: Digest,
        /// Its length.
        size_bytes: u64,
    },
}

impl Part {
    /// Its length.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Blob { size_bytes, .. } => *size_bytes,
        }
    }
}

/// The name in the index, if there is one.
pub fn ref_name(descriptor: &Descriptor) -> Option<&str> {
    let annotations = descriptor.other.get("annotations")?;
    annotations.get(REF_NAME)?.as_str()
}

/// The archive of an image, piece by piece; `manifest_bytes` is the length of its manifest.
pub fn archive(image: &Loaded, manifest_bytes: u64, name: &str) -> Vec<Part> {
    let manifest = &image.manifest;
    let named = (&image.digest, manifest_bytes);
    let index = index(named, manifest, &image.config, name);
    let mut parts = Vec::new();
    file(&mut parts, MARK.0, MARK.1.as_bytes().to_vec());
    file(&mut parts, INDEX, index.to_string().into_bytes());
    let mut blobs = vec![
        (image.digest, manifest_bytes),
        (manifest.config.digest, manifest.config.size),
    ];
    blobs.extend(
        manifest
            .layers
            .iter()
            .map(|layer| (layer.digest, layer.size)),
    );
    let mut seen = BTreeSet::new();
    for (digest, size_bytes) in blobs {
        if seen.insert(digest.hex()) {
            let name = format!("{BLOBS}{}", digest.hex());
            parts.push(Part::Bytes(head(&name, size_bytes)));
            parts.push(Part::Blob { digest, size_bytes });
            parts.push(Part::Bytes(padding(size_bytes)));
        }
    }
    parts.push(Part::Bytes(END.to_vec()));
    parts
}

/// An index of one image; its manifest by digest and length.
pub fn index(
    (digest, size_bytes): (&Digest, u64),
    manifest: &Manifest,
    config: &Config,
    name: &str,
) -> Value {
    let kind = match manifest.media_type.as_str() {
        "" => MANIFEST,
        kind => kind,
    };
    json!({
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [{
            "mediaType": kind,
            "digest": digest,
            "size": size_bytes,
            "platform": { "architecture": config.architecture, "os": config.os },
            "annotations": { REF_NAME: name },
        }],
    })
}

fn file(parts: &mut Vec<Part>, name: &str, bytes: Vec<u8>) {
    debug_assert!(bytes.len() as u64 <= DOCUMENT_MAX_BYTES, "a document");
    let size_bytes = bytes.len() as u64;
    parts.push(Part::Bytes(head(name, size_bytes)));
    parts.push(Part::Bytes(bytes));
    parts.push(Part::Bytes(padding(size_bytes)));
}

/// What stands in front of a file in a tar: 0644, of nobody in particular, of no time.
pub fn head(name: &str, size_bytes: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(size_bytes);
    header.set_mtime(0);
    header
        .set_path(name)
        .expect("the names of a layout are short, relative and plain");
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// What fills the last block of so many bytes.
pub fn padding(size_bytes: u64) -> Vec<u8> {
    let over = usize::try_from(size_bytes % BLOCK_BYTES as u64).unwrap_or_default();
    vec![0; (BLOCK_BYTES - over) % BLOCK_BYTES]
}

#[cfg(test)]
mod tests {
    use super::super::{load, manifest, seal};
    use super::*;
    use crate::blobs::Blobs;
    use crate::hash::sha256;
    use crate::scratch::Scratch;
    use std::io::Read as _;

    #[test]
    fn an_archive_is_a_layout_with_each_blob_once() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(scratch.path()).unwrap();
        let layer = Descriptor {
            media_type: manifest::LAYER_ZSTD.to_owned(),
            digest: blobs.put(b"layer").unwrap(),
            size: 5,
            other: Map::new(),
        };
        let mut config = Config::scratch();
        config.rootfs.diff_ids = vec![sha256(b"tar"), sha256(b"tar")];
        let (_, digest) = seal(&blobs, &config, vec![layer.clone(), layer]).unwrap();
        let image = load(&blobs, digest).unwrap();
        let size_bytes = blobs.size_bytes(&digest).unwrap();
        let mut bytes = Vec::new();
        for part in archive(&image, size_bytes, "v3") {
            let before = bytes.len() as u64;
            match &part {
                Part::Bytes(more) => bytes.extend_from_slice(more),
                Part::Blob { digest, .. } => {
                    blobs.file(digest).unwrap().read_to_end(&mut bytes).unwrap();
                }
            }
            assert_eq!(bytes.len() as u64, before + part.size_bytes());
        }
        assert_eq!(bytes.len() % BLOCK_BYTES, 0);

        let mut names = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if let Some(hex) = name.strip_prefix(BLOBS) {
                assert_eq!(sha256(&content).hex(), hex);
            }
            if name == INDEX {
                let index: Index = serde_json::from_slice(&content).unwrap();
                let only = index.manifests.first().unwrap();
                assert_eq!((only.digest, only.size), (digest, size_bytes));
                assert_eq!(ref_name(only), Some("v3"));
            }
            names.push(name);
        }
        assert_eq!(names.len(), 5, "{names:?}");
    }
}
