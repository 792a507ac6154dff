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
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use tar::{EntryType, Header};

/// zstd's level. Measured 2026-11 on 8,300 files of node_modules, 97 MB, one core: see
/// `docs/decisions` for the numbers of 1 to 3.
const LEVEL: i32 = 1;
/// Owner and group of all that is in a slug: `dyno` inside the sandbox.
const DYNO_ID: u64 = 1000;
/// Length of a name that fits into a tar header.
const HEADER_NAME_BYTES: usize = 100;

/// Why a folder cannot be packed. `path` is relative to the folder and shown with `?` for bytes
/// that are no text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
/// `root` itself may be reached through links; below it none is followed.
pub fn pack(root: &Path, prefix: &str, mtime_s: u64, out: impl Write) -> Result<Packed, Error> {
    pack_within(root, prefix, mtime_s, Limits::default(), out)
}

/// As [`pack`], with other bounds.
pub fn pack_within(
    root: &Path,
    prefix: &str,
    mtime_s: u64,
    limits: Limits,
    out: impl Write,
) -> Result<Packed, Error> {
    let mut encoder = zstd::Encoder::new(out, LEVEL).map_err(Error::Write)?;
    encoder.include_checksum(true).map_err(Error::Write)?;
    let mut packer = Packer {
        out: BufWriter::with_capacity(256 * 1024, encoder),
        mtime_s,
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
    // Two blocks of zeros end a tar.
    packer.out.write_all(&[0; 1024]).map_err(Error::Write)?;
    let encoder = packer
        .out
        .into_inner()
        .map_err(|error| Error::Write(error.into_error()))?;
    let mut out = encoder.finish().map_err(Error::Write)?;
    out.flush().map_err(Error::Write)?;
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
    out: BufWriter<zstd::Encoder<'static, W>>,
    mtime_s: u64,
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
    fn folder(&mut self, mut dir: Dir, depth: usize) -> Result<(), Error> {
        if depth > PACKED_DEPTH_MAX {
            return Err(Error::TooDeep { path: self.shown() });
        }
        self.entry(EntryType::Directory, 0o755, 0, None)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(|errno| self.unreadable(errno))?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(CString::from(name));
            }
        }
        names.sort_unstable();
        for name in names {
            let length = self.path.len();
            self.path.push(b'/');
            self.path.extend_from_slice(name.as_bytes());
            if self.path.len() > PACKED_PATH_MAX_BYTES {
                return Err(Error::TooDeep { path: self.shown() });
            }
            self.child(&dir, &name, depth)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn child(&mut self, dir: &Dir, name: &CString, depth: usize) -> Result<(), Error> {
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
    fn link(&mut self, stat: &FileStat) -> Result<bool, Error> {
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

    fn file(&mut self, mut file: File, stat: &FileStat) -> Result<(), Error> {
        let size_bytes = u64::try_from(stat.st_size).unwrap_or_default();
        self.packed.size_bytes = self.packed.size_bytes.saturating_add(size_bytes);
        if self.packed.size_bytes > self.limits.max_bytes {
            return Err(Error::TooLarge {
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
                Ok(0) => return Err(Error::Changed { path: self.shown() }),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    let path = self.shown();
                    return Err(Error::Read { path, source });
                }
            };
            let read = self.buffer.get(..count).unwrap_or_default();
            self.out.write_all(read).map_err(Error::Write)?;
            left -= count as u64;
        }
        self.pad(size_bytes)
    }

    /// Writes the header of the entry at `self.path`.
    fn entry(
        &mut self,
        kind: EntryType,
        mode: u32,
        size_bytes: u64,
        target: Option<&[u8]>,
    ) -> Result<(), Error> {
        self.packed.entries += 1;
        if self.packed.entries > self.limits.max_entries {
            return Err(Error::TooMany {
                path: self.shown(),
                max_entries: self.limits.max_entries,
            });
        }
        let mut name = self.path.clone();
        if kind == EntryType::Directory {
            name.push(b'/');
        }
        if name.len() > HEADER_NAME_BYTES {
            self.long_name(EntryType::GNULongName, &name)?;
        }
        let target = target.unwrap_or_default();
        if target.len() > HEADER_NAME_BYTES {
            self.long_name(EntryType::GNULongLink, target)?;
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size_bytes);
        header.set_uid(DYNO_ID);
        header.set_gid(DYNO_ID);
        header.set_mtime(self.mtime_s);
        let old = header.as_old_mut();
        copy_cut(&mut old.name, &name);
        copy_cut(&mut old.linkname, target);
        self.header(header)
    }

    /// Writes a name that does not fit into a header in front of its entry (tar(5), GNU `L`, `K`).
    fn long_name(&mut self, kind: EntryType, name: &[u8]) -> Result<(), Error> {
        let size_bytes = name.len() as u64 + 1;
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size_bytes);
        header.set_uid(0);
        header.set_gid(0);
        copy_cut(&mut header.as_old_mut().name, b"././@LongLink");
        self.header(header)?;
        self.out.write_all(name).map_err(Error::Write)?;
        self.out.write_all(b"\0").map_err(Error::Write)?;
        self.pad(size_bytes)
    }

    fn header(&mut self, mut header: Header) -> Result<(), Error> {
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(Error::Write)
    }

    /// Fills the last block of an entry's content.
    fn pad(&mut self, size_bytes: u64) -> Result<(), Error> {
        let over = usize::try_from(size_bytes % 512).unwrap_or_default();
        let fill = [0; 512];
        let fill = if over == 0 {
            &[]
        } else {
            fill.get(over..).unwrap_or_default()
        };
        self.out.write_all(fill).map_err(Error::Write)
    }

    fn refuse(&self, what: &'static str) -> Result<(), Error> {
        let path = self.shown();
        Err(Error::Kind { path, what })
    }

    fn unreadable(&self, errno: Errno) -> Error {
        Error::Read {
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

/// Copies as much as fits; the rest of a long name stands in an entry before.
fn copy_cut(field: &mut [u8], bytes: &[u8]) {
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = *from;
    }
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
