//! Names for blobs: what a blob was made from -> its digest, a small file per name.
//!
//! The builder keeps runtime layers here, by the digest of their fetch recipe. Replacing a name is
//! atomic and durable; two processes that set one at once leave one of their two answers.

use crate::disk::{self, DiskError, failed};
use model::digest::Digest;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of a name; the file system allows 255.
const NAME_MAX_BYTES: usize = 128;

/// Why a name cannot be looked up or set.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// It would not be a plain file name.
    #[error("use {0:?} as a name: 1 to 128 of a-z 0-9 . _ - and no . in front")]
    Invalid(String),
    /// The file is there and holds something else.
    #[error("read {} as a digest", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: model::digest::DigestError,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A folder of names.
#[derive(Clone, Debug)]
pub struct Names {
    dir: PathBuf,
}

impl Names {
    /// Opens the folder, making it if it is missing (its parent must exist).
    pub fn open(dir: &Path) -> Result<Self, NameError> {
        disk::make_shared_dir(dir)?;
        disk::remove_temporaries(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// The digest that a name stands for.
    pub fn get(&self, name: &str) -> Result<Option<Digest>, NameError> {
        let path = self.path(name)?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error).into()),
        };
        match Digest::parse(text.trim_end()) {
            Ok(digest) => Ok(Some(digest)),
            Err(source) => Err(NameError::Damaged { path, source }),
        }
    }

    /// Gives a digest a name, or a name another digest.
    pub fn set(&self, name: &str, digest: &Digest) -> Result<(), NameError> {
        let content = format!("{digest}\n");
        Ok(disk::replace(&self.path(name)?, content.as_bytes(), 0o640)?)
    }

    /// Forgets a name; one that is not there is fine.
    pub fn remove(&self, name: &str) -> Result<(), NameError> {
        Ok(disk::remove_file(&self.path(name)?)?)
    }

    /// All names, sorted.
    pub fn list(&self) -> Result<Vec<String>, NameError> {
        let mut names = disk::list(&self.dir)?;
        names.retain(|name| is_name(name));
        names.sort();
        Ok(names)
    }

    fn path(&self, name: &str) -> Result<PathBuf, NameError> {
        if is_name(name) {
            Ok(self.dir.join(name))
        } else {
            Err(NameError::Invalid(name.to_owned()))
        }
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    (1..=NAME_MAX_BYTES).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256;
    use crate::scratch::Scratch;

    #[test]
    fn set_get_replace_remove() {
        let scratch = Scratch::new();
        let names = Names::open(&scratch.path().join("layers")).unwrap();
        assert_eq!(names.get("node-22").unwrap(), None);
        for content in [&b"one"[..], b"two"] {
            names.set("node-22", &sha256(content)).unwrap();
            assert_eq!(names.get("node-22").unwrap(), Some(sha256(content)));
        }
        assert_eq!(names.list().unwrap(), ["node-22"]);
        names.remove("node-22").unwrap();
        names.remove("node-22").unwrap();
        assert!(names.list().unwrap().is_empty());
    }

    #[test]
    fn only_plain_file_names() {
        let scratch = Scratch::new();
        let names = Names::open(scratch.path()).unwrap();
        for name in [
            "",
            ".",
            "..",
            ".x",
            "a/b",
            "/a",
            "A",
            "a b",
            &"x".repeat(129),
        ] {
            assert!(
                matches!(names.get(name), Err(NameError::Invalid(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn a_damaged_file_is_told() {
        let scratch = Scratch::new();
        let names = Names::open(scratch.path()).unwrap();
        fs::write(scratch.path().join("x"), "sha256:12").unwrap();
        assert!(matches!(names.get("x"), Err(NameError::Damaged { .. })));
    }
}
