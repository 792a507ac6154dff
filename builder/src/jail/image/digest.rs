//! The digest of what a COPY takes.

use super::root::{Root, kind};
use super::select::{FILE_FLAGS, Item, SelectError, link, select};
use super::{Selected, Selection};
use artifact::hash::{Hasher, sha256_of};
use model::digest::Digest;
use nix::sys::stat::SFlag;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

/// Known digests of files by their path.
#[derive(Debug, Default)]
pub(super) struct Index(HashMap<Vec<u8>, String>);

impl Index {
    /// Reads `DIGEST PATH` entries, each ended by a zero; a missing file is an empty index.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let entries = bytes.split(|byte| *byte == 0).filter_map(|entry| {
            let space = entry.iter().position(|byte| *byte == b' ')?;
            let hex = std::str::from_utf8(entry.get(..space)?).ok()?;
            Some((entry.get(space + 1..)?.to_vec(), hex.to_owned()))
        });
        Ok(Self(entries.collect()))
    }
}

/// The digest of what a selection holds: names, modes, owners, links and content; no times.
pub(super) fn digest(src: &Path, selection: &Selection, index: &Index) -> Selected {
    let digest = || {
        let root = Root::open(&src.join(&selection.root))?;
        let mut hasher = Hasher::new();
        for source in select(&root, selection)? {
            let head = format!("source\0{}\0{}\0", source.name, source.is_folder);
            hasher.update(head.as_bytes());
            for item in &source.items {
                add(&mut hasher, &root, item, (selection, index))?;
            }
        }
        Ok::<Digest, SelectError>(hasher.finish())
    };
    match digest() {
        Ok(digest) => Selected::Files { digest },
        Err(SelectError::Missing(source)) => Selected::Missing { source },
        Err(SelectError::Refused(reason)) => Selected::Refused { reason },
        Err(SelectError::Io(error)) => Selected::Refused {
            reason: error.to_string(),
        },
    }
}

fn add(
    hasher: &mut Hasher,
    root: &Root,
    item: &Item,
    (selection, index): (&Selection, &Index),
) -> Result<(), SelectError> {
    let stat = &item.stat;
    let (uid, gid) = if selection.is_context {
        (0, 0)
    } else {
        (stat.st_uid, stat.st_gid)
    };
    hasher.update(format!("{:o} {uid} {gid} {} ", stat.st_mode, item.to.len()).as_bytes());
    hasher.update(&item.to);
    match kind(stat) {
        SFlag::S_IFREG => {
            let path = Path::new(&selection.root);
            let known = path.join(std::ffi::OsString::from_vec(item.from.clone()));
            let known = known.into_os_string().into_vec();
            let content = if let Some(hex) = index.0.get(&known) {
                hex.clone()
            } else {
                let fd = root.inside(&item.from, FILE_FLAGS)?;
                sha256_of(File::from(fd))?.0.hex()
            };
            hasher.update(content.as_bytes());
        }
        SFlag::S_IFLNK => hasher.update(&link(root, &item.from)?),
        _ => {}
    }
    hasher.update(b"\0");
    Ok(())
}
