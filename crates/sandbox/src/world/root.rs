//! The root file system as the command sees it, put together and entered.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::overlay::{self, Upper, Workshop, as_inside};
use super::steps::{Fail, Steps, failed};
use crate::plan::{PlannedMount, Root, RootUpper};
use crate::spec::Window;
use crate::sys::device::terminal_inner;
use crate::sys::mount::{Context, attach, attribute};

/// Bytes of `/tmp` where nothing else can be written. Ours.
const SMALL_TMP_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of the folder of secret files, twice what a client may send.
const FILES_BYTES: u64 = 2 * model::limits::SANDBOX_SECRETS_MAX_BYTES;
/// The group of terminals on Debian.
const TTY_GROUP: u32 = 5;

const QUIET: u64 = attribute::NODEV | attribute::NOSUID;

/// What is masked, with a clone of `/dev/null` each: the rest of `/proc` refuses whoever is not the
/// host's root, which nobody inside is.
pub(crate) const MASKED: [&str; 4] = [
    "proc/kcore",
    "proc/keys",
    "proc/timer_list",
    "proc/sysrq-trigger",
];

/// A root that is attached in the staging folder.
#[derive(Debug)]
pub(crate) struct Made {
    root: OwnedFd,
    /// The mount for secret files, if the spec has one.
    pub(crate) files: Option<OwnedFd>,
    base: u32,
}

/// Puts the root together. `seen`: what comes on `/sys/fs/cgroup`, and on its `memory`.
pub(crate) fn make(
    root: Root,
    seen: &(OwnedFd, OwnedFd),
    mounts: Vec<PlannedMount>,
    steps: &mut Steps,
) -> Result<Made, Fail> {
    let Root {
        way,
        staging,
        lowers,
        upper,
        dev,
        masks,
        base,
    } = root;
    let workshop = Workshop {
        way,
        staging: &staging,
        base,
    };
    let is_read_only = matches!(upper, RootUpper::ReadOnly);
    let upper = match upper {
        RootUpper::ReadOnly => None,
        RootUpper::Memory { max_bytes } => {
            Some(Upper::memory(max_bytes, base).map_err(failed("make the upper folder"))?)
        }
        RootUpper::Volume { root, dir } => {
            let upper = Upper::volume(root, dir, base);
            Some(upper.map_err(failed("make the upper folder in the volume"))?)
        }
    };
    steps.done("upper");
    let mounted = workshop.overlay(&lowers, upper.as_ref());
    let mounted = mounted.map_err(failed("lay the root file system over its layers"))?;
    attach_root(&staging, mounted.as_fd()).map_err(failed("attach the root file system"))?;
    let mut made = Made {
        root: mounted,
        files: None,
        base,
    };
    steps.done("root");
    made.attach_system(&dev, seen, &masks)?;
    steps.done("system");
    if is_read_only {
        for to in ["/tmp", "/var/tmp"] {
            made.attach_tmpfs(to, SMALL_TMP_BYTES)
                .map_err(failed("make a place for temporary files"))?;
        }
    }
    for mount in mounts {
        let to = mount.to().to_owned();
        made.attach_mount(mount, workshop)
            .map_err(failed(&format!("mount {to}")))?;
    }
    steps.done("mounts");
    Ok(made)
}

fn attach_root(staging: &str, root: BorrowedFd<'_>) -> io::Result<()> {
    attach(root, File::open(format!("{staging}/root"))?.as_fd())
}

impl Made {
    /// Mounts `/proc`, `/sys` and `/dev`.
    fn attach_system(
        &self,
        dev: &OwnedFd,
        seen: &(OwnedFd, OwnedFd),
        masks: &[OwnedFd],
    ) -> Result<(), Fail> {
        let proc = || {
            let proc = Context::open(c"proc")?;
            proc.text(c"hidepid", "invisible")?;
            let proc = proc.mount(QUIET | attribute::NOEXEC)?;
            self.attach(proc.as_fd(), "/proc")?;
            let mut paired = masks.iter().zip(MASKED);
            paired.try_for_each(|(mask, path)| self.attach_if_there(mask.as_fd(), path))
        };
        proc().map_err(failed("mount /proc"))?;
        let sys = || {
            let sys = Context::open(c"sysfs")?;
            let sys = sys.mount(QUIET | attribute::NOEXEC | attribute::RDONLY)?;
            self.attach(sys.as_fd(), "/sys")?;
            self.attach(seen.0.as_fd(), "/sys/fs/cgroup")?;
            self.attach(seen.1.as_fd(), "/sys/fs/cgroup/memory")
        };
        sys().map_err(failed("mount /sys"))?;
        let devices = || {
            self.attach(dev.as_fd(), "/dev")?;
            self.attach_tmpfs("/dev/shm", model::limits::SANDBOX_SHM_MAX_BYTES)
        };
        devices().map_err(failed("mount /dev"))
    }

