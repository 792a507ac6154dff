//! Where the nursery lives: a small mount namespace of its own, with the templates of what every
//! sandbox gets.
//!
//! Its `world` is a tmpfs that only this namespace sees, so nothing of it survives the nursery:
//! staging folder, `/dev` template, layers of the sandboxes, volumes.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::Gid;

use super::arguments::Arguments;
use crate::plan::LayerWay;
use crate::sys::mount::{Context, attach, attribute, clone_tree, set_attributes};

/// Bytes of the world: a few files for each sandbox.
const WORLD_BYTES: u64 = 512 * 1024 * 1024;

/// Device nodes of `/dev`: name, major, minor (`admin-guide/devices.txt`).
const DEVICES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// What the nursery's own programs (mkfs, nft, iptables) and it itself need of the host.
const NEEDED: [&str; 12] = [
    "/bin",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/sbin",
    "/sys",
    "/sys/fs/cgroup",
    "/usr",
    "/usr/lib",
    "/usr/sbin",
];

/// The nursery's folders, as its own mount namespace has them.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) run: PathBuf,
    pub(super) data: PathBuf,
    pub(super) stacks: PathBuf,
    pub(super) program: PathBuf,
    pub(super) world: PathBuf,
    /// The group that may read dynos' folders: the run folder's.
    pub(super) group: Gid,
    pub(super) layer_way: LayerWay,
}

impl Home {
    /// Enters a namespace of its own and fills the world.
    pub(super) fn make(arguments: &Arguments) -> io::Result<Self> {
        let run = arguments.run.clone();
        fs::create_dir_all(&run)?;
        let world = run.join("world");
        make_dir(&world, 0o700)?;
        make_dir(&run.join("dynos"), 0o755)?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        let needed = [&run, &arguments.data, &arguments.stacks, &arguments.program];
        forget_mounts(&needed)?;
        let tmpfs = Context::open(c"tmpfs")?;
        tmpfs.text(c"size", &WORLD_BYTES.to_string())?;
        tmpfs.text(c"mode", "0755")?;
        let tmpfs = tmpfs.mount(attribute::NOSUID)?;
        attach(tmpfs.as_fd(), File::open(&world)?.as_fd())?;
        for folder in [
            "layers",
            "volumes",
            "staging",
            "probe",
            "cgroup",
            "cgroup/memory",
        ] {
            make_dir(&world.join(folder), 0o755)?;
        }
        make_devices(&world.join("dev"))?;
        Ok(Self {
            group: Gid::from_raw(fs::metadata(&run)?.gid()),
            layer_way: probe_layers(&world.join("probe"))?,
            run,
            data: arguments.data.clone(),
            stacks: arguments.stacks.clone(),
            program: arguments.program.clone(),
            world,
        })
    }

    /// A read-only clone of a folder or file of the world, detached.
    pub(super) fn template(&self, name: &str) -> io::Result<OwnedFd> {
        read_only_clone(&self.world.join(name))
    }
}

/// A read-only clone of any folder or file, detached; it follows no link.
pub(super) fn read_only_clone(path: &Path) -> io::Result<OwnedFd> {
    let flags =
        nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_CLOEXEC;
    let place = nix::fcntl::open(path, flags, Mode::empty())?;
    let clone = clone_tree(place.as_fd(), false)?;
    set_attributes(
        clone.as_fd(),
        attribute::RDONLY | attribute::NOSUID | attribute::NOEXEC,
        None,
    )?;
    Ok(clone)
}

/// Makes a folder with exactly this mode, if it is not there.
pub(super) fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Unmounts, in this namespace alone, whatever sandboxes would only copy and drop again.
fn forget_mounts(needed: &[&PathBuf]) -> io::Result<()> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let mut mounts: Vec<&Path> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(Path::new)
        .collect();
    // Deepest first.
    mounts.sort_by_key(|at| std::cmp::Reverse(at.components().count()));
    for at in mounts {
        let is_above = |needed: &Path| needed.starts_with(at);
        let is_below = |needed: &Path| at.starts_with(needed);
        let is_needed = NEEDED.iter().any(|n| is_above(Path::new(n)))
            || needed.iter().any(|n| is_above(n) || is_below(n))
            || at.starts_with("/sys/fs/cgroup");
        if is_needed {
            continue;
        }
        match umount2(at, MntFlags::MNT_DETACH) {
            // Gone with a mount above it, or its name has characters that this file escapes.
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn make_devices(dev: &Path) -> io::Result<()> {
    make_dir(dev, 0o755)?;
    for (name, major, minor) in DEVICES {
        let path = dev.join(name);
        mknod(
            &path,
            SFlag::S_IFCHR,
            Mode::from_bits_truncate(0o666),
            makedev(major, minor),
        )?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    for (name, target) in LINKS {
        symlink(target, dev.join(name))?;
    }
    make_dir(&dev.join("shm"), 0o755)?;
    make_dir(&dev.join("pts"), 0o755)
}

/// Finds out by doing it how this kernel takes detached layers. Before Linux 6.5, the key
/// `lowerdir+` is accepted and the overlay then fails.
fn probe_layers(at: &Path) -> io::Result<LayerWay> {
    let mut layers = Vec::new();
    for name in ["a", "b"] {
        make_dir(&at.join(name), 0o755)?;
        layers.push(read_only_clone(&at.join(name))?);
    }
    let by_files = || {
        let overlay = Context::open(c"overlay")?;
        for layer in &layers {
            overlay.file(c"lowerdir+", layer.as_fd())?;
        }
        overlay.mount(attribute::RDONLY)
    };
    Ok(if by_files().is_ok() {
        LayerWay::Files
    } else {
        LayerWay::Names
    })
}
