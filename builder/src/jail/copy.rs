//! Copies a tree to where the next build finds it, and empties a folder that we could not.
//!
//! The tree is what strangers' code left in a build's cache. It is copied without following a
//! link, as 1000:1000, modes and times kept, so that the copy stands for the original to a
//! buildpack; sockets, pipes and devices are left out. Hard links become files of their own.

use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, FileType, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink,
};
use std::path::Path;

/// Depth of a tree; each folder above a file is a frame on the stack.
const DEPTH_MAX: usize = model::limits::PACKED_DEPTH_MAX;

/// What came of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "copied")]
pub enum Report {
    /// The build changed nothing: there is nothing to copy.
    Unchanged,
    /// The tree is larger than it may be; what was copied is to be thrown away.
    TooLarge,
    /// All of it.
    Whole {
        /// Bytes of all files.
        size_bytes: u64,
    },
}

/// Copies `src` into the empty folder `dest`, unless `changes` is empty.
pub fn copy(src: &Path, changes: &Path, dest: &Path, max_bytes: u64) -> io::Result<Report> {
    if fs::read_dir(changes)?.next().is_none() {
        return Ok(Report::Unchanged);
    }
    let mut size_bytes = 0;
    let mut copier = Copier {
        max_bytes,
        size_bytes: &mut size_bytes,
    };
    if copier.folder(src, dest, 0)? {
        Ok(Report::Whole { size_bytes })
    } else {
        Ok(Report::TooLarge)
    }
}

struct Copier<'a> {
    max_bytes: u64,
    size_bytes: &'a mut u64,
}

impl Copier<'_> {
    /// False as soon as it was too much.
    fn folder(&mut self, src: &Path, dest: &Path, depth: usize) -> io::Result<bool> {
        if depth > DEPTH_MAX {
            return Ok(false);
        }
        for entry in fs::read_dir(src)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            let (from, to) = (entry.path(), dest.join(entry.file_name()));
            if !self.entry(&from, &to, &meta, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn entry(&mut self, from: &Path, to: &Path, meta: &Metadata, depth: usize) -> io::Result<bool> {
        let kind: FileType = meta.file_type();
        if kind.is_symlink() {
            symlink(fs::read_link(from)?, to)?;
        } else if kind.is_dir() {
            DirBuilder::new().mode(0o700).create(to)?;
            if !self.folder(from, to, depth + 1)? {
                return Ok(false);
            }
            finish(&File::open(to)?, meta)?;
        } else if kind.is_file() {
            *self.size_bytes = self.size_bytes.saturating_add(meta.len());
            if *self.size_bytes > self.max_bytes {
                return Ok(false);
            }
            let mut out = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(to)?;
            io::copy(&mut File::open(from)?, &mut out)?;
            finish(&out, meta)?;
        }
        Ok(true)
    }
}

/// Mode (without setuid and the like) and time, as the original has them.
fn finish(file: &File, meta: &Metadata) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(meta.mode() & 0o777))?;
    file.set_modified(meta.modified()?)
}

/// Removes all that is in a folder, also below folders that their owner made unreadable.
pub fn empty(dest: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dest)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
            empty(&path)?;
            fs::remove_dir(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("copy-{}", uuid::Uuid::new_v4()));
            for name in ["src/a/b", "changes", "dest"] {
                fs::create_dir_all(path.join(name)).unwrap();
            }
            Self(path)
        }

        fn copy(&self, max_bytes: u64) -> Report {
            let at = |name| self.0.join(name);
            copy(&at("src"), &at("changes"), &at("dest"), max_bytes).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn trees_are_copied_when_something_changed() {
        let scratch = Scratch::new();
        let src = scratch.0.join("src");
        fs::write(src.join("a/b/file"), "hello").unwrap();
        fs::set_permissions(src.join("a/b/file"), Permissions::from_mode(0o750)).unwrap();
        symlink("../nowhere", src.join("a/link")).unwrap();
        assert_eq!(scratch.copy(100), Report::Unchanged);
        fs::write(scratch.0.join("changes/x"), "").unwrap();
        assert_eq!(scratch.copy(4), Report::TooLarge);
        empty(&scratch.0.join("dest")).unwrap();
        assert_eq!(scratch.copy(100), Report::Whole { size_bytes: 5 });
        let file = fs::metadata(scratch.0.join("dest/a/b/file")).unwrap();
        let original = fs::metadata(src.join("a/b/file")).unwrap();
        assert_eq!(file.mode() & 0o7777, 0o750);
        assert_eq!(file.mtime(), original.mtime());
        let link = fs::read_link(scratch.0.join("dest/a/link")).unwrap();
        assert_eq!(link, Path::new("../nowhere"));
        empty(&scratch.0.join("dest")).unwrap();
        assert_eq!(fs::read_dir(scratch.0.join("dest")).unwrap().count(), 0);
    }
}
