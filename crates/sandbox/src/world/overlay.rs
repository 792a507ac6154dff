//! Overlays of detached layers (`admin-guide/filesystems/overlayfs`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, fchown, setfsgid, setfsuid};

use crate::plan::LayerWay;
use crate::sys::mount::{Context, attach, attribute};
use crate::sys::process::set_capabilities;

const ATTRIBUTES: u64 = attribute::NODEV | attribute::NOSUID;

/// How overlays are put together here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workshop<'a> {
    pub(crate) way: LayerWay,
    pub(crate) staging: &'a str,
    /// The host's id of the inside 0.
    pub(crate) base: u32,
}

/// The writable part of an overlay: a detached mount and the folders in it.
#[derive(Debug)]
pub(crate) struct Upper {
    mount: OwnedFd,
    dir: String,
    /// Owners on disk are inside ids, and the mount maps them.
    is_mapped: bool,
}

impl Upper {
    /// A new tmpfs of bounded size.
    pub(crate) fn memory(max_bytes: u64, base: u32) -> io::Result<Self> {
        let tmpfs = Context::open(c"tmpfs")?;
        tmpfs.text(c"size", &max_bytes.to_string())?;
        tmpfs.text(c"nr_inodes", &inodes(max_bytes).to_string())?;
        tmpfs.text(c"mode", "0755")?;
        let mount = tmpfs.mount(ATTRIBUTES)?;
        mkdirat(&mount, "upper", Mode::from_bits_truncate(0o755))?;
        mkdirat(&mount, "upper.work", Mode::from_bits_truncate(0o755))?;
        let upper = open_dir(mount.as_fd(), "upper")?;
        fchown(&upper, Some(Uid::from_raw(base)), Some(Gid::from_raw(base)))?;
        Ok(Self {
            mount,
            dir: "upper".to_owned(),
            is_mapped: false,
        })
    }

    /// A folder of a volume, made when missing.
    pub(crate) fn volume(mount: OwnedFd, dir: String, base: u32) -> io::Result<Self> {
        as_inside(base, || {
            make_dirs(mount.as_fd(), &dir)?;
            // Its content is the overlay's own. `volatile` marks it as not to be used again, which
            // is meant for crashes; a volume does not live longer than the machine runs.
            let work = format!("{dir}.work");
            let at = std::os::fd::AsRawFd::as_raw_fd(&mount);
            match std::fs::remove_dir_all(format!("/proc/self/fd/{at}/{work}")) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
            make_dirs(mount.as_fd(), &work)
        })?;
        Ok(Self {
            mount,
            dir,
            is_mapped: true,
        })
    }
}

impl Upper {
    /// Whether `user.*` attributes can be kept there: on a tmpfs since 6.6.
    fn has_user_marks(&self) -> bool {
        self.is_mapped || tmpfs_has_user_attributes()
    }
}

/// By the version: to try it on a tmpfs costs more than it tells.
fn tmpfs_has_user_attributes() -> bool {
    let Ok(name) = nix::sys::utsname::uname() else {
        return false;
    };
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || {
        numbers
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0_u32)
    };
    (next(), next()) >= (6, 6)
}

/// As many inodes as a file system of 4 KiB files would have, within reason.
pub(crate) fn inodes(max_bytes: u64) -> u64 {
    (max_bytes / 4096).clamp(1024, 1_000_000)
}

impl Workshop<'_> {
    /// Makes an overlay, `lowers` topmost first: a detached mount.
    pub(crate) fn overlay(&self, lowers: &[OwnedFd], upper: Option<&Upper>) -> io::Result<OwnedFd> {
        let context = Context::open(c"overlay")?;
        match self.way {
            LayerWay::Files => by_files(&context, lowers, upper)?,
            LayerWay::Names => self.by_names(&context, lowers, upper)?,
        }
        if upper.is_none_or(Upper::has_user_marks) {
            // Layers of images say in `user.overlay.*`, which a jailed child can read and write,
            // which of their folders hide those below (since 5.11).
            context.flag(c"userxattr")?;
        }
        if upper.is_some() {
            // Nothing of a sandbox survives the machine, so nothing needs to be synced.
            context.flag(c"volatile")?;
        }
        let attributes = ATTRIBUTES
            | if upper.is_some() {
                0
            } else {
                attribute::RDONLY
            };
        match upper {
            Some(upper) if upper.is_mapped => as_inside(self.base, || context.mount(attributes)),
            _ => context.mount(attributes),
        }
    }

    /// Names are relative to the staging folder and two characters long, because the kernel takes
    /// at most 255 in one text: 84 layers.
    fn by_names(
        &self,
        context: &Context,
        lowers: &[OwnedFd],
        upper: Option<&Upper>,
    ) -> io::Result<()> {
        let staging = File::open(self.staging)?;
        nix::unistd::fchdir(&staging)?;
        let mut names = Vec::new();
        for (number, lower) in lowers.iter().enumerate() {
            let name = format!("{number:x}");
            place(&staging, &name, lower.as_fd())?;
            names.push(name);
        }
        context.text(c"lowerdir", &names.join(":"))?;
        if let Some(upper) = upper {
            place(&staging, "upper", upper.mount.as_fd())?;
            context.text(c"upperdir", &format!("upper/{}", upper.dir))?;
            context.text(c"workdir", &format!("upper/{}.work", upper.dir))?;
        }
        Ok(())
    }
}

fn by_files(context: &Context, lowers: &[OwnedFd], upper: Option<&Upper>) -> io::Result<()> {
    for lower in lowers {
        context.file(c"lowerdir+", lower.as_fd())?;
    }
    if let Some(upper) = upper {
        let folder = |name: &str| open_dir(upper.mount.as_fd(), name);
        context.file(c"upperdir", folder(&upper.dir)?.as_fd())?;
        context.file(c"workdir", folder(&format!("{}.work", upper.dir))?.as_fd())?;
    }
    Ok(())
}

fn place(staging: &File, name: &str, mount: BorrowedFd<'_>) -> io::Result<()> {
    match mkdirat(staging, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    attach(mount, open_dir(staging.as_fd(), name)?.as_fd())
}

/// Opens a folder below another, without links.
pub(crate) fn open_dir(at: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(at, path, how)?)
}

/// Makes a folder and those above it, without following links.
pub(crate) fn make_dirs(at: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let mut folder = openat(
        at,
        ".",
        OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    for name in path.split('/') {
        match mkdirat(&folder, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        folder = open_dir(folder.as_fd(), name)?;
    }
    Ok(())
}

/// Does something with files as the inside root: the host's root has no id on a mapped mount and
/// could make nothing there (EOVERFLOW). The capabilities stay, which a change of the file system
/// user would take away.
pub(crate) fn as_inside<T>(base: u32, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    setfsuid(Uid::from_raw(base));
    setfsgid(Gid::from_raw(base));
    let all = all_capabilities()?;
    let result = set_capabilities(all, all).and_then(|()| action());
    setfsgid(Gid::from_raw(0));
    setfsuid(Uid::from_raw(0));
    set_capabilities(all, all)?;
    result
}

/// The permitted capabilities of this process.
fn all_capabilities() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/status")?;
    let value = text.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    value
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
