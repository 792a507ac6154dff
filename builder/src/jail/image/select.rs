//! Which files a COPY takes.

use super::Selection;
use super::root::{DIR_FLAGS, Root, kind};
use crate::image::dockerfile::glob::{Pattern, symbols};
use crate::image::dockerfile::ignore::{Hits, Ignored, clean};
use model::limits::{PACKED_DEPTH_MAX, UNPACKED_MAX_ENTRIES};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;

/// A file, link, pipe or folder that is taken.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Below the root, no link on the way.
    pub from: Vec<u8>,
    /// Below the folder that its source is copied to; empty: the source itself.
    pub to: Vec<u8>,
    /// As it is there.
    pub stat: FileStat,
}

/// One source with all that is taken of it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The last part of its path as it is written: the name of a file.
    pub name: String,
    /// Whether it is a folder, whose content is meant.
    pub is_folder: bool,
    /// Folders before what is in them.
    pub items: Vec<Item>,
}

/// Why nothing can be selected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectError {
    /// A path that is no pattern is not there.
    #[error("\"{0}\": not found")]
    Missing(String),
    /// A pattern cannot be read, or it is too much.
    #[error("{0}")]
    Refused(String),
    /// The disk.
    #[error("read the files to be copied")]
    Io(#[from] io::Error),
}

impl From<Errno> for SelectError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// How a file is opened that may have become something else.
pub(crate) const FILE_FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK);

/// Where a link leads.
pub(crate) fn link(root: &Root, path: &[u8]) -> Result<Vec<u8>, SelectError> {
    let (folder, name) = parent(path);
    let folder = root.inside(folder, DIR_FLAGS)?;
    Ok(readlinkat(&folder, name)?.into_vec())
}

/// A path's folder and its last part.
pub(crate) fn parent(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        None => (b"", path),
    }
}

/// All sources of a selection, in order.
pub(crate) fn select(root: &Root, selection: &Selection) -> Result<Vec<Source>, SelectError> {
    let refused = SelectError::Refused;
    let mut walk = Walk {
        root,
        ignored: Ignored::parse(&selection.ignored)
            .map_err(|error| refused(format!(".dockerignore: {error}")))?,
        excluded: Ignored::parse(&selection.excludes.join("\n"))
            .map_err(|error| refused(format!("--exclude: {error}")))?,
        count: 0,
    };
    let mut sources = Vec::new();
    for source in &selection.sources {
        let cleaned = clean(&format!("/{source}"));
        let is_pattern = cleaned.contains(['*', '?', '[', '\\']);
        let found = if is_pattern {
            walk.matching(&cleaned)?
        } else {
            vec![cleaned.into_bytes()]
        };
        for path in found {
            match walk.source(&path, selection.keeps_parents)? {
                Some(source) => sources.push(source),
                None if is_pattern => {}
                None => return Err(SelectError::Missing(source.clone())),
            }
        }
    }
    Ok(sources)
}

struct Walk<'a> {
    root: &'a Root,
    ignored: Ignored,
    excluded: Ignored,
    count: u64,
}

