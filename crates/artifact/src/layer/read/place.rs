//! The destination: makes files, folders, links and marks below one descriptor and nowhere else.

use super::entry::Facts;
use super::failed;
use crate::layer::OPAQUE;
use crate::unpack::entry::RelativePath;
use crate::unpack::{UnpackError, refused};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, makedev, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const DIR_FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
const NEW_FILE_FLAGS: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_EXCL)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// The destination, and the folders whose time is set at the end.
pub(super) struct Place {
    root: OwnedFd,
    times: Vec<(Vec<u8>, i64)>,
    buffer: Vec<u8>,
}

impl Place {
    pub(super) fn open(dest: &Path) -> Result<Self, UnpackError> {
        let flags = DIR_FLAGS & !OFlag::O_NOFOLLOW;
        let root = open(dest, flags, Mode::empty());
        Ok(Self::new(root.map_err(|errno| failed(b".")(errno.into()))?))
    }

    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            times: Vec::new(),
            buffer: vec![0; 128 * 1024],
        }
    }

    pub(super) fn folder(&mut self, path: &RelativePath, facts: &Facts) -> Result<(), UnpackError> {
        let Some((parent, name)) = path.split() else {
            // The root's own entry: what is there belongs to whoever mounts the layer.
            return Ok(());
        };
        let at = self.parent(parent, path)?;
        let fd = match openat(&at, name, DIR_FLAGS, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => make_folder(&at, name, path)?,
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                let was_hidden = is_whiteout(&look(&at, name, path)?);
                unlink(&at, name, path)?;
                let fd = make_folder(&at, name, path)?;
                if was_hidden {
                    mark_opaque(&fd, path)?;
                }
                fd
            }
            Err(errno) => return Err(fail(path)(errno)),
        };
        dress(&fd, path, facts)?;
        self.times.push((path.bytes().to_vec(), facts.mtime_s));
        Ok(())
    }

    pub(super) fn file(
        &mut self,
        path: &RelativePath,
        facts: &Facts,
        content: &mut impl Read,
    ) -> Result<(), UnpackError> {
        let (at, name) = self.free(path)?;
        let fd = openat(&at, name, NEW_FILE_FLAGS, Mode::S_IRUSR | Mode::S_IWUSR);
        let mut file = File::from(fd.map_err(fail(path))?);
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(UnpackError::Archive(error)),
            };
            let read = self.buffer.get(..count).unwrap_or_default();
            file.write_all(read).map_err(failed(path.bytes()))?;
        }
        dress(&file, path, facts)?;
        let time = TimeSpec::new(facts.mtime_s, 0);
        futimens(&file, &time, &time).map_err(fail(path))
    }

    pub(super) fn symlink(
        &mut self,
        path: &RelativePath,
        facts: &Facts,
        target: &[u8],
    ) -> Result<(), UnpackError> {
        let (at, name) = self.free(path)?;
        symlinkat(target, &at, name).map_err(fail(path))?;
        own(&at, name, path, facts)
    }

    pub(super) fn pipe(&mut self, path: &RelativePath, facts: &Facts) -> Result<(), UnpackError> {
        let (at, name) = self.free(path)?;
        let mode = Mode::from_bits_truncate(facts.mode & 0o777);
        mknodat(&at, name, SFlag::S_IFIFO, mode, 0).map_err(fail(path))?;
        own(&at, name, path, facts)
    }

    /// A hard link to a file of this very layer.
    pub(super) fn link(
        &mut self,
        path: &RelativePath,
        target: &RelativePath,
    ) -> Result<(), UnpackError> {
        let reason = "it is a hard link to something that is no file of this layer";
        let (from, from_name) = target
            .split()
            .ok_or_else(|| refused(path.bytes(), reason))?;
        let from = self
            .open_folder(from)
            .map_err(|_| refused(path.bytes(), reason))?;
        let stat = fstatat(&from, from_name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let is_file = stat.is_ok_and(|stat| kind(&stat) == SFlag::S_IFREG);
        if !is_file {
            return Err(refused(path.bytes(), reason));
        }
        if path == target {
            return Ok(());
        }
        let (at, name) = self.free(path)?;
        linkat(&from, from_name, &at, name, AtFlags::empty()).map_err(fail(path))
    }

    /// Hides a name of the layers below; what this layer holds under it stays.
    pub(super) fn hide(&mut self, folder: &RelativePath, name: &[u8]) -> Result<(), UnpackError> {
        let at = self.parent(folder.bytes(), folder)?;
        match fstatat(&at, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => {
                let device = makedev(0, 0);
                mknodat(&at, name, SFlag::S_IFCHR, Mode::empty(), device).map_err(fail(folder))
            }
            Err(errno) => Err(fail(folder)(errno)),
            Ok(stat) if kind(&stat) == SFlag::S_IFDIR => {
                let fd = openat(&at, name, DIR_FLAGS, Mode::empty()).map_err(fail(folder))?;
                mark_opaque(&fd, folder)
            }
            Ok(_) => Ok(()),
        }
    }

    /// Hides all that the layers below have in a folder.
    pub(super) fn make_opaque(&mut self, folder: &RelativePath) -> Result<(), UnpackError> {
        if folder.split().is_none() {
            return Err(refused(b".", "it hides the whole root"));
        }
        let fd = self.parent(folder.bytes(), folder)?;
        mark_opaque(&fd, folder)
    }

    /// Sets the times of all folders, those inside before those around them.
    pub(super) fn finish(mut self) -> Result<(), UnpackError> {
        for (path, mtime_s) in std::mem::take(&mut self.times).into_iter().rev() {
            let fd = match self.open_folder(&path) {
                Ok(fd) => fd,
                // A later entry took its place.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                Err(errno) => return Err(failed(&path)(errno.into())),
            };
            let time = TimeSpec::new(mtime_s, 0);
            futimens(&fd, &time, &time).map_err(|errno| failed(&path)(errno.into()))?;
        }
        Ok(())
    }

    /// The folder of an entry and its name, which nothing has.
    fn free<'p>(&mut self, path: &'p RelativePath) -> Result<(OwnedFd, &'p [u8]), UnpackError> {
        let (parent, name) = path
            .split()
            .ok_or_else(|| refused(b".", "the root can only be a folder"))?;
        let at = self.parent(parent, path)?;
        match fstatat(&at, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(fail(path)(errno)),
            Ok(stat) if kind(&stat) == SFlag::S_IFDIR => {
                return Err(refused(path.bytes(), "it would replace a folder"));
            }
            Ok(_) => unlink(&at, name, path)?,
        }
        Ok((at, name))
    }

    /// Opens a folder, making what is missing.
    fn parent(&self, folder: &[u8], path: &RelativePath) -> Result<OwnedFd, UnpackError> {
        match self.open_folder(folder) {
            Ok(fd) => return Ok(fd),
            Err(Errno::ENOENT) => {}
            Err(Errno::ELOOP) => {
                return Err(refused(path.bytes(), "its name goes through a link"));
            }
            Err(Errno::ENOTDIR) => {
                return Err(refused(path.bytes(), "its name goes through a file"));
            }
            Err(errno) => return Err(fail(path)(errno)),
        }
        let mut fd = self.root.try_clone().map_err(failed(path.bytes()))?;
        for part in folder.split(|byte| *byte == b'/') {
            fd = match openat(&fd, part, DIR_FLAGS, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::ENOENT) => make_folder(&fd, part, path)?,
                Err(errno) => return Err(fail(path)(errno)),
            };
        }
        Ok(fd)
    }

    fn open_folder(&self, folder: &[u8]) -> nix::Result<OwnedFd> {
        let beneath = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let how = OpenHow::new().flags(DIR_FLAGS).resolve(beneath);
        let folder = if folder.is_empty() { b"." } else { folder };
        openat2(&self.root, folder, how)
    }
}

