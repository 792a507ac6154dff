//! An image's archive on the other side: a tar in the form of [`super::layout`] -> a folder, and
//! that folder -> a file that `docker load` reads.
//!
//! For whoever asks a platform for an image. Only files that a layout has are taken, each by its
//! own name, and a blob only if its bytes hash to it.

use super::layout::{self, INDEX, Index, MARK};
use super::{Config, DOCUMENT_MAX_BYTES, Descriptor, Manifest, manifest};
use crate::disk::{DiskError, failed};
use crate::hash::{Hasher, sha256};
use crate::layer;
use crate::unpack::UnpackError;
use model::digest::Digest;
use model::limits::UNPACKED_MAX_BYTES;
use serde_json::{Map, json};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// Why an archive cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceivedError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A layer is none.
    #[error(transparent)]
    Layer(#[from] UnpackError),
    /// It ended early, or is not what it says.
    #[error("read the image")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ReceivedError {
    ReceivedError::Broken(error.into())
}

/// Takes an archive into an empty folder.
pub fn receive(tar: impl Read, folder: &Path) -> Result<(), ReceivedError> {
    let blobs = folder.join(layout::BLOBS);
    fs::create_dir_all(&blobs).map_err(failed("create", &blobs))?;
    let mut archive = tar::Archive::new(tar.take(UNPACKED_MAX_BYTES));
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        if name == MARK.0 || name == INDEX {
            write(&mut entry, &folder.join(&name))?;
            continue;
        }
        let hex = name.strip_prefix(layout::BLOBS).unwrap_or_default();
        let digest = Digest::parse_hex(hex).map_err(|_| {
            broken(format!(
                "{} does not belong in it",
                crate::shown::path(name.as_bytes())
            ))
        })?;
        if write(&mut entry, &blobs.join(hex))? != digest {
            return Err(broken(format!(
                "{digest} is another file than its name says"
            )));
        }
    }
    // It comes to its end with an error if it was cut: all that the index names has to be there.
    let (image, config) = image(folder)?;
    let all = [&image.config].into_iter().chain(&image.layers);
    for blob in all {
        let path = blobs.join(blob.digest.hex());
        let size_bytes = fs::metadata(&path).map_err(failed("look at", &path))?.len();
        if size_bytes != blob.size {
            return Err(broken(format!(
                "{} has another length than told",
                blob.digest
            )));
        }
    }
    if config.rootfs.diff_ids.len() != image.layers.len() {
        return Err(broken("its config and its manifest tell different layers"));
    }
    Ok(())
}

/// Writes a received folder as an archive for `docker load`, which holds a layout, too. Layers are
/// plain tars in it; `temporary` is an empty folder for them.
pub fn docker_archive(
    folder: &Path,
    name: &str,
    temporary: &Path,
    out: &mut impl Write,
) -> Result<(), ReceivedError> {
    let (image, config) = image(folder)?;
    let mut layers = Vec::new();
    for (layer, diff_id) in image.layers.iter().zip(&config.rootfs.diff_ids) {
        let from = folder.join(layout::BLOBS).join(layer.digest.hex());
        let blob = File::open(&from).map_err(failed("open", &from))?;
        let to = temporary.join(diff_id.hex());
        if write(&mut layer::decoded(blob)?, &to)? != *diff_id {
            return Err(broken(format!(
                "{diff_id} is another tar than its name says"
            )));
        }
        let size = fs::metadata(&to).map_err(failed("look at", &to))?.len();
        layers.push(Descriptor {
            media_type: manifest::LAYER_TAR.to_owned(),
            digest: *diff_id,
            size,
            other: Map::new(),
        });
    }
    let plain = Manifest::new(image.config.digest, image.config.size, layers);
    let (_, reference) = name.split_once(':').unwrap_or(("", name));
    let bytes = plain.to_bytes();
    let index = layout::index(
        (&sha256(&bytes), bytes.len() as u64),
        &plain,
        &config,
        reference,
    );
    let path = |digest: &Digest| format!("{}{}", layout::BLOBS, digest.hex());
    let listed: Vec<String> = plain
        .layers
        .iter()
        .map(|layer| path(&layer.digest))
        .collect();
    let list = json!([{
        "Config": path(&plain.config.digest),
        "RepoTags": [name],
        "Layers": listed,
    }]);
    let id = folder.join(path(&plain.config.digest));
    let mut files = vec![
        (MARK.0.to_owned(), MARK.1.as_bytes().to_vec()),
        (INDEX.to_owned(), index.to_string().into_bytes()),
        ("manifest.json".to_owned(), list.to_string().into_bytes()),
        (path(&plain.config.digest), document(&id)?),
    ];
    files.push((path(&sha256(&bytes)), bytes));
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(failed("write", folder));
    for (name, bytes) in files {
        put(&layout::head(&name, bytes.len() as u64))?;
        put(&bytes)?;
        put(&layout::padding(bytes.len() as u64))?;
    }
    let mut written: Vec<Digest> = Vec::new();
    for layer in &plain.layers {
        if written.contains(&layer.digest) {
            continue;
        }
        written.push(layer.digest);
        out.write_all(&layout::head(&path(&layer.digest), layer.size))
            .map_err(failed("write", folder))?;
        let from = temporary.join(layer.digest.hex());
        let mut file = File::open(&from).map_err(failed("open", &from))?;
        io::copy(&mut file, out).map_err(failed("copy", &from))?;
        out.write_all(&layout::padding(layer.size))
            .map_err(failed("write", folder))?;
    }
    out.write_all(&layout::END)
        .map_err(failed("write", folder))?;
    Ok(())
}

/// The image's name in a received folder, such as `v3`.
pub fn name(folder: &Path) -> Result<String, ReceivedError> {
    let index = read_index(folder)?;
    let only = index.manifests.first();
    let name = only.and_then(layout::ref_name);
    Ok(name.unwrap_or("latest").to_owned())
}

fn read_index(folder: &Path) -> Result<Index, ReceivedError> {
    serde_json::from_slice(&document(&folder.join(INDEX))?).map_err(broken)
}

/// The only image of a folder.
fn image(folder: &Path) -> Result<(Manifest, Config), ReceivedError> {
    let index = read_index(folder)?;
    let [only] = index.manifests.as_slice() else {
        return Err(broken("it does not hold one image"));
    };
    let blob = |digest: &Digest| document(&folder.join(layout::BLOBS).join(digest.hex()));
    let manifest: Manifest = serde_json::from_slice(&blob(&only.digest)?).map_err(broken)?;
    let config = serde_json::from_slice(&blob(&manifest.config.digest)?).map_err(broken)?;
    Ok((manifest, config))
}

fn document(path: &Path) -> Result<Vec<u8>, ReceivedError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed("open", path))?;
    file.take(DOCUMENT_MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    Ok(bytes)
}

/// Writes a file and returns what it hashes to.
fn write(from: &mut impl Read, path: &Path) -> Result<Digest, ReceivedError> {
    let mut file = File::create(path).map_err(failed("create", path))?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut left = UNPACKED_MAX_BYTES;
    loop {
        let count = from.read(&mut buffer).map_err(broken)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(hasher.finish());
        }
        left = left
            .checked_sub(count as u64)
            .ok_or_else(|| broken("it is too large"))?;
        hasher.update(bytes);
        file.write_all(bytes).map_err(failed("write", path))?;
    }
}

#[cfg(test)]
#[path = "received_tests.rs"]
mod tests;
