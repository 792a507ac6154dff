//! A folder -> one tar + zstd stream; equal folders give equal bytes.
//!
//! Runs inside a jail on a tree that strangers' code made, after that code is dead: it never
//! follows a link, opens everything by name relative to its folder's descriptor, and reads nothing
//! but plain files. What differs from machine to machine is left out: owners (all 1000:1000, the
//! ids inside a dyno), times (all the commit's), extended attributes, the umask (0755 or 0644), the
//! order in which the disk lists names (sorted bytewise, a folder before what is in it).
//!
//! Hard links inside the tree stay links, to the name that sorts first. Holes are read as zeros:
//! how many blocks a file takes depends on the file system, so a sparse file cannot be told from a
//! compressed one, and the bound on the bytes of the tree holds for both.

mod archive;

use archive::{Archive, Head};
use model::limits::{
    PACKED_DEPTH_MAX, PACKED_PATH_MAX_BYTES, UNPACKED_MAX_BYTES, UNPACKED_MAX_ENTRIES,
};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use tar::EntryType;

/// Why a folder cannot be packed. `path` is relative to the folder and shown with `?` for bytes
/// that are no text.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Something that a slug cannot hold: a socket, a device, a pipe.
    #[error("pack {path}: it is a {what}, only files, folders and links can be packed")]
    Kind {
        /// Where.
        path: String,
        /// `socket`, `device` or `named pipe`.
        what: &'static str,
    },
    /// The path or the nesting is too long.
    #[error(
        "pack {path}: at most {PACKED_PATH_MAX_BYTES} bytes of path and {PACKED_DEPTH_MAX} \
         folders inside each other can be packed"
    )]
    TooDeep {
        /// Where, shortened.
        path: String,
    },
    /// The whole tree holds too many bytes.
    #[error("pack {path}: all files together have more than {max_bytes} bytes")]
    TooLarge {
        /// The file at which the bound was passed.
        path: String,
        /// The bound.
        max_bytes: u64,
    },
    /// The whole tree holds too many entries.
    #[error("pack {path}: there are more than {max_entries} files and folders")]
    TooMany {
        /// The entry at which the bound was passed.
        path: String,
        /// The bound.
        max_entries: u64,
    },
    /// The file became shorter while it was read; the tree was not quiet.
    #[error("pack {path}: it changed while it was read")]
    Changed {
        /// Which file.
        path: String,
    },
    /// The system refused to let us read it.
    #[error("read {path} to pack it")]
    Read {
        /// Where.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// What takes the packed bytes refused them.
    #[error("write what was packed")]
    Write(#[source] io::Error),
}

/// What was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Count of entries: files, folders and links.
    pub entries: u64,
    /// Bytes of all files, before compression.
    pub size_bytes: u64,
}

/// Bounds of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all files together, before compression.
    pub max_bytes: u64,
    /// Count of files, folders and links.
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

/// Packs all that is in `root`, as `<prefix>/…` (`app` for a slug, `layer` for a runtime), all with
/// the time `mtime_s` (Unix, the commit's).
///
/// `root` itself may be reached through links; below it none is followed. `prefix` is one name.
pub fn pack(root: &Path, prefix: &str, mtime_s: u64, out: impl Write) -> Result<Packed, PackError> {
    pack_within(root, prefix, mtime_s, Limits::default(), out)
}

/// As [`pack()`], with other bounds.
pub fn pack_within(
    root: &Path,
    prefix: &str,
    mtime_s: u64,
    limits: Limits,
    out: impl Write,
) -> Result<Packed, PackError> {
    debug_assert!(
        !prefix.is_empty() && !prefix.contains('/'),
        "{prefix:?} is no name"
    );
    let mut packer = Packer {
        archive: Archive::new(out, mtime_s).map_err(PackError::Write)?,
        limits,
        packed: Packed {
            entries: 0,
            size_bytes: 0,
        },
        path: prefix.as_bytes().to_vec(),
        linked: HashMap::new(),
        buffer: vec![0; 128 * 1024],
    };
    let dir = Dir::open(root, DIR_FLAGS & !OFlag::O_NOFOLLOW, Mode::empty())
        .map_err(|errno| packer.unreadable(errno))?;
    packer.folder(dir, 0)?;
    packer.archive.finish().map_err(PackError::Write)?;
    Ok(packer.packed)
}

const DIR_FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
/// `O_NONBLOCK`: should a pipe stand where a file stood, we do not wait for its writer.
const FILE_FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);

