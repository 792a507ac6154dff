//! Layouts that were received, whole and damaged.

use super::super::layout::Part;
use super::super::{load, seal};
use super::*;
use crate::blobs::Blobs;
use crate::scratch::Scratch;

/// A tar of one file, as a layer.
fn layer() -> Vec<u8> {
    [
        layout::head("hello", 2),
        b"hi".to_vec(),
        layout::padding(2),
        layout::END.to_vec(),
    ]
    .concat()
}

/// The archive of an image of two equal layers.
fn archive(scratch: &Scratch) -> Vec<u8> {
    let store = scratch.path().join("blobs");
    let blobs = Blobs::open(&store).unwrap();
    let packed = zstd::encode_all(layer().as_slice(), 1).unwrap();
    let descriptor = Descriptor {
        media_type: manifest::LAYER_ZSTD.to_owned(),
        digest: blobs.put(&packed).unwrap(),
        size: packed.len() as u64,
        other: Map::new(),
    };
    let mut config = Config::scratch();
    config.rootfs.diff_ids = vec![sha256(&layer()); 2];
    let (_, digest) = seal(&blobs, &config, vec![descriptor.clone(), descriptor]).unwrap();
    let image = load(&blobs, digest).unwrap();
    let size_bytes = blobs.size_bytes(&digest).unwrap();
    let mut tar = Vec::new();
    for part in layout::archive(&image, size_bytes, "v3") {
        match part {
            Part::Bytes(bytes) => tar.extend(bytes),
            Part::Blob { digest, .. } => {
                blobs.file(&digest).unwrap().read_to_end(&mut tar).unwrap();
            }
        }
    }
    tar
}

fn folder(scratch: &Scratch, name: &str) -> std::path::PathBuf {
    let folder = scratch.path().join(name);
    fs::create_dir(&folder).unwrap();
    folder
}

#[test]
fn an_archive_becomes_a_folder_and_a_docker_archive() {
    let scratch = Scratch::new();
    let to = folder(&scratch, "image");
    receive(archive(&scratch).as_slice(), &to).unwrap();
    assert_eq!(name(&to).unwrap(), "v3");
    let mut out = Vec::new();
    docker_archive(&to, "hello:v3", &folder(&scratch, "plain"), &mut out).unwrap();
    let mut names = Vec::new();
    for entry in tar::Archive::new(out.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if let Some(hex) = name.strip_prefix(layout::BLOBS) {
            assert_eq!(sha256(&content).hex(), hex);
        }
        names.push(name);
    }
    let plain = format!("{}{}", layout::BLOBS, sha256(&layer()).hex());
    assert_eq!(names.iter().filter(|name| **name == plain).count(), 1);
    assert!(
        names.iter().any(|name| name == "manifest.json"),
        "{names:?}"
    );
}

#[test]
fn what_is_no_part_of_a_layout_is_refused() {
    let scratch = Scratch::new();
    let whole = archive(&scratch);
    let check = |what: &str, tar: &[u8], said: &str| {
        let error = receive(tar, &folder(&scratch, what)).unwrap_err();
        let told = format!("{error}: {:?}", std::error::Error::source(&error));
        assert!(told.contains(said), "{what}: {told}");
    };
    let mut head = tar::Header::new_ustar();
    let evil = b"blobs/sha256/../../evil";
    head.as_old_mut().name[..evil.len()].copy_from_slice(evil);
    head.set_size(0);
    head.set_cksum();
    let foreign = [head.as_bytes().to_vec(), whole.clone()].concat();
    check("outside", &foreign, "does not belong");
    let cut = whole.get(..whole.len() / 2).unwrap();
    check("cut", cut, "unexpected EOF");
    let mut forged = whole.clone();
    let at = forged
        .windows(4)
        .position(|w| w == [0x28, 0xb5, 0x2f, 0xfd]);
    *forged.get_mut(at.unwrap() + 6).unwrap() ^= 1;
    check("forged", &forged, "another file than its name says");
    check("empty", &[], "open");
    assert!(!scratch.path().join("evil").exists());
}