impl Walk<'_> {
    /// Paths that match a pattern part by part, sorted.
    fn matching(&self, pattern: &str) -> Result<Vec<Vec<u8>>, SelectError> {
        let mut found: Vec<Vec<u8>> = vec![Vec::new()];
        for part in pattern.split('/') {
            let compiled = Pattern::path(part)
                .map_err(|error| SelectError::Refused(format!("{error}: {pattern}")))?;
            let mut next = Vec::new();
            for folder in &found {
                let Ok(fd) = self.root.inside(folder, DIR_FLAGS) else {
                    continue;
                };
                let matching = names(fd)?
                    .into_iter()
                    .filter(|name| compiled.matches(&symbols(name)));
                next.extend(matching.map(|name| join(folder, &name)));
            }
            found = next;
        }
        found.retain(|path| !self.ignored.excludes(&String::from_utf8_lossy(path)));
        Ok(found)
    }

    /// What is taken of one path; none if it is not there.
    fn source(&mut self, path: &[u8], keeps_parents: bool) -> Result<Option<Source>, SelectError> {
        let fd = match self.root.inside(path, OFlag::O_PATH) {
            Ok(fd) => fd,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let stat = fstat(&fd)?;
        let real = self.real(&fd)?;
        let (_, name) = parent(path);
        let name = String::from_utf8_lossy(name).into_owned();
        let is_folder = kind(&stat) == SFlag::S_IFDIR;
        let mut items = Vec::new();
        if is_folder {
            let hits = self.hits(&real);
            if hits.0 && !self.ignored.may_reinclude_below(&real) {
                return Ok(None);
            }
            let to = if keeps_parents {
                path.to_vec()
            } else {
                Vec::new()
            };
            if keeps_parents {
                self.parents(path, &mut items)?;
            }
            let place = (real.as_slice(), to.as_slice());
            self.folder(place, &hits.1, (&Hits::default(), to.len()), &mut items)?;
        } else {
            if self.hits(&real).0 {
                return Ok(None);
            }
            if keeps_parents {
                self.parents(parent(path).0, &mut items)?;
            }
            let to = if keeps_parents {
                path.to_vec()
            } else {
                Vec::new()
            };
            items.push(Item {
                from: real,
                to,
                stat,
            });
        }
        Ok(Some(Source {
            name,
            is_folder: is_folder || keeps_parents,
            items,
        }))
    }

    /// `--parents`: the folders of a path, the outermost first.
    fn parents(&self, path: &[u8], items: &mut Vec<Item>) -> Result<(), SelectError> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends: Vec<usize> = ends.map(|(at, _)| at).chain([path.len()]).collect();
        for end in ends {
            let part = path.get(..end).unwrap_or_default();
            if part.is_empty() {
                continue;
            }
            let fd = self.root.inside(part, OFlag::O_PATH)?;
            items.push(Item {
                from: part.to_vec(),
                to: part.to_vec(),
                stat: fstat(&fd)?,
            });
        }
        Ok(())
    }

    /// Whether a path is ignored, and the hits for what is in it.
    fn hits(&self, path: &[u8]) -> (bool, Hits) {
        let mut found = (false, Hits::default());
        if path.is_empty() {
            return found;
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for end in ends.map(|(at, _)| at).chain([path.len()]) {
            found = self
                .ignored
                .decide(path.get(..end).unwrap_or_default(), &found.1);
        }
        found
    }

    /// The path of something open, as the kernel resolved it.
    fn real(&self, fd: &OwnedFd) -> Result<Vec<u8>, SelectError> {
        let seen = |fd: &OwnedFd| {
            let number = std::os::fd::AsRawFd::as_raw_fd(fd);
            fs::read_link(format!("/proc/self/fd/{number}"))
        };
        let root = seen(&self.root.inside(b"", OFlag::O_PATH)?)?;
        let path = seen(fd)?;
        let below = path.strip_prefix(root).map_err(io::Error::other)?;
        Ok(below.as_os_str().to_owned().into_vec())
    }

    /// Adds what is in a folder. `place`: its path, and where it is copied to; `excluded`: hits of
    /// `--exclude`, and how long the part of `to` is that does not count for them.
    fn folder(
        &mut self,
        (from, to): (&[u8], &[u8]),
        ignored: &Hits,
        (excluded, base): (&Hits, usize),
        items: &mut Vec<Item>,
    ) -> Result<(), SelectError> {
        if from.split(|byte| *byte == b'/').count() > PACKED_DEPTH_MAX {
            let message = "more than 256 folders inside each other".to_owned();
            return Err(SelectError::Refused(message));
        }
        let fd = self.root.inside(from, DIR_FLAGS)?;
        let all = names(fd.try_clone()?)?;
        for name in all {
            self.count += 1;
            if self.count > UNPACKED_MAX_ENTRIES {
                let message = "more than 500,000 files".to_owned();
                return Err(SelectError::Refused(message));
            }
            let (path, target) = (join(from, &name), join(to, &name));
            let (is_ignored, inner) = self.ignored.decide(&path, ignored);
            let relative = target.get(base..).unwrap_or_default();
            let relative = relative.strip_prefix(b"/").unwrap_or(relative);
            let (is_excluded, outer) = self.excluded.decide(relative, excluded);
            let stat = fstatat(&fd, name.as_slice(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let is_out = is_ignored || is_excluded;
            if kind(&stat) != SFlag::S_IFDIR {
                if !is_out && kind(&stat) != SFlag::S_IFSOCK {
                    items.push(Item {
                        from: path,
                        to: target,
                        stat,
                    });
                }
                continue;
            }
            let may_return = (!is_ignored || self.ignored.may_reinclude_below(&path))
                && (!is_excluded || self.excluded.may_reinclude_below(relative));
            if is_out && !may_return {
                continue;
            }
            let before = items.len();
            items.push(Item {
                from: path.clone(),
                to: target.clone(),
                stat,
            });
            self.folder((&path, &target), &inner, (&outer, base), items)?;
            if is_out && items.len() == before + 1 {
                items.pop();
            }
        }
        Ok(())
    }
}

/// The names in a folder, sorted.
fn names(folder: OwnedFd) -> Result<Vec<Vec<u8>>, SelectError> {
    let mut dir = Dir::from_fd(nix::fcntl::openat(folder, ".", DIR_FLAGS, Mode::empty())?)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let name = CString::from(entry?.file_name()).into_bytes();
        if name != b"." && name != b".." {
            names.push(name);
        }
        if names.len() as u64 > UNPACKED_MAX_ENTRIES {
            let message = "more than 500,000 files in one folder".to_owned();
            return Err(SelectError::Refused(message));
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        return name.to_vec();
    }
    [folder, b"/", name].concat()
}