struct Packer<W: Write> {
    archive: Archive<W>,
    limits: Limits,
    packed: Packed,
    /// Where we are, as it stands in the archive, without a slash at the end.
    path: Vec<u8>,
    /// First name of each inode that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Packer<W> {
    /// Packs a folder and all that is in it.
    fn folder(&mut self, mut dir: Dir, depth: usize) -> Result<(), PackError> {
        if depth > PACKED_DEPTH_MAX {
            return Err(PackError::TooDeep { path: self.shown() });
        }
        self.entry(EntryType::Directory, 0o755, 0, None)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(|errno| self.unreadable(errno))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            names.push(CString::from(name));
            if self.packed.entries + names.len() as u64 > self.limits.max_entries {
                return Err(self.too_many());
            }
        }
        names.sort_unstable();
        for name in names {
            let length = self.path.len();
            self.path.push(b'/');
            self.path.extend_from_slice(name.as_bytes());
            if self.path.len() > PACKED_PATH_MAX_BYTES {
                return Err(PackError::TooDeep { path: self.shown() });
            }
            self.child(&dir, &name, depth)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn child(&mut self, dir: &Dir, name: &CString, depth: usize) -> Result<(), PackError> {
        let name = name.as_c_str();
        let stat = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|errno| self.unreadable(errno))?;
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => {
                let child = Dir::openat(dir, name, DIR_FLAGS, Mode::empty())
                    .map_err(|errno| self.unreadable(errno))?;
                self.folder(child, depth + 1)
            }
            SFlag::S_IFREG => {
                if self.link(&stat)? {
                    return Ok(());
                }
                let fd = openat(dir, name, FILE_FLAGS, Mode::empty())
                    .map_err(|errno| self.unreadable(errno))?;
                self.file(File::from(fd), &stat)
            }
            SFlag::S_IFLNK => {
                let target = readlinkat(dir, name).map_err(|errno| self.unreadable(errno))?;
                self.entry(EntryType::Symlink, 0o777, 0, Some(&target.into_vec()))
            }
            SFlag::S_IFSOCK => self.refuse("socket"),
            SFlag::S_IFIFO => self.refuse("named pipe"),
            _ => self.refuse("device"),
        }
    }

    /// Packs a further name of a file that is already in; false if this is its first or only name.
    fn link(&mut self, stat: &FileStat) -> Result<bool, PackError> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let inode = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.linked.get(&inode).cloned() {
            self.entry(EntryType::Link, file_mode(stat), 0, Some(&first))?;
            return Ok(true);
        }
        self.linked.insert(inode, self.path.clone());
        Ok(false)
    }

    fn file(&mut self, mut file: File, stat: &FileStat) -> Result<(), PackError> {
        let size_bytes = u64::try_from(stat.st_size).unwrap_or_default();
        self.packed.size_bytes = self.packed.size_bytes.saturating_add(size_bytes);
        if self.packed.size_bytes > self.limits.max_bytes {
            return Err(PackError::TooLarge {
                path: self.shown(),
                max_bytes: self.limits.max_bytes,
            });
        }
        self.entry(EntryType::Regular, file_mode(stat), size_bytes, None)?;
        let mut left = size_bytes;
        while left > 0 {
            let wanted = left.min(self.buffer.len() as u64);
            let wanted = usize::try_from(wanted).expect("it is no longer than the buffer");
            let buffer = self.buffer.get_mut(..wanted).unwrap_or_default();
            let count = match file.read(buffer) {
                Ok(0) => return Err(PackError::Changed { path: self.shown() }),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    let path = self.shown();
                    return Err(PackError::Read { path, source });
                }
            };
            let read = self.buffer.get(..count).unwrap_or_default();
            self.archive.content(read).map_err(PackError::Write)?;
            left -= count as u64;
        }
        self.archive.pad(size_bytes).map_err(PackError::Write)
    }

    /// Writes the header of the entry at `self.path`.
    fn entry(
        &mut self,
        kind: EntryType,
        mode: u32,
        size_bytes: u64,
        target: Option<&[u8]>,
    ) -> Result<(), PackError> {
        self.packed.entries += 1;
        if self.packed.entries > self.limits.max_entries {
            return Err(self.too_many());
        }
        let head = Head {
            kind,
            name: &self.path,
            mode,
            size_bytes,
            target: target.unwrap_or_default(),
        };
        self.archive.head(&head).map_err(PackError::Write)
    }

    fn refuse(&self, what: &'static str) -> Result<(), PackError> {
        let path = self.shown();
        Err(PackError::Kind { path, what })
    }

    fn too_many(&self) -> PackError {
        PackError::TooMany {
            path: self.shown(),
            max_entries: self.limits.max_entries,
        }
    }

    fn unreadable(&self, errno: Errno) -> PackError {
        PackError::Read {
            path: self.shown(),
            source: errno.into(),
        }
    }

    fn shown(&self) -> String {
        crate::shown::path(&self.path)
    }
}

/// Files are 0644, or 0755 if their owner may run them; setuid and the like are lost.
fn file_mode(stat: &FileStat) -> u32 {
    if stat.st_mode & 0o100 == 0 {
        0o644
    } else {
        0o755
    }
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
