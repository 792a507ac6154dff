//! `<run>/bpf`: a file system of our own that keeps programs attached and maps filled when the
//! nursery that made them is gone.
//!
//! ```text
//! maps/NAME          shared by all versions of the programs
//! links-DIGEST-N/    one set of links, all attached or about to be removed
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::statfs;

use super::hooks::{LAW, LINKS, Link};
use super::object;
use super::tree::Attachments;
use super::{PolicyError, kernel};
use crate::sys::bpf;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS: i64 = 0xcafe_4a11;

/// The mounted folder.
#[derive(Debug)]
pub(super) struct Pins(PathBuf);

/// A set of links, each known to hang on the cgroup it shall.
#[derive(Debug)]
pub(super) struct Links {
    folder: PathBuf,
    links: Vec<(Link, OwnedFd)>,
}

fn place(run: &Path) -> PathBuf {
    run.join("bpf")
}

impl Pins {
    /// Mounts the file system unless it is there.
    pub(super) fn open(run: &Path) -> Result<Self, PolicyError> {
        let at = place(run);
        std::fs::create_dir_all(&at).map_err(kernel("make the folder of the pins"))?;
        if !is_mounted(&at).map_err(kernel("look at the folder of the pins"))? {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("bpf"), &at, Some("bpf"), flags, Some("mode=0700"))
                .map_err(io::Error::from)
                .map_err(kernel("mount a bpf file system"))?;
        }
        let maps = at.join("maps");
        match std::fs::create_dir(&maps) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(kernel("make the folder of the maps")(error))
            }
            _ => Ok(Self(at)),
        }
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.0.join("maps").join(name)
    }

    /// The sets of links that are there, newest last.
    fn sets(&self) -> io::Result<Vec<String>> {
        let mut sets = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("links-") {
                sets.push(name);
            }
        }
        sets.sort_by_key(|name| number(name));
        Ok(sets)
    }

    /// A whole set of this version that hangs where it shall, if a former nursery left one.
    pub(super) fn find(&self, attachments: &Attachments) -> Result<Option<Links>, PolicyError> {
        let sets = self.sets().map_err(kernel("list the pins"))?;
        let current = format!("links-{}-", object::version());
        for set in sets.iter().rev().filter(|set| set.starts_with(&current)) {
            if let Ok(links) = Links::open(&self.0.join(set), attachments) {
                return Ok(Some(links));
            }
        }
        Ok(None)
    }

    /// Attaches a new set beside those that are there: rewriting twice gives the same, and of two
    /// verdicts the stricter holds.
    pub(super) fn make(&self, attachments: &Attachments) -> Result<Links, PolicyError> {
        let sets = self.sets().map_err(kernel("list the pins"))?;
        let number = sets.last().map_or(0, |set| number(set) + 1);
        let folder = self.0.join(format!("links-{}-{number}", object::version()));
        std::fs::create_dir(&folder).map_err(kernel("make a folder of links"))?;
        let made = object::attach(self, attachments, &folder)
            .and_then(|()| Links::open(&folder, attachments));
        if made.is_err() {
            std::fs::remove_dir_all(&folder).map_err(kernel("remove a half set of links"))?;
        }
        made
    }

    /// Removes all sets but this one.
    pub(super) fn forget_others(&self, links: &Links) -> io::Result<()> {
        let sets = self.sets()?;
        let others = sets.iter().map(|set| self.0.join(set));
        others
            .filter(|set| *set != links.folder)
            .try_for_each(std::fs::remove_dir_all)
    }
}

/// `links-DIGEST-N`: N.
fn number(set: &str) -> u64 {
    set.rsplit('-')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn is_mounted(at: &Path) -> io::Result<bool> {
    match statfs(at) {
        Ok(found) => Ok(found.filesystem_type().0 == BPF_FS),
        Err(nix::errno::Errno::ENOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Links {
    fn open(folder: &Path, attachments: &Attachments) -> Result<Self, PolicyError> {
        let mut links = Vec::new();
        for link in LINKS {
            let fd = bpf::pinned(&folder.join(link.pin())).map_err(kernel("open a pinned link"))?;
            links.push((link, fd));
        }
        let links = Self {
            folder: folder.to_owned(),
            links,
        };
        links.verify(attachments)?;
        Ok(links)
    }

    /// Asks the kernel for each link whether it still hangs where it shall.
    pub(super) fn verify(&self, attachments: &Attachments) -> Result<(), PolicyError> {
        self.verify_first(self.links.len(), attachments)
    }

    /// The same for those without which a port could be open, in a fifth of the time.
    pub(super) fn verify_law(&self, attachments: &Attachments) -> Result<(), PolicyError> {
        self.verify_first(LAW, attachments)
    }

    fn verify_first(&self, count: usize, attachments: &Attachments) -> Result<(), PolicyError> {
        for (link, fd) in self.links.iter().take(count) {
            let info = bpf::link_info(fd.as_fd()).map_err(kernel("ask for a link"))?;
            if (info.cgroup, info.attach_type) != (attachments.of(link.tree).id, link.at) {
                return Err(PolicyError::Detached { hook: link.program });
            }
        }
        Ok(())
    }
}

impl Pins {
    /// The programs that need not be: there since a former nursery, or attached now. Text: why not.
    pub(super) fn complete(&self, links: &Links, attachments: &Attachments) -> Result<(), String> {
        let mut hooks = object::LSM_HOOKS.iter();
        if hooks.all(|(name, _)| links.folder.join(name).exists()) {
            return Ok(());
        }
        object::attach_lsm(self, attachments, &links.folder)
    }
}

/// Detaches everything and unmounts; what is not there is fine.
pub(super) fn remove(run: &Path) -> io::Result<()> {
    let at = place(run);
    while is_mounted(&at)? {
        // By hand: another mount namespace may still have the file system, and so what is pinned.
        for entry in std::fs::read_dir(&at)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        umount2(&at, MntFlags::MNT_DETACH)?;
    }
    match std::fs::remove_dir(&at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
