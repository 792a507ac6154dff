//! The destination: makes files, folders and links below one descriptor and nowhere else.

use super::entry::{Entry, RelativePath};
use super::{UnpackError, refused};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, UtimensatFlags, futimens, mkdirat, utimensat};
use nix::sys::stat::{SFlag, fchmod, fstatat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

const DIR_FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
const NEW_FILE_FLAGS: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_EXCL)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
const THROUGH_A_LINK: &str = "its name goes through a link";
const THROUGH_A_FILE: &str = "its name goes through a file";

/// A folder that is being filled.
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    /// The folder of the last entry: in a sorted archive mostly that of the next one, too.
    last: (Vec<u8>, Rc<OwnedFd>),
    /// Times of folders, set at the end because filling a folder changes its time.
    folder_times: Vec<(RelativePath, u64)>,
    buffer: Vec<u8>,
}

impl Tree {
    pub(super) fn open(dest: &Path) -> Result<Self, UnpackError> {
        let root = open(dest, DIR_FLAGS & !OFlag::O_NOFOLLOW, Mode::empty());
        let root = Rc::new(root.map_err(|errno| UnpackError::Write {
            path: dest.display().to_string(),
            source: errno.into(),
        })?);
        Ok(Self {
            last: (Vec::new(), Rc::clone(&root)),
            root,
            folder_times: Vec::new(),
            buffer: vec![0; 128 * 1024],
        })
    }

    /// Makes a folder, 0755 whatever the archive says: its owner must be able to fill it, and
    /// nobody has to be kept out of a slug.
    pub(super) fn folder(&mut self, path: &RelativePath, mtime_s: u64) -> Result<(), UnpackError> {
        if path.split().is_none() {
            return Ok(()); // The destination's own mode and time are its owner's business.
        }
        self.open_folder(path.bytes(), path, OnFile::Replace)?;
        self.folder_times.push((path.clone(), mtime_s));
        Ok(())
    }

    /// Makes a file; the entry is one of [`super::entry::Kind::File`] with this mode.
    pub(super) fn file(
        &mut self,
        mode: u32,
        entry: &mut Entry<'_, impl Read>,
    ) -> Result<(), UnpackError> {
        let Entry {
            path,
            mtime_s,
            size_bytes,
            content,
            ..
        } = entry;
        let (parent, name) = self.parent(path)?;
        let fd = replacing(&parent, name, path, || {
            let mode = Mode::S_IRUSR | Mode::S_IWUSR;
            openat(&*parent, name, NEW_FILE_FLAGS, mode)
        })?;
        let mut file = File::from(fd);
        let copied_bytes = self.copy(path, content, &mut file)?;
        if copied_bytes != *size_bytes {
            return Err(UnpackError::Archive(io::ErrorKind::UnexpectedEof.into()));
        }
        fchmod(&file, Mode::from_bits_truncate(mode)).map_err(failed(path))?;
        let time = time(*mtime_s, path)?;
        futimens(&file, &time, &time).map_err(failed(path))
    }

    pub(super) fn symlink(
        &mut self,
        path: &RelativePath,
        target: &[u8],
        mtime_s: u64,
    ) -> Result<(), UnpackError> {
        let (parent, name) = self.parent(path)?;
        replacing(&parent, name, path, || symlinkat(target, &*parent, name))?;
        let time = time(mtime_s, path)?;
        let no_follow = UtimensatFlags::NoFollowSymlink;
        utimensat(&*parent, name, &time, &time, no_follow).map_err(failed(path))
    }

    /// Gives a file that is already here a second name.
    pub(super) fn link(
        &mut self,
        path: &RelativePath,
        target: &RelativePath,
    ) -> Result<(), UnpackError> {
        const NO_FILE: &str = "it is a link to what is no file of the archive";
        let (from_dir, from) = target
            .split()
            .ok_or_else(|| refused(path.bytes(), NO_FILE))?;
        let from_dir = match self.open_existing(from_dir) {
            Ok(fd) => fd,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => {
                return Err(refused(path.bytes(), NO_FILE));
            }
            Err(errno) => return Err(failed(path)(errno)),
        };
        let is_file = match fstatat(&*from_dir, from, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG,
            Err(Errno::ENOENT) => false,
            Err(errno) => return Err(failed(path)(errno)),
        };
        if !is_file {
            return Err(refused(path.bytes(), NO_FILE));
        }
        if path == target {
            return Ok(());
        }
        let (parent, name) = self.parent(path)?;
        replacing(&parent, name, path, || {
            linkat(&*from_dir, from, &*parent, name, AtFlags::empty())
        })
    }

    /// Sets the times of all folders, those inside before those around them.
    pub(super) fn finish(mut self) -> Result<(), UnpackError> {
        for (path, mtime_s) in std::mem::take(&mut self.folder_times).into_iter().rev() {
            let fd = self.open_existing(path.bytes()).map_err(failed(&path))?;
            let time = time(mtime_s, &path)?;
            futimens(&*fd, &time, &time).map_err(failed(&path))?;
        }
        Ok(())
    }

