//! The upper folder of an overlay -> a tar; equal folders give equal bytes.
//!
//! The folder is what strangers' code left, after that code is dead: no link is followed and
//! nothing but plain files is opened. Names are sorted bytewise, a folder before what is in it and
//! what it hides before what it holds; times are whole seconds.

use super::header::{self, Attributes, Head};
use super::{ATTRIBUTE_MAX_BYTES, KERNELS, OPAQUE, OPAQUE_NAME, WHITEOUT};
use crate::pack::{Limits, PackError, Packed};
use model::limits::{PACKED_DEPTH_MAX, PACKED_PATH_MAX_BYTES};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

const DIR_FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
const FILE_FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);

/// Packs all that is in `root`, but not `root` itself. Times later than `epoch_s` become it.
pub fn pack(root: &Path, epoch_s: Option<u64>, out: impl Write) -> Result<Packed, PackError> {
    let mut packer = Packer {
        out,
        epoch_s,
        limits: Limits::default(),
        packed: Packed {
            entries: 0,
            size_bytes: 0,
        },
        path: Vec::new(),
        linked: HashMap::new(),
        buffer: vec![0; 128 * 1024],
    };
    let dir = Dir::open(root, DIR_FLAGS & !OFlag::O_NOFOLLOW, Mode::empty())
        .map_err(|errno| packer.unreadable(errno))?;
    packer.content(dir, 0)?;
    header::end(&mut packer.out)
        .and_then(|()| packer.out.flush())
        .map_err(PackError::Write)?;
    Ok(packer.packed)
}