fn make_folder(at: &OwnedFd, name: &[u8], path: &RelativePath) -> Result<OwnedFd, UnpackError> {
    mkdirat(at, name, Mode::S_IRWXU).map_err(fail(path))?;
    let fd = openat(at, name, DIR_FLAGS, Mode::empty()).map_err(fail(path))?;
    fchmod(&fd, Mode::from_bits_truncate(0o755)).map_err(fail(path))?;
    Ok(fd)
}

/// Owner, then mode, which a change of the owner cuts, then attributes.
fn dress(fd: &impl AsFd, path: &RelativePath, facts: &Facts) -> Result<(), UnpackError> {
    let (uid, gid) = (Uid::from_raw(facts.uid), Gid::from_raw(facts.gid));
    fchown(fd.as_fd(), Some(uid), Some(gid)).map_err(fail(path))?;
    fchmod(fd.as_fd(), Mode::from_bits_truncate(facts.mode)).map_err(fail(path))?;
    for (name, value) in &facts.attributes {
        let set =
            rustix::fs::fsetxattr(fd, name.as_slice(), value, rustix::fs::XattrFlags::empty());
        set.map_err(|errno| failed(path.bytes())(errno.into()))?;
    }
    Ok(())
}

/// Owner and time of something that cannot be opened.
fn own(at: &OwnedFd, name: &[u8], path: &RelativePath, facts: &Facts) -> Result<(), UnpackError> {
    let (uid, gid) = (Uid::from_raw(facts.uid), Gid::from_raw(facts.gid));
    fchownat(at, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(fail(path))?;
    let time = TimeSpec::new(facts.mtime_s, 0);
    utimensat(at, name, &time, &time, UtimensatFlags::NoFollowSymlink).map_err(fail(path))
}

fn mark_opaque(fd: &OwnedFd, path: &RelativePath) -> Result<(), UnpackError> {
    rustix::fs::fsetxattr(fd, OPAQUE, b"y", rustix::fs::XattrFlags::empty())
        .map_err(|errno| failed(path.bytes())(errno.into()))
}

fn look(at: &OwnedFd, name: &[u8], path: &RelativePath) -> Result<FileStat, UnpackError> {
    fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(fail(path))
}

fn unlink(at: &OwnedFd, name: &[u8], path: &RelativePath) -> Result<(), UnpackError> {
    unlinkat(at, name, UnlinkatFlags::NoRemoveDir).map_err(fail(path))
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn is_whiteout(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

fn fail(path: &RelativePath) -> impl FnOnce(Errno) -> UnpackError + use<> {
    let fail = failed(path.bytes());
    move |errno| fail(errno.into())
}
