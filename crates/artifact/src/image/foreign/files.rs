//! The files of an archive, written under numbers and found by their names.

use super::{ForeignError, Piece, refused};
use crate::disk::failed;
use crate::hash::sha256_of;
use crate::image::DOCUMENT_MAX_BYTES;
use crate::layer;
use crate::unpack::UnpackError;
use model::limits::{IMAGE_FILES_MAX, SOURCE_MAX_BYTES, UNPACKED_MAX_BYTES};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Links that are followed one after the other. Ours: old archives of Docker have one.
const LINKS_MAX: usize = 4;

/// What a name stands for.
#[derive(Debug)]
enum Named {
    File(u32),
    Link(String),
}

/// The files.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    names: BTreeMap<String, Named>,
}

impl Files {
    /// Writes all files of an archive, which may be in gzip or zstd, into an empty folder.
    pub(super) fn read(archive: impl Read, folder: &Path) -> Result<Self, ForeignError> {
        let mut names = BTreeMap::new();
        let tar = layer::decoded(archive.take(SOURCE_MAX_BYTES))?;
        let mut tar = tar::Archive::new(tar.take(UNPACKED_MAX_BYTES));
        // Raw, since extension records are memory: no name that matters needs them.
        let entries = tar.entries().map_err(UnpackError::Archive)?.raw(true);
        for (number, entry) in entries.enumerate() {
            let mut entry = entry.map_err(UnpackError::Archive)?;
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if number as usize >= IMAGE_FILES_MAX {
                return refused(format!(
                    "the archive has more than {IMAGE_FILES_MAX} entries"
                ));
            }
            let Some(name) = plain("", &entry.path_bytes()) else {
                continue;
            };
            let kind = entry.header().entry_type();
            let target = entry.link_name_bytes();
            let meant = if kind.is_file() {
                let path = folder.join(number.to_string());
                let mut file = File::create_new(&path).map_err(failed("create", &path))?;
                io::copy(&mut entry, &mut file).map_err(UnpackError::Archive)?;
                Some(Named::File(number))
            } else if kind.is_symlink() {
                let (folder, _) = name.rsplit_once('/').unwrap_or_default();
                target.and_then(|to| plain(folder, &to)).map(Named::Link)
            } else if kind.is_hard_link() {
                target.and_then(|to| plain("", &to)).map(Named::Link)
            } else {
                None
            };
            names.extend(meant.map(|meant| (name, meant)));
        }
        Ok(Self {
            folder: folder.to_owned(),
            names,
        })
    }

    /// The file of a name, through links of the archive.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        let mut name = plain("", name.as_bytes())?;
        for _ in 0..=LINKS_MAX {
            match self.names.get(&name)? {
                Named::File(number) => return Some(*number),
                Named::Link(to) => name.clone_from(to),
            }
        }
        None
    }

    /// Opens a file.
    pub(super) fn open(&self, number: u32) -> Result<File, ForeignError> {
        let path = self.folder.join(number.to_string());
        Ok(File::open(&path).map_err(failed("open", &path))?)
    }

    /// A file with what it hashes to.
    pub(super) fn piece(&self, name: &str) -> Result<Piece, ForeignError> {
        let Some(number) = self.find(name) else {
            return refused(format!(
                "the archive lacks {}",
                crate::shown::path(name.as_bytes())
            ));
        };
        let (digest, size_bytes) = sha256_of(self.open(number)?).map_err(UnpackError::Archive)?;
        Ok(Piece {
            number,
            digest,
            size_bytes,
        })
    }

    /// A small file of JSON.
    pub(super) fn document<T: DeserializeOwned>(&self, number: u32) -> Result<T, ForeignError> {
        let path = self.folder.join(number.to_string());
        let size_bytes = fs::metadata(&path).map_err(failed("look at", &path))?.len();
        if size_bytes > DOCUMENT_MAX_BYTES {
            return refused(format!(
                "a manifest, index or config is larger than {DOCUMENT_MAX_BYTES} bytes"
            ));
        }
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| ForeignError::Refused(format!("its JSON cannot be read: {error}")))
    }
}

/// A path within the archive, without `.` and `..`; none if it leaves it.
fn plain(folder: &str, path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_within() {
        let check = |folder: &str, path: &str, expected: Option<&str>| {
            assert_eq!(
                plain(folder, path.as_bytes()).as_deref(),
                expected,
                "{path}"
            );
        };
        check("", "./index.json", Some("index.json"));
        check("", "/blobs//sha256/x", Some("blobs/sha256/x"));
        check("a", "../b/layer.tar", Some("b/layer.tar"));
        check("a", "../../b", None);
        check("", "..", None);
        check("", ".", None);
        assert_eq!(plain("", b"\xff"), None);
    }
}