    fn attach_mount(&mut self, mount: PlannedMount, workshop: Workshop<'_>) -> io::Result<()> {
        match mount {
            PlannedMount::Tree { mount, to } => self.attach(mount.as_fd(), &to),
            PlannedMount::Overlay {
                lowers,
                volume,
                dir,
                to,
            } => {
                let upper = Upper::volume(volume, dir, self.base)?;
                let mount = workshop.overlay(&lowers, Some(&upper))?;
                self.attach(mount.as_fd(), &to)
            }
            PlannedMount::Files { to } => {
                let tmpfs = tmpfs(FILES_BYTES, "0755")?;
                self.attach(tmpfs.as_fd(), &to)?;
                self.files = Some(tmpfs);
                Ok(())
            }
            PlannedMount::Tmpfs { to, max_bytes } => self.attach_tmpfs(&to, max_bytes),
        }
    }

    fn attach_tmpfs(&self, to: &str, max_bytes: u64) -> io::Result<()> {
        self.attach(tmpfs(max_bytes, "1777")?.as_fd(), to)
    }

    /// Attaches at a path inside. What is missing there is made, which works in writable mounts
    /// only: in the root, the nursery has made every target in a layer of its own.
    fn attach(&self, mount: BorrowedFd<'_>, to: &str) -> io::Result<()> {
        let on = match self.inside(to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                as_inside(self.base, || self.make_target(mount, to))?;
                self.inside(to)?
            }
            other => other?,
        };
        attach(mount, on.as_fd())
    }

    fn attach_if_there(&self, mount: BorrowedFd<'_>, to: &str) -> io::Result<()> {
        match self.inside(to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => attach(mount, other?.as_fd()),
        }
    }

    fn make_target(&self, mount: BorrowedFd<'_>, to: &str) -> io::Result<()> {
        let path = to.trim_start_matches('/');
        if is_dir(mount)? {
            return overlay::make_dirs(self.root.as_fd(), path);
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        if parent != "." {
            overlay::make_dirs(self.root.as_fd(), parent)?;
        }
        let parent = overlay::open_dir(self.root.as_fd(), parent)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        openat(&parent, name, flags, Mode::from_bits_truncate(0o644))?;
        Ok(())
    }

    /// Opens a path inside as a place to mount on; links are refused, `..` stays inside.
    fn inside(&self, path: &str) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
        Ok(openat2(&self.root, path, how)?)
    }

    /// Makes a terminal: its outer and its inner side.
    pub(crate) fn terminal(&self, window: Window) -> Result<(OwnedFd, OwnedFd), Fail> {
        let make = || {
            let devpts = Context::open(c"devpts")?;
            devpts.text(c"ptmxmode", "0666")?;
            devpts.text(c"mode", "0620")?;
            devpts.text(c"gid", &(self.base + TTY_GROUP).to_string())?;
            let devpts = devpts.mount(attribute::NOSUID | attribute::NOEXEC)?;
            self.attach(devpts.as_fd(), "/dev/pts")?;
            let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
            let outer = openat(&devpts, "ptmx", flags, Mode::empty())?;
            let inner = terminal_inner(outer.as_fd(), window.rows, window.columns)?;
            Ok::<_, io::Error>((outer, inner))
        };
        make().map_err(failed("make a terminal"))
    }

    /// Makes it the root of this process; the nursery's root and mounts are gone from here.
    pub(crate) fn enter(&self) -> Result<(), Fail> {
        let enter = || {
            nix::unistd::fchdir(&self.root)?;
            nix::unistd::pivot_root(".", ".")?;
            umount2(".", MntFlags::MNT_DETACH)?;
            nix::unistd::chdir("/")
        };
        enter().map_err(failed("enter the root file system"))
    }
}

fn tmpfs(max_bytes: u64, mode: &str) -> io::Result<OwnedFd> {
    let tmpfs = Context::open(c"tmpfs")?;
    tmpfs.text(c"size", &max_bytes.to_string())?;
    tmpfs.text(c"nr_inodes", &overlay::inodes(max_bytes).to_string())?;
    tmpfs.text(c"mode", mode)?;
    tmpfs.mount(QUIET)
}

fn is_dir(mount: BorrowedFd<'_>) -> io::Result<bool> {
    let kind = SFlag::from_bits_truncate(fstat(mount)?.st_mode) & SFlag::S_IFMT;
    Ok(kind == SFlag::S_IFDIR)
}
