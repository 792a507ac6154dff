//! Archives of others, as they should be and as they should not.

use super::*;
use crate::hash::sha256;
use crate::image::layout;
use crate::scratch::Scratch;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// An archive in the making.
struct Tar(tar::Builder<Vec<u8>>);

impl Default for Tar {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Tar {
    fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        let head = layout::head(name, bytes.len() as u64);
        let header = tar::Header::from_byte_slice(&head).clone();
        self.0.append(&header, bytes).unwrap();
        self
    }

    fn json(self, name: &str, value: &Value) -> Self {
        self.file(name, value.to_string().as_bytes())
    }

    /// A blob; returns its descriptor, too.
    fn blob(self, bytes: &[u8]) -> (Self, Value) {
        let digest = sha256(bytes);
        let descriptor = json!({"mediaType": "x", "digest": digest, "size": bytes.len()});
        let name = format!("{}{}", layout::BLOBS, digest.hex());
        (self.file(&name, bytes), descriptor)
    }

    fn link(mut self, name: &str, target: &str) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        self.0.append_link(&mut header, name, target).unwrap();
        self
    }

    fn end(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

const LAYER: &[u8] = b"a layer's tar";

fn config(diff_ids: &[Digest]) -> Vec<u8> {
    let config = json!({
        "architecture": config::architecture(), "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    config.to_string().into_bytes()
}

/// A layout of one layer, whose index is made of the manifest's descriptor.
fn oci(layer: &[u8], diff_ids: &[Digest], index: impl Fn(Value) -> Value) -> Vec<u8> {
    let (tar, layer) = Tar::default().blob(layer);
    let (tar, config) = tar.blob(&config(diff_ids));
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let (tar, manifest) = tar.blob(manifest.to_string().as_bytes());
    tar.json("./index.json", &index(manifest)).end()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "one of several makers of an index"
)]
fn only(manifest: Value) -> Value {
    json!({"schemaVersion": 2, "manifests": [manifest]})
}

fn taken(archive: &[u8]) -> Result<Found, ForeignError> {
    let scratch = Scratch::new();
    let folder: PathBuf = scratch.path().join("image");
    fs::create_dir(&folder).unwrap();
    let found = take(archive, &folder);
    check_alone(scratch.path());
    found
}

/// The folder has no neighbour.
fn check_alone(place: &Path) {
    assert_eq!(fs::read_dir(place).unwrap().count(), 1);
}

fn check_refused(archive: &[u8], said: &str) {
    let error = taken(archive).unwrap_err();
    let text = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    assert!(text.contains(said), "{said:?} is not in {text:?}");
}

#[test]
fn layouts_are_found_whatever_compresses_their_layers() {
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, LAYER).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(LAYER, 1).unwrap();
    for (layer, media_type) in [
        (LAYER.to_vec(), manifest::LAYER_TAR),
        (gzip, manifest::LAYER_GZIP),
        (zstd, manifest::LAYER_ZSTD),
    ] {
        let found = taken(&oci(&layer, &[sha256(LAYER)], only)).unwrap();
        let [first] = found.layers.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(first.media_type, media_type);
        assert_eq!(first.blob.digest, sha256(&layer));
        assert_eq!(first.diff_id, sha256(LAYER));
    }
}

#[test]
fn what_docker_saves_is_found_through_its_links() {
    let list = json!([{"Config": "c.json", "RepoTags": ["a:b"], "Layers": ["2/layer.tar"]}]);
    let whole = Tar::default()
        .file("1/layer.tar", LAYER)
        .link("2/layer.tar", "../1/layer.tar")
        .file("c.json", &config(&[sha256(LAYER)]))
        .json("manifest.json", &list)
        .end();
    assert_eq!(taken(&whole).unwrap().layers.len(), 1);
    let packed = zstd::encode_all(whole.as_slice(), 1).unwrap();
    assert_eq!(taken(&packed).unwrap().layers.len(), 1);

    let outside = json!([{"Config": "../../etc/passwd", "Layers": []}]);
    let archive = Tar::default().json("manifest.json", &outside).end();
    check_refused(&archive, "the archive lacks ../../etc/passwd");
    let round = Tar::default().link("c", "d").link("d", "c");
    let list = json!([{"Config": "c", "Layers": []}]);
    check_refused(&round.json("manifest.json", &list).end(), "lacks c");
    let away = Tar::default().link("c", "../../../etc/passwd");
    check_refused(&away.json("manifest.json", &list).end(), "lacks c");
    let two = json!([{"Config": "c", "RepoTags": ["a:1"]}, {"Config": "d", "RepoTags": ["a:2"]}]);
    let two = Tar::default().json("manifest.json", &two).end();
    check_refused(&two, "2 images (a:1, a:2)");
}

#[test]
fn lies_are_refused() {
    let ids = [sha256(LAYER)];
    check_refused(&oci(b"another tar", &ids, only), "is not the sha256:");
    check_refused(
        &oci(LAYER, &[], only),
        "1 layers in its manifest and 0 in its config",
    );
    let longer = |mut manifest: Value| {
        manifest["size"] = json!(7);
        only(manifest)
    };
    check_refused(&oci(LAYER, &ids, longer), "of 7 bytes has the digest");
    let path = |mut manifest: Value| {
        manifest["digest"] = json!("sha256:../../../../etc/passwd");
        only(manifest)
    };
    check_refused(&oci(LAYER, &ids, path), "its JSON cannot be read");
    let other = |mut manifest: Value| {
        manifest["platform"] = json!({"os": "linux", "architecture": "s390x"});
        only(manifest)
    };
    check_refused(&oci(LAYER, &ids, other), "no image for linux/");
    let twice = |manifest: Value| json!({"schemaVersion": 2, "manifests": [manifest, manifest]});
    check_refused(&oci(LAYER, &ids, twice), "2 images");
    check_refused(
        &Tar::default().file("x", b"").end(),
        "neither index.json nor manifest.json",
    );
    check_refused(b"no archive", "read the archive");
    // A blob whose bytes are others than its name says.
    let mut forged = oci(LAYER, &ids, only);
    let at = forged.windows(LAYER.len()).position(|part| part == LAYER);
    forged[at.unwrap()] = b'A';
    check_refused(&forged, "has the digest");
}

#[test]
fn entries_are_bounded() {
    let mut tar = Tar::default();
    for number in 0..=model::limits::IMAGE_FILES_MAX {
        tar = tar.file(&format!("f{number}"), b"");
    }
    check_refused(&tar.end(), "more than 1000 entries");
}
