//! Places become detached mounts: opened below their base, cloned, their owners mapped.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};

use super::Trouble;
use super::home::Home;
use super::volumes::Volumes;
use crate::spec::{Base, Place};
use crate::sys::mount::{attribute, clone_tree, set_attributes};

/// Where places are looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    pub(super) home: &'a Home,
    pub(super) volumes: &'a Volumes,
}

impl Places<'_> {
    /// Opens a place, to be looked at and cloned. Links are refused and `..` is impossible.
    pub(super) fn open(&self, place: &Place) -> Result<OwnedFd, Trouble> {
        let opened = self.base(&place.base).and_then(|base| {
            let path = match place.base {
                Base::Stack => follow_first(&base, &place.path)?,
                _ => place.path.clone(),
            };
            let found = open_below(File::open(base)?.as_fd(), &path)?;
            if kind(&found)? == SFlag::S_IFLNK {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            Ok(found)
        });
        opened.map_err(Trouble::failed(&format!(
            "open {:?} {:?}",
            place.base, place.path
        )))
    }

    fn base(&self, base: &Base) -> io::Result<PathBuf> {
        Ok(match base {
            Base::Data => self.home.data.clone(),
            Base::Run => self.home.run.clone(),
            Base::Stack => self.home.stacks.clone(),
            Base::Program => self.home.program.clone(),
            Base::Volume(id) => self.volumes.root(id).ok_or(io::ErrorKind::NotFound)?,
        })
    }
}

/// What kind of file it is.
pub(super) fn kind(file: &OwnedFd) -> io::Result<SFlag> {
    Ok(SFlag::from_bits_truncate(fstat(file)?.st_mode) & SFlag::S_IFMT)
}

/// Opens a relative path below a folder, a link at its end as itself.
pub(super) fn open_below(base: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let path = if path.is_empty() { "." } else { path };
    Ok(openat2(base, path, how)?)
}

/// The first component of a stack's path may be a link to its neighbour: `debian-13` to
/// `debian-13-0123456789ab`.
fn follow_first(stacks: &Path, path: &str) -> io::Result<String> {
    let (first, rest) = path
        .split_once('/')
        .map_or((path, None), |(f, r)| (f, Some(r)));
    let target = match std::fs::read_link(stacks.join(first)) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(path.to_owned()),
        Err(error) => return Err(error),
    };
    let name = target
        .to_str()
        .filter(|name| !name.contains('/') && *name != "..");
    let name = name.ok_or_else(|| io::Error::other("a stack's link leaves its folder"))?;
    Ok(rest.map_or_else(|| name.to_owned(), |rest| format!("{name}/{rest}")))
}

/// A detached clone of a place, owners mapped by the user namespace: what is 0 on disk is 0 inside.
pub(super) fn mapped(
    place: BorrowedFd<'_>,
    ids: BorrowedFd<'_>,
    is_writable: bool,
) -> io::Result<OwnedFd> {
    let clone = clone_tree(place, false)?;
    let read_only = if is_writable { 0 } else { attribute::RDONLY };
    set_attributes(
        clone.as_fd(),
        attribute::NODEV | attribute::NOSUID | read_only,
        Some(ids),
    )?;
    Ok(clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_a_stack_to_its_neighbour_alone() {
        let at = std::env::temp_dir().join(format!("stacks-{}", std::process::id()));
        std::fs::create_dir_all(at.join("a-1/run")).unwrap();
        std::os::unix::fs::symlink("a-1", at.join("a")).unwrap();
        std::os::unix::fs::symlink("/etc", at.join("bad")).unwrap();
        assert_eq!(follow_first(&at, "a/run").unwrap(), "a-1/run");
        assert_eq!(follow_first(&at, "a-1/run").unwrap(), "a-1/run");
        assert!(follow_first(&at, "bad/run").is_err());
        assert!(follow_first(&at, "missing/run").is_err());
        let base = File::open(&at).unwrap();
        assert!(open_below(base.as_fd(), "a-1/run").is_ok());
        let link = open_below(base.as_fd(), "bad").unwrap();
        assert_eq!(kind(&link).unwrap(), SFlag::S_IFLNK, "not followed");
        for bad in ["a/run", "bad/x", "../etc", "/etc"] {
            assert!(open_below(base.as_fd(), bad).is_err(), "{bad}");
        }
        std::fs::remove_dir_all(&at).unwrap();
    }
}
