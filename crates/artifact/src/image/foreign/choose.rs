//! Which image of an archive is meant, and the files that it names.

use super::files::Files;
use super::{Chosen, ForeignError, Manifest, Piece, refused};
use crate::image::layout::{self, INDEX, Index};
use crate::image::{Descriptor, config};
use serde::Deserialize;

/// Indexes in indexes. containerd and ours.
const DEPTH_MAX: usize = 4;
/// Docker's list in what `docker save` writes.
const DOCKER: &str = "manifest.json";
/// What Docker calls an index.
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's oldest form, which has no config.
const DOCKER_OLDEST: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Option<Vec<String>>,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

/// The only image, or the only one for this machine.
pub(super) fn choose(files: &Files) -> Result<Chosen, ForeignError> {
    if let Some(number) = files.find(INDEX) {
        return of_layout(files, files.document(number)?);
    }
    let Some(number) = files.find(DOCKER) else {
        return refused(format!(
            "the archive is no image: it has neither {INDEX} nor {DOCKER}"
        ));
    };
    let all: Vec<Saved> = files.document(number)?;
    let names = || {
        let tags = all
            .iter()
            .flat_map(|image| image.repo_tags.iter().flatten());
        tags.cloned().collect::<Vec<_>>()
    };
    let [image] = all.as_slice() else {
        return refused(several(all.len(), &names()));
    };
    let layers: Result<Vec<Piece>, ForeignError> = image
        .layers
        .iter()
        .flatten()
        .map(|name| files.piece(name))
        .collect();
    Ok(Chosen {
        config: files.piece(&image.config)?,
        layers: layers?,
    })
}

fn of_layout(files: &Files, index: Index) -> Result<Chosen, ForeignError> {
    let mut index = index;
    for _ in 0..DEPTH_MAX {
        let ours: Vec<&Descriptor> = index.manifests.iter().filter(|one| is_ours(one)).collect();
        let [only] = ours.as_slice() else {
            let names: Vec<String> = ours
                .iter()
                .filter_map(|one| layout::ref_name(one))
                .map(str::to_owned)
                .collect();
            return refused(several(ours.len(), &names));
        };
        let found = blob(files, only)?;
        match only.media_type.as_str() {
            layout::INDEX_TYPE | DOCKER_INDEX => index = files.document(found.number)?,
            DOCKER_OLDEST => return refused(format!("{DOCKER_OLDEST} is too old a form of image")),
            _ => {
                let manifest: Manifest = files.document(found.number)?;
                let layers: Result<Vec<Piece>, ForeignError> = manifest
                    .layers
                    .iter()
                    .map(|layer| blob(files, layer))
                    .collect();
                return Ok(Chosen {
                    config: blob(files, &manifest.config)?,
                    layers: layers?,
                });
            }
        }
    }
    refused(format!("its indexes are nested deeper than {DEPTH_MAX}"))
}

/// Whether an entry may be for this machine; one that says nothing is.
fn is_ours(descriptor: &Descriptor) -> bool {
    let Some(platform) = descriptor.other.get("platform") else {
        return true;
    };
    let says = |key: &str, ours: &str| {
        let said = platform.get(key).and_then(serde_json::Value::as_str);
        said.is_none_or(|said| said.is_empty() || said == ours)
    };
    says("os", "linux") && says("architecture", config::architecture())
}

/// The blob of a descriptor, if its bytes are the ones that are named.
fn blob(files: &Files, descriptor: &Descriptor) -> Result<Piece, ForeignError> {
    let digest = descriptor.digest;
    let found = files.piece(&format!("{}{}", layout::BLOBS, digest.hex()))?;
    if found.digest != digest || found.size_bytes != descriptor.size {
        return refused(format!(
            "blob {digest} of {} bytes has the digest {} and {} bytes",
            descriptor.size, found.digest, found.size_bytes
        ));
    }
    Ok(found)
}

fn several(count: usize, names: &[String]) -> String {
    match count {
        0 => format!(
            "the archive holds no image for linux/{}",
            config::architecture()
        ),
        _ => format!(
            "the archive holds {count} images ({}), and one is needed",
            crate::shown::path(names.join(", ").as_bytes())
        ),
    }
}