struct Packer<W: Write> {
    out: W,
    epoch_s: Option<u64>,
    limits: Limits,
    packed: Packed,
    /// Where we are, without a slash at the end; empty at the top.
    path: Vec<u8>,
    /// First name of each inode that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Packer<W> {
    /// Packs what is in a folder.
    fn content(&mut self, mut dir: Dir, depth: usize) -> Result<(), PackError> {
        if depth > PACKED_DEPTH_MAX {
            return Err(PackError::TooDeep { path: self.shown() });
        }
        let (mut hidden, mut held) = (Vec::new(), Vec::new());
        let mut names = Vec::new();
        for entry in dir.iter() {
            let name = entry.map_err(|errno| self.unreadable(errno))?;
            names.push(CString::from(name.file_name()));
            if self.packed.entries + names.len() as u64 > self.limits.max_entries {
                return Err(self.too_many());
            }
        }
        names.retain(|name| name.as_c_str() != c"." && name.as_c_str() != c"..");
        for name in names {
            let stat = fstatat(&dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(|errno| self.unreadable(errno))?;
            if is_whiteout(&stat) {
                hidden.push(name);
            } else {
                held.push((name, stat));
            }
        }
        hidden.sort_unstable();
        held.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for name in hidden {
            self.marker(&[WHITEOUT, name.as_bytes()].concat())?;
        }
        for (name, stat) in held {
            let length = self.path.len();
            self.enter(name.as_bytes())?;
            self.child(&dir, &name, &stat, depth)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn enter(&mut self, name: &[u8]) -> Result<(), PackError> {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        if self.path.len() > PACKED_PATH_MAX_BYTES {
            return Err(PackError::TooDeep { path: self.shown() });
        }
        if name.starts_with(WHITEOUT) {
            return self.refuse("name that stands for a hidden one in layers");
        }
        Ok(())
    }

    fn child(
        &mut self,
        dir: &Dir,
        name: &CStr,
        stat: &FileStat,
        depth: usize,
    ) -> Result<(), PackError> {
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => {
                let child = Dir::openat(dir, name, DIR_FLAGS, Mode::empty())
                    .map_err(|errno| self.unreadable(errno))?;
                let attributes = self.attributes(&child)?;
                let is_opaque = attribute(&child, OPAQUE)
                    .map_err(|error| self.failed(error))?
                    .is_some_and(|value| value == b"y");
                self.entry((b'5', stat), 0, b"", attributes)?;
                if is_opaque {
                    self.marker(OPAQUE_NAME)?;
                }
                self.content(child, depth + 1)
            }
            SFlag::S_IFREG => {
                if self.link(stat)? {
                    return Ok(());
                }
                let fd = openat(dir, name, FILE_FLAGS, Mode::empty())
                    .map_err(|errno| self.unreadable(errno))?;
                self.file(File::from(fd), stat)
            }
            SFlag::S_IFLNK => {
                let target = readlinkat(dir, name).map_err(|errno| self.unreadable(errno))?;
                self.entry((b'2', stat), 0, &target.into_vec(), Vec::new())
            }
            SFlag::S_IFIFO => self.entry((b'6', stat), 0, b"", Vec::new()),
            SFlag::S_IFSOCK => Ok(()),
            _ => self.refuse("device"),
        }
    }

    /// Packs a further name of a file that is already in; false if this is its first or only one.
    fn link(&mut self, stat: &FileStat) -> Result<bool, PackError> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let inode = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.linked.get(&inode).cloned() {
            self.entry((b'1', stat), 0, &first, Vec::new())?;
            return Ok(true);
        }
        self.linked.insert(inode, self.path.clone());
        Ok(false)
    }

    fn file(&mut self, mut file: File, stat: &FileStat) -> Result<(), PackError> {
        let size_bytes = u64::try_from(stat.st_size).unwrap_or_default();
        self.packed.size_bytes = self.packed.size_bytes.saturating_add(size_bytes);
        if self.packed.size_bytes > self.limits.max_bytes {
            let (path, max_bytes) = (self.shown(), self.limits.max_bytes);
            return Err(PackError::TooLarge { path, max_bytes });
        }
        let attributes = self.attributes(&file)?;
        self.entry((b'0', stat), size_bytes, b"", attributes)?;
        let mut left = size_bytes;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX);
            let wanted = wanted.min(self.buffer.len());
            let buffer = self.buffer.get_mut(..wanted).unwrap_or_default();
            let count = match file.read(buffer) {
                Ok(0) => return Err(PackError::Changed { path: self.shown() }),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(error)),
            };
            let read = self.buffer.get(..count).unwrap_or_default();
            self.out.write_all(read).map_err(PackError::Write)?;
            left -= count as u64;
        }
        header::pad(size_bytes, &mut self.out).map_err(PackError::Write)
    }

    /// The attributes that travel: those of the user, and a program's capabilities.
    fn attributes(&self, file: &impl AsFd) -> Result<Attributes, PackError> {
        let mut list = vec![0; ATTRIBUTE_MAX_BYTES];
        let length = match rustix::fs::flistxattr(file, list.as_mut_slice()) {
            Ok(length) => length,
            Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
            Err(errno) => return Err(self.failed(errno.into())),
        };
        let mut found = Vec::new();
        let names = list.get(..length).unwrap_or_default();
        for name in names.split(|byte| *byte == 0) {
            let travels = name.starts_with(b"user.") || name == b"security.capability";
            if !travels || name.starts_with(KERNELS) {
                continue;
            }
            let text = CString::new(name).unwrap_or_default();
            let value = attribute(file, text.as_c_str()).map_err(|error| self.failed(error))?;
            found.extend(value.map(|value| (name.to_vec(), value)));
        }
        found.sort();
        Ok(found)
    }

    /// Writes an empty file that stands for something hidden.
    fn marker(&mut self, name: &[u8]) -> Result<(), PackError> {
        let path = if self.path.is_empty() {
            name.to_vec()
        } else {
            [&self.path, &b"/"[..], name].concat()
        };
        self.count()?;
        let head = Head {
            name: &path,
            kind: b'0',
            mode: 0,
            uid: 0,
            gid: 0,
            size_bytes: 0,
            mtime_s: 0,
            target: b"",
            attributes: Vec::new(),
        };
        header::write(&head, &mut self.out).map_err(PackError::Write)
    }

    fn entry(
        &mut self,
        (kind, stat): (u8, &FileStat),
        size_bytes: u64,
        target: &[u8],
        attributes: Attributes,
    ) -> Result<(), PackError> {
        self.count()?;
        let mut name = self.path.clone();
        if kind == b'5' {
            name.push(b'/');
        }
        let mtime_s = u64::try_from(stat.st_mtime).unwrap_or_default();
        let head = Head {
            name: &name,
            kind,
            mode: if kind == b'2' { 0o777 } else { stat.st_mode },
            uid: stat.st_uid,
            gid: stat.st_gid,
            size_bytes,
            mtime_s: self.epoch_s.map_or(mtime_s, |epoch| epoch.min(mtime_s)),
            target,
            attributes,
        };
        header::write(&head, &mut self.out).map_err(PackError::Write)
    }

    fn count(&mut self) -> Result<(), PackError> {
        self.packed.entries += 1;
        if self.packed.entries > self.limits.max_entries {
            return Err(self.too_many());
        }
        Ok(())
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
        self.failed(errno.into())
    }

    fn failed(&self, source: io::Error) -> PackError {
        PackError::Read {
            path: self.shown(),
            source,
        }
    }

    fn shown(&self) -> String {
        crate::shown::path(&self.path)
    }
}

fn is_whiteout(stat: &FileStat) -> bool {
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    kind == SFlag::S_IFCHR && stat.st_rdev == 0
}

/// The value of an attribute, if it is there.
fn attribute(file: &impl AsFd, name: impl rustix::path::Arg) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; ATTRIBUTE_MAX_BYTES];
    match rustix::fs::fgetxattr(file, name, value.as_mut_slice()) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