    fn copy(
        &mut self,
        path: &RelativePath,
        content: &mut impl Read,
        file: &mut File,
    ) -> Result<u64, UnpackError> {
        let mut copied_bytes = 0;
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => return Ok(copied_bytes),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(UnpackError::Archive(error)),
            };
            let read = self.buffer.get(..count).unwrap_or_default();
            file.write_all(read).map_err(|source| UnpackError::Write {
                path: path.shown(),
                source,
            })?;
            copied_bytes += count as u64;
        }
    }

    /// Opens the folder of an entry, making what is missing, and returns it with the entry's name.
    fn parent<'p>(
        &mut self,
        path: &'p RelativePath,
    ) -> Result<(Rc<OwnedFd>, &'p [u8]), UnpackError> {
        let (parent, name) = path
            .split()
            .ok_or_else(|| refused(b".", "the folder itself can only be a folder"))?;
        let fd = self.open_folder(parent, path, OnFile::Refuse)?;
        Ok((fd, name))
    }

    fn open_folder(
        &mut self,
        folder: &[u8],
        path: &RelativePath,
        on_file: OnFile,
    ) -> Result<Rc<OwnedFd>, UnpackError> {
        let fd = match self.open_existing(folder) {
            Ok(fd) => fd,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {
                Rc::new(self.make_folder(folder, path, on_file)?)
            }
            Err(errno) => return Err(failed(path)(errno)),
        };
        self.last = (folder.to_vec(), Rc::clone(&fd));
        Ok(fd)
    }

    fn open_existing(&self, folder: &[u8]) -> nix::Result<Rc<OwnedFd>> {
        if folder.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if folder == self.last.0 {
            return Ok(Rc::clone(&self.last.1));
        }
        let beneath = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(DIR_FLAGS).resolve(beneath);
        openat2(&*self.root, folder, how).map(Rc::new)
    }

    /// Makes a folder and those around it, part by part.
    fn make_folder(
        &self,
        folder: &[u8],
        path: &RelativePath,
        on_file: OnFile,
    ) -> Result<OwnedFd, UnpackError> {
        let mut parts = folder.split(|byte| *byte == b'/').peekable();
        let mut fd: Option<OwnedFd> = None;
        while let Some(part) = parts.next() {
            let at = fd.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            // Only the entry's own place may be cleared, never what stands on the way to it.
            let on_file = if parts.peek().is_some() {
                OnFile::Refuse
            } else {
                on_file
            };
            let next = step(at, part, path, on_file)?;
            fd = Some(next);
        }
        fd.ok_or_else(|| refused(path.bytes(), THROUGH_A_FILE))
    }
}

/// What to do with a file or link that stands where a folder shall be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnFile {
    Refuse,
    Replace,
}

/// Opens one folder in another, making it if it is missing.
fn step(
    at: BorrowedFd<'_>,
    part: &[u8],
    path: &RelativePath,
    on_file: OnFile,
) -> Result<OwnedFd, UnpackError> {
    match openat(at, part, DIR_FLAGS, Mode::empty()) {
        Ok(fd) => return Ok(fd),
        Err(Errno::ENOENT) => {}
        Err(Errno::ENOTDIR | Errno::ELOOP) if on_file == OnFile::Replace => {
            unlinkat(at, part, UnlinkatFlags::NoRemoveDir).map_err(failed(path))?;
        }
        // O_NOFOLLOW with O_DIRECTORY says ENOTDIR for a link, too (open(2)).
        Err(Errno::ENOTDIR | Errno::ELOOP) => {
            let stat = fstatat(at, part, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed(path))?;
            let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
            let is_link = kind == SFlag::S_IFLNK;
            let reason = if is_link {
                THROUGH_A_LINK
            } else {
                THROUGH_A_FILE
            };
            return Err(refused(path.bytes(), reason));
        }
        Err(errno) => return Err(failed(path)(errno)),
    }
    mkdirat(at, part, Mode::S_IRWXU).map_err(failed(path))?;
    let fd = openat(at, part, DIR_FLAGS, Mode::empty()).map_err(failed(path))?;
    fchmod(&fd, Mode::from_bits_truncate(0o755)).map_err(failed(path))?;
    Ok(fd)
}

/// Makes something that must not exist, in place of the file or link of its name that does.
fn replacing<T>(
    parent: &OwnedFd,
    name: &[u8],
    path: &RelativePath,
    make: impl Fn() -> nix::Result<T>,
) -> Result<T, UnpackError> {
    match make() {
        Err(Errno::EEXIST) => {
            make_room(parent, name, path)?;
            make().map_err(failed(path))
        }
        result => result.map_err(failed(path)),
    }
}

/// Removes the file or link that an entry replaces.
fn make_room(parent: &OwnedFd, name: &[u8], path: &RelativePath) -> Result<(), UnpackError> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        // EISDIR on Linux, EPERM in POSIX (unlink(2)).
        Err(Errno::EISDIR | Errno::EPERM) => {
            Err(refused(path.bytes(), "it would replace a folder"))
        }
        Err(errno) => Err(failed(path)(errno)),
    }
}

fn time(mtime_s: u64, path: &RelativePath) -> Result<TimeSpec, UnpackError> {
    let seconds =
        i64::try_from(mtime_s).map_err(|_| refused(path.bytes(), "its time is out of range"))?;
    Ok(TimeSpec::new(seconds, 0))
}

fn failed(path: &RelativePath) -> impl FnOnce(Errno) -> UnpackError {
    move |errno| UnpackError::Write {
        path: path.shown(),
        source: errno.into(),
    }
}
