//! A root file system that strangers made: paths are resolved inside it, links included.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

/// Links in one path, as in the kernel.
const LINKS_MAX: usize = 40;
/// Parts of one path, those of links included.
const PARTS_MAX: usize = 1_024;

/// How a folder is opened.
pub(crate) const DIR_FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// A root.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

/// Where a path leads.
#[derive(Debug)]
pub(crate) enum At {
    /// To a folder.
    Folder(OwnedFd),
    /// To a name in a folder that is no folder, or is not there.
    Name(OwnedFd, Vec<u8>),
}

/// What folders look like that are made on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time, if not now.
    pub time_s: Option<u64>,
}

impl Root {
    /// Opens the folder that stands for a root.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = DIR_FLAGS & !OFlag::O_NOFOLLOW;
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?))
    }

    /// Opens something inside, links followed inside.
    pub(crate) fn inside(&self, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let path = if path.is_empty() { b"." } else { path };
        openat2(&self.0, path, how)
    }

    /// A plain file's text, if it is there and not larger.
    pub(crate) fn text(&self, path: &str, max_bytes: u64) -> io::Result<Option<String>> {
        let file = match self.inside(path.as_bytes(), OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(max_bytes).read_to_end(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Follows a path to where something shall be put; folders that are missing on the way are
    /// made. `is_folder`: the path itself is to be a folder.
    pub(crate) fn place(&self, path: &str, is_folder: bool, made: Made) -> io::Result<At> {
        let mut parts: VecDeque<Vec<u8>> = split(path.as_bytes());
        let mut stack = vec![self.0.try_clone()?];
        let (mut links, mut steps) = (0, 0);
        while let Some(part) = parts.pop_front() {
            steps += 1;
            if links > LINKS_MAX || steps > PARTS_MAX {
                return Err(Errno::ELOOP.into());
            }
            if part == b".." {
                if stack.len() > 1 {
                    stack.pop();
                }
                continue;
            }
            let folder = stack.last().ok_or(io::ErrorKind::NotFound)?;
            let name = part.as_slice();
            let may_end = parts.is_empty() && !is_folder;
            match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) if may_end => return Ok(At::Name(folder.try_clone()?, part)),
                Err(Errno::ENOENT) => {
                    let next = make_folder(folder, name, made)?;
                    stack.push(next);
                }
                Err(errno) => return Err(errno.into()),
                Ok(stat) => match kind(&stat) {
                    SFlag::S_IFDIR => {
                        let next = openat(folder, name, DIR_FLAGS, Mode::empty())?;
                        stack.push(next);
                    }
                    SFlag::S_IFLNK => {
                        links += 1;
                        let target = readlinkat(folder, name)?.into_vec();
                        if target.starts_with(b"/") {
                            stack.truncate(1);
                        }
                        let mut target = split(&target);
                        target.append(&mut parts);
                        parts = target;
                    }
                    _ if may_end => return Ok(At::Name(folder.try_clone()?, part)),
                    _ => return Err(Errno::ENOTDIR.into()),
                },
            }
        }
        stack
            .pop()
            .map(At::Folder)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The parts of a path that mean something.
fn split(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

/// Makes a folder that is not there.
pub(crate) fn make_folder(at: &OwnedFd, name: &[u8], made: Made) -> io::Result<OwnedFd> {
    mkdirat(at, name, Mode::S_IRWXU)?;
    let fd = openat(at, name, DIR_FLAGS, Mode::empty())?;
    let (uid, gid) = (Uid::from_raw(made.uid), Gid::from_raw(made.gid));
    fchown(fd.as_fd(), Some(uid), Some(gid))?;
    fchmod(fd.as_fd(), Mode::from_bits_truncate(made.mode))?;
    if let Some(time_s) = made.time_s {
        let time = TimeSpec::new(i64::try_from(time_s).unwrap_or_default(), 0);
        futimens(fd.as_fd(), &time, &time)?;
    }
    Ok(fd)
}

/// What kind of thing it is.
pub(crate) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}
