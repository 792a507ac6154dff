//! A tar + zstd stream -> a folder, whatever the stream says.
//!
//! The bytes are a stranger's. Called in a jailed child whose root is the destination, and safe
//! without: each entry's folder is opened relative to the destination with openat2(2)
//! (`RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`), then all is done on that descriptor and one name.
//! Bytes, entries, path lengths and the memory for long names are bounded. Owners in the stream are
//! ignored: all belongs to the caller. Extended attributes are ignored.
//!
//! Refused: absolute names, `..`, names that go through a link, devices, pipes, sparse files,
//! setuid and setgid files, links to anything but a file of the same folder, and a file where a
//! folder is. A second entry of a name replaces the first.

pub(crate) mod entry;
mod tree;

use entry::{Entries, Entry, Kind};
use model::limits::{UNPACKED_MAX_BYTES, UNPACKED_MAX_ENTRIES};
use std::io::{self, Read};
use std::path::Path;
use tree::Tree;

/// Base-2 logarithm of the largest window that we decode: 128 MiB, zstd's own default bound.
const WINDOW_LOG_MAX: u32 = 27;

/// Why a stream cannot be unpacked. What was unpacked before stays: the caller removes the folder.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream is no tar, ends early, or was damaged.
    #[error("read the archive")]
    Archive(#[source] io::Error),
    /// An entry asks for what is not allowed.
    #[error("unpack {path}: {reason}")]
    Refused {
        /// The entry's name, escaped and shortened.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The stream holds more than it may.
    #[error("unpack {path}: the archive holds more than {max} {what}")]
    TooLarge {
        /// The entry at which the bound was passed.
        path: String,
        /// The bound.
        max: u64,
        /// `bytes` or `entries`.
        what: &'static str,
    },
    /// The system refused to write it.
    #[error("write {path}")]
    Write {
        /// The entry's name, escaped and shortened.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Bounds of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all files together.
    pub max_bytes: u64,
    /// Count of entries.
    pub max_entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: UNPACKED_MAX_BYTES,
            max_entries: UNPACKED_MAX_ENTRIES,
        }
    }
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Count of entries.
    pub entries: u64,
    /// Bytes of all files.
    pub size_bytes: u64,
}

/// Unpacks a tar + zstd stream, as [`crate::pack()`] writes it, into a folder that exists and that
/// nobody else writes to.
pub fn unpack(packed: impl Read, dest: &Path, limits: Limits) -> Result<Unpacked, UnpackError> {
    let mut decoder = zstd::Decoder::new(packed).map_err(UnpackError::Archive)?;
    decoder
        .window_log_max(WINDOW_LOG_MAX)
        .map_err(UnpackError::Archive)?;
    unpack_tar(decoder, dest, limits)
}

/// As [`unpack()`], for a tar that is not compressed or that the caller decompresses.
pub fn unpack_tar(tar: impl Read, dest: &Path, limits: Limits) -> Result<Unpacked, UnpackError> {
    let mut archive = tar::Archive::new(tar);
    let mut entries = Entries::new(&mut archive)?;
    let mut tree = Tree::open(dest)?;
    let mut unpacked = Unpacked {
        entries: 0,
        size_bytes: 0,
    };
    while let Some(mut entry) = entries.next()? {
        unpacked.entries += 1;
        if unpacked.entries > limits.max_entries {
            return Err(entry.too_large(limits.max_entries, "entries"));
        }
        unpacked.size_bytes = unpacked.size_bytes.saturating_add(entry.size_bytes);
        if unpacked.size_bytes > limits.max_bytes {
            return Err(entry.too_large(limits.max_bytes, "bytes"));
        }
        place(&mut tree, &mut entry)?;
    }
    tree.finish()?;
    Ok(unpacked)
}

fn place(tree: &mut Tree, entry: &mut Entry<'_, impl Read>) -> Result<(), UnpackError> {
    match &entry.kind {
        Kind::Folder => tree.folder(&entry.path, entry.mtime_s),
        Kind::File { mode } => tree.file(*mode, entry),
        Kind::Symlink { target } => tree.symlink(&entry.path, target, entry.mtime_s),
        Kind::Link { target } => tree.link(&entry.path, target),
    }
}

pub(crate) fn refused(path: &[u8], reason: &'static str) -> UnpackError {
    UnpackError::Refused {
        path: crate::shown::path(path),
        reason,
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
