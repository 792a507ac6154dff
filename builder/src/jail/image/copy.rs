//! COPY, ADD and WORKDIR: files of `/src` and of the Dockerfile into the stage's root.

use super::looks::{Looks, dress, own};
use super::modes::Change;
use super::root::{At, DIR_FLAGS, Made, Root, kind, make_folder};
use super::select::{FILE_FLAGS, Item, SelectError, Source, link, parent, select};
use super::user::{self, UserError};
use super::{CopyOrder, Selection};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmodat, fstatat, futimens, mknodat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

const NEW_FILE_FLAGS: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_EXCL)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Why files cannot be copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// There is nothing to copy, or it may not be.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// `--chown` names nobody.
    #[error(transparent)]
    User(#[from] UserError),
    /// It cannot stand where it should.
    #[error("{0}")]
    Refused(String),
    /// The disk.
    #[error("copy to {path}")]
    Io {
        /// Where to.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes a folder for WORKDIR with those above it; one that is there is left alone.
pub(crate) fn workdir(dest: &Path, path: &str, user: &str) -> Result<(), CopyError> {
    let owner = user::find(dest, user)?;
    let made = Made {
        mode: 0o755,
        uid: owner.uid,
        gid: owner.gid,
        time_s: None,
    };
    let root = Root::open(dest).map_err(failed(path))?;
    root.place(path, true, made)
        .map_err(|error| blocked(path, error))?;
    Ok(())
}

/// Copies.
pub(crate) fn copy(src: &Path, dest: &Path, order: &CopyOrder) -> Result<(), CopyError> {
    let chown = order.chown.as_deref();
    let owner = chown.map(|text| user::owner(dest, text)).transpose()?;
    let chmod = order.chmod.as_deref().map(Change::parse).transpose();
    let chmod = chmod.map_err(CopyError::Refused)?;
    let from = Root::open(&src.join(&order.selection.root)).map_err(failed(&order.dest))?;
    let sources = select(&from, &order.selection)?;
    let (uid, gid) = owner.unwrap_or_default();
    let mode = match chmod {
        Some(Change::Octal(mode)) => mode & 0o777,
        _ => 0o755,
    };
    let mut copier = Copier {
        from,
        to: Root::open(dest).map_err(failed(&order.dest))?,
        order,
        owner,
        chmod,
        made: Made {
            mode,
            uid,
            gid,
            time_s: order.epoch_s,
        },
        linked: HashMap::new(),
        times: Vec::new(),
    };
    let count = sources.len() + order.files.len();
    let is_folder = order.dest.ends_with('/') || count > 1 || is_pattern(&order.selection);
    for source in &sources {
        copier.source(source, is_folder)?;
    }
    for (name, text) in &order.files {
        copier.text(name, text, is_folder)?;
    }
    copier.finish()
}

fn is_pattern(selection: &Selection) -> bool {
    let sources = &selection.sources;
    sources
        .iter()
        .any(|source| source.contains(['*', '?', '[']))
}

struct Copier<'a> {
    from: Root,
    to: Root,
    order: &'a CopyOrder,
    /// `--chown`
    owner: Option<(u32, u32)>,
    chmod: Option<Change>,
    made: Made,
    /// First name of each inode of the source that has several.
    linked: HashMap<(u64, u64), (OwnedFd, Vec<u8>)>,
    /// Folders, whose time is set at the end.
    times: Vec<(OwnedFd, TimeSpec)>,
}

impl Copier<'_> {
    fn source(&mut self, source: &Source, is_folder: bool) -> Result<(), CopyError> {
        if let [item] = source.items.as_slice()
            && !source.is_folder
        {
            let (at, name) = self.target(&source.name, is_folder)?;
            return self.one(item, &at, &name);
        }
        let dest = self.order.dest.as_str();
        let place = self.to.place(dest, true, self.made);
        let At::Folder(top) = place.map_err(|error| blocked(dest, error))? else {
            return Err(CopyError::Refused(format!(
                "cannot copy to non-directory: {dest}"
            )));
        };
        let mut folders: Vec<(Vec<u8>, OwnedFd)> = vec![(Vec::new(), top)];
        for item in &source.items {
            let (folder, name) = parent(&item.to);
            while folders
                .last()
                .is_some_and(|(path, _)| path.as_slice() != folder)
            {
                folders.pop();
            }
            let Some((_, at)) = folders.last() else {
                return Err(CopyError::Refused(
                    "a folder is missing among its files".to_owned(),
                ));
            };
            if kind(&item.stat) == SFlag::S_IFDIR {
                let made = self.folder(item, at, name)?;
                folders.push((item.to.clone(), made));
            } else {
                let at = at.try_clone().map_err(failed(dest))?;
                self.one(item, &at, name)?;
            }
        }
        Ok(())
    }

    /// The folder and the name for a file that is called `name` where it comes from.
    fn target(&self, name: &str, is_folder: bool) -> Result<(OwnedFd, Vec<u8>), CopyError> {
        let dest = self.order.dest.as_str();
        let place = self.to.place(dest, is_folder, self.made);
        Ok(match place.map_err(|error| blocked(dest, error))? {
            At::Folder(folder) => (folder, name.as_bytes().to_vec()),
            At::Name(folder, name) => (folder, name),
        })
    }

    fn looks(&self, item: &Item) -> Looks {
        let stat = &item.stat;
        let own = if self.order.selection.is_context {
            (0, 0)
        } else {
            (stat.st_uid, stat.st_gid)
        };
        let (uid, gid) = self.owner.unwrap_or(own);
        let is_folder = kind(stat) == SFlag::S_IFDIR;
        let mode = stat.st_mode & 0o7777;
        let chmod = self.chmod.as_ref();
        Looks {
            mode: chmod.map_or(mode, |change| change.apply(mode, is_folder)),
            uid,
            gid,
            time: self.time(stat.st_mtime),
        }
    }

    fn time(&self, mtime_s: i64) -> TimeSpec {
        let epoch = self.order.epoch_s.and_then(|s| i64::try_from(s).ok());
        TimeSpec::new(epoch.map_or(mtime_s, |epoch| epoch.min(mtime_s)), 0)
    }

    /// A folder below the one that is copied to takes the looks of its source.
    fn folder(&mut self, item: &Item, at: &OwnedFd, name: &[u8]) -> Result<OwnedFd, CopyError> {
        let path = shown(&item.to);
        let fd = match openat(at, name, DIR_FLAGS, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => make_folder(at, name, self.made).map_err(failed(&path))?,
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                return Err(CopyError::Refused(format!(
                    "cannot copy to non-directory: {path}"
                )));
            }
            Err(errno) => return Err(failed(&path)(errno.into())),
        };
        let looks = self.looks(item);
        dress(&fd, &looks).map_err(failed(&path))?;
        let again = fd.try_clone().map_err(failed(&path))?;
        self.times.push((again, looks.time));
        // Descriptors are bounded: what is finished is set now, and once more at the end.
        if self.times.len() > 4_096 {
            self.settle()?;
        }
        Ok(fd)
    }

    /// Anything but a folder, in place of what has its name.
    fn one(&mut self, item: &Item, at: &OwnedFd, name: &[u8]) -> Result<(), CopyError> {
        let path = shown(name);
        if self.order.unpacks && self.archive(item)? {
            return Ok(());
        }
        make_room(at, name, &path)?;
        let looks = self.looks(item);
        let stat = &item.stat;
        match kind(stat) {
            SFlag::S_IFREG => {
                let inode = (stat.st_dev, stat.st_ino);
                if stat.st_nlink > 1
                    && let Some((first, first_name)) = self.linked.get(&inode)
                {
                    let linked = linkat(first, first_name.as_slice(), at, name, AtFlags::empty());
                    return linked.map_err(|errno| failed(&path)(errno.into()));
                }
                self.file(item, (at, name), &looks).map_err(failed(&path))?;
                if stat.st_nlink > 1 && !self.order.selection.is_context {
                    let at = at.try_clone().map_err(failed(&path))?;
                    self.linked.insert(inode, (at, name.to_vec()));
                }
                Ok(())
            }
            SFlag::S_IFLNK => {
                let target = link(&self.from, &item.from)?;
                let make = || {
                    symlinkat(target.as_slice(), at, name)?;
                    own(at, name, &looks)
                };
                make().map_err(|errno: Errno| failed(&path)(errno.into()))
            }
            SFlag::S_IFIFO => {
                let make = || {
                    mknodat(at, name, SFlag::S_IFIFO, Mode::empty(), 0)?;
                    let mode = Mode::from_bits_truncate(looks.mode);
                    own(at, name, &looks)?;
                    fchmodat(at, name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)
                };
                make().map_err(|errno: Errno| failed(&path)(errno.into()))
            }
            _ => Err(CopyError::Refused(format!("{path} is a device"))),
        }
    }

    fn file(&self, item: &Item, (at, name): (&OwnedFd, &[u8]), looks: &Looks) -> io::Result<()> {
        let mut from = File::from(self.from.inside(&item.from, FILE_FLAGS)?);
        if !from.metadata()?.is_file() {
            return Err(io::Error::other("it changed while it was copied"));
        }
        let fd = openat(at, name, NEW_FILE_FLAGS, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let mut file = File::from(fd);
        io::copy(&mut from, &mut file)?;
        dress(&file, looks)?;
        futimens(&file, &looks.time, &looks.time)?;
        Ok(())
    }

    /// ADD of an archive: unpacks it into the destination; false if it is none.
    fn archive(&mut self, item: &Item) -> Result<bool, CopyError> {
        if kind(&item.stat) != SFlag::S_IFREG {
            return Ok(false);
        }
        let open = || Ok::<_, io::Error>(File::from(self.from.inside(&item.from, FILE_FLAGS)?));
        let path = shown(&item.from);
        if !artifact::layer::is_archive(open().map_err(failed(&path))?) {
            return Ok(false);
        }
        let dest = self.order.dest.as_str();
        let place = self.to.place(dest, true, self.made);
        let At::Folder(folder) = place.map_err(|error| blocked(dest, error))? else {
            return Err(CopyError::Refused(format!(
                "cannot copy to non-directory: {dest}"
            )));
        };
        artifact::layer::unpack_archive(open().map_err(failed(&path))?, folder, self.owner)
            .map_err(|error| CopyError::Refused(crate::chain(&error)))?;
        Ok(true)
    }

    /// A file whose text stands in the Dockerfile.
    fn text(&self, name: &str, text: &str, is_folder: bool) -> Result<(), CopyError> {
        let (at, name) = self.target(name, is_folder)?;
        let path = shown(&name);
        make_room(&at, &name, &path)?;
        let (uid, gid) = self.owner.unwrap_or_default();
        let mode = self
            .chmod
            .as_ref()
            .map_or(0o644, |change| change.apply(0o644, false));
        let write = || {
            let fd = openat(
                &at,
                name.as_slice(),
                NEW_FILE_FLAGS,
                Mode::S_IRUSR | Mode::S_IWUSR,
            )?;
            let mut file = File::from(fd);
            file.write_all(text.as_bytes())?;
            let time = TimeSpec::new(0, 0);
            dress(
                &file,
                &Looks {
                    mode,
                    uid,
                    gid,
                    time,
                },
            )?;
            if let Some(epoch) = self.order.epoch_s {
                let time = TimeSpec::new(i64::try_from(epoch).unwrap_or_default(), 0);
                futimens(&file, &time, &time)?;
            }
            Ok(())
        };
        write().map_err(failed(&path))
    }

    fn settle(&mut self) -> Result<(), CopyError> {
        for (fd, time) in self.times.drain(..).rev() {
            futimens(&fd, &time, &time).map_err(|errno| failed(&self.order.dest)(errno.into()))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), CopyError> {
        self.settle()
    }
}

fn blocked(path: &str, error: io::Error) -> CopyError {
    if error.raw_os_error() == Some(Errno::ENOTDIR as i32) {
        return CopyError::Refused(format!("cannot copy to non-directory: {path}"));
    }
    failed(path)(error)
}

fn failed(path: &str) -> impl FnOnce(io::Error) -> CopyError + use<> {
    let path = path.to_owned();
    move |source| CopyError::Io { path, source }
}

fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let plain = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(plain).take(300).collect()
}

/// Removes what stands where something is put; a folder stays and is a mistake.
fn make_room(at: &OwnedFd, name: &[u8], path: &str) -> Result<(), CopyError> {
    match fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(failed(path)(errno.into())),
        Ok(stat) if kind(&stat) == SFlag::S_IFDIR => Err(CopyError::Refused(format!(
            "cannot replace to directory {path} with file"
        ))),
        Ok(_) => unlinkat(at, name, UnlinkatFlags::NoRemoveDir)
            .map_err(|errno| failed(path)(errno.into())),
    }
}
