//! The root file system as the command sees it, put together and entered.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};

use super::overlay::{self, Upper, Workshop, as_inside};
use super::steps::{Fail, Steps, failed};
use crate::plan::{LayerWay, PlannedMount, RootUpper};
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

/// An empty root of its own in which `/proc`, `/sys` and `/dev` wait to be moved into a real one.
/// Nothing of the nursery's mounts is left.
#[derive(Debug)]
pub(crate) struct Stage {
    root: OwnedFd,
    way: LayerWay,
    /// The host's id of the inside 0.
    base: u32,
}

/// What an order says about the root.
#[derive(Debug)]
pub(crate) struct Layers {
    /// Topmost first.
    pub(crate) lowers: Vec<OwnedFd>,
    pub(crate) upper: RootUpper,
    /// The command's user and group on the host.
    pub(crate) owner: (u32, u32),
}

/// A root that is attached in the stage.
#[derive(Debug)]
pub(crate) struct Made {
    root: OwnedFd,
    base: u32,
    owner: (u32, u32),
}

/// Folders of the stage: where the root goes, and what waits for it.
const ROOT: &str = "root";
const WAITING: [&str; 3] = ["proc", "sys", "dev"];
/// Bytes of the stage, which holds folders alone.
const STAGE_BYTES: u64 = 64 * 1024;

impl Stage {
    /// Makes it this process's root, by way of a folder of the nursery.
    pub(crate) fn make(staging: &str, way: LayerWay, base: u32) -> io::Result<Self> {
        let root = tmpfs(STAGE_BYTES, "0755")?;
        for name in WAITING.into_iter().chain([ROOT]) {
            mkdirat(&root, name, Mode::from_bits_truncate(0o755))?;
        }
        attach(root.as_fd(), File::open(staging)?.as_fd())?;
        enter(&root)?;
        leave_stage()?;
        Ok(Self { root, way, base })
    }

    /// Mounts `/proc`, `/sys` and `/dev`. `seen`: what comes on `/sys/fs/cgroup`, and on its
    /// `memory`.
    pub(crate) fn fill(
        &self,
        dev: &OwnedFd,
        seen: &(OwnedFd, Option<OwnedFd>),
        masks: &[OwnedFd],
    ) -> Result<(), Fail> {
        let proc = || {
            let proc = Context::open(c"proc")?;
            proc.text(c"hidepid", "invisible")?;
            let proc = proc.mount(QUIET | attribute::NOEXEC)?;
            attach(proc.as_fd(), self.inside("proc")?.as_fd())?;
            let mut paired = masks.iter().zip(MASKED);
            paired.try_for_each(|(mask, path)| self.attach_if_there(mask.as_fd(), path))
        };
        proc().map_err(failed("mount /proc"))?;
        let sys = || {
            let sys = Context::open(c"sysfs")?;
            let sys = sys.mount(QUIET | attribute::NOEXEC | attribute::RDONLY)?;
            attach(sys.as_fd(), self.inside("sys")?.as_fd())?;
            attach(seen.0.as_fd(), self.inside("sys/fs/cgroup")?.as_fd())
        };
        sys().map_err(failed("mount /sys"))?;
        if let Some(memory) = &seen.1 {
            self.see(memory).map_err(failed("mount /sys"))?;
        }
        let devices = || {
            attach(dev.as_fd(), self.inside("dev")?.as_fd())?;
            let shm = tmpfs(model::limits::SANDBOX_SHM_MAX_BYTES, "1777")?;
            attach(shm.as_fd(), self.inside("dev/shm")?.as_fd())
        };
        devices().map_err(failed("mount /dev"))
    }

    /// Mounts what old programs read about memory.
    pub(crate) fn see_memory(&self, memory: Option<OwnedFd>) -> Result<(), Fail> {
        memory.map_or(Ok(()), |memory| {
            self.see(&memory)
                .map_err(failed("mount /sys/fs/cgroup/memory"))
        })
    }

    fn see(&self, memory: &OwnedFd) -> io::Result<()> {
        let at = self.inside("sys/fs/cgroup/memory")?;
        attach(memory.as_fd(), at.as_fd())
    }

    /// Lays the root over its layers, mounts what belongs in it, and last moves what waited: it
    /// takes `/proc` to make a target in a volume.
    pub(crate) fn lay(
        &self,
        layers: Layers,
        mounts: Vec<PlannedMount>,
        steps: &mut Steps,
    ) -> Result<Made, Fail> {
        let Layers {
            lowers,
            upper,
            owner,
        } = layers;
        let base = self.base;
        let workshop = Workshop {
            way: self.way,
            staging: "/",
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
        let root = workshop.overlay(&lowers, upper.as_ref());
        let root = root.map_err(failed("lay the root file system over its layers"))?;
        let made = Made { root, base, owner };
        let at = self.inside(ROOT).map_err(failed("find the empty root"))?;
        attach(made.root.as_fd(), at.as_fd()).map_err(failed("attach the root file system"))?;
        steps.done("root");
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
        for name in WAITING {
            let moved = self
                .inside(name)
                .and_then(|fd| made.attach(fd.as_fd(), name));
            moved.map_err(failed(&format!("move /{name}")))?;
        }
        steps.done("system");
        Ok(made)
    }

    fn attach_if_there(&self, mount: BorrowedFd<'_>, to: &str) -> io::Result<()> {
        match self.inside(to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => attach(mount, other?.as_fd()),
        }
    }

    fn inside(&self, path: &str) -> io::Result<OwnedFd> {
        inside(&self.root, path)
    }
}

impl Made {
    fn attach_mount(&self, mount: PlannedMount, workshop: Workshop<'_>) -> io::Result<()> {
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
                // The command's process fills it as the user that it will be.
                let (uid, gid) = self.owner;
                let tmpfs = Context::open(c"tmpfs")?;
                tmpfs.text(c"size", &FILES_BYTES.to_string())?;
                tmpfs.text(c"mode", "0700")?;
                tmpfs.text(c"uid", &uid.to_string())?;
                tmpfs.text(c"gid", &gid.to_string())?;
                self.attach(tmpfs.mount(QUIET)?.as_fd(), &to)
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

    fn inside(&self, path: &str) -> io::Result<OwnedFd> {
        inside(&self.root, path)
    }

    /// Makes a terminal: its outer and its inner side.
    pub(crate) fn terminal(
        &self,
        window: Window,
        (uid, gid): (u32, u32),
    ) -> Result<(OwnedFd, OwnedFd), Fail> {
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
            fchown(&inner, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            Ok::<_, io::Error>((outer, inner))
        };
        make().map_err(failed("make a terminal"))
    }

    /// Makes it the root of this process and of the command's.
    pub(crate) fn enter(&self) -> Result<(), Fail> {
        enter(&self.root).map_err(failed("enter the root file system"))
    }
}

/// Makes an attached mount the root; the kernel takes along every process whose root was the same.
/// The former one is then mounted over it, where no path but `/..` leads.
fn enter(root: &OwnedFd) -> io::Result<()> {
    nix::unistd::fchdir(root)?;
    Ok(nix::unistd::pivot_root(".", ".")?)
}

/// Lets go of the former root. This waits for all processors (0.1 to 10 ms on a busy machine), so
/// the command goes ahead meanwhile: all that it could find there are empty folders.
pub(crate) fn leave_stage() -> io::Result<()> {
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(nix::unistd::chdir("/")?)
}

/// Opens a path below a root as a place to mount on; links are refused, `..` stays inside.
fn inside(root: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(root, path, how)?)
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
