//! Volumes: ext4 in a file without a name, so that neither outlives its users.
//!
//! The file is opened with `O_TMPFILE` in the data folder: there is nothing to remove after a
//! kill -9. The loop device frees itself with its last mount, and the mount is in the nursery's
//! namespace alone, and in those of the jobs that use it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;

use super::Trouble;
use super::home::{Home, make_dir};
use crate::sys::device::{configure_loop, free_loop, stop_ext4};
use crate::sys::mount::{Context, attach, attribute};
use crate::sys::process;

/// Times that a loop device is looked for again when somebody else took it first.
const LOOP_TRIES: u32 = 16;
/// 4 ms instead of 135 ms: no journal and no table of inodes to write, for nothing is kept.
const FORMAT: [&str; 11] = [
    "-q",
    "-F",
    "-O",
    "^has_journal,^resize_inode",
    "-E",
    "lazy_itable_init=1,nodiscard,root_owner=1000:1000",
    "-N",
    "262144",
    "-m",
    "0",
    "-b4096",
];

/// All volumes.
#[derive(Debug)]
pub(super) struct Volumes {
    folder: PathBuf,
    data: PathBuf,
    all: BTreeMap<String, Volume>,
}

#[derive(Debug)]
struct Volume {
    root: PathBuf,
    /// Ours; the client's end closes when it needs the volume no more.
    lifeline: OwnedFd,
}

/// A volume that mke2fs works on.
#[derive(Debug)]
pub(super) struct Formatting {
    pub(super) id: String,
    /// Readable when mke2fs has ended.
    pub(super) pidfd: OwnedFd,
    child: Child,
    image: File,
}

impl Volumes {
    pub(super) fn new(home: &Home) -> Self {
        Self {
            folder: home.world.join("volumes"),
            data: home.data.clone(),
            all: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The root folder of a volume that is there.
    pub(super) fn root(&self, id: &str) -> Option<PathBuf> {
        self.all.get(id).map(|volume| volume.root.clone())
    }

    /// Our end of its lifeline, to be polled for its hang-up.
    pub(super) fn lifeline(&self, id: &str) -> Option<&OwnedFd> {
        self.all.get(id).map(|volume| &volume.lifeline)
    }

    /// Starts to format a new image.
    pub(super) fn format(&self, id: &str, size_bytes: u64) -> Result<Formatting, Trouble> {
        let begin = || {
            let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
            let image = File::from(open(&self.data, flags, Mode::from_bits_truncate(0o600))?);
            image.set_len(size_bytes)?;
            // For mke2fs alone, which opens it by this number.
            fcntl(&image, FcntlArg::F_SETFD(FdFlag::empty()))?;
            let child = Command::new("mkfs.ext4")
                .args(FORMAT)
                .arg(format!("/proc/self/fd/{}", image.as_raw_fd()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::inherit())
                .spawn();
            fcntl(&image, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
            let child = child?;
            let pid = i32::try_from(child.id()).map_err(|_| io::ErrorKind::InvalidData)?;
            Ok(Formatting {
                id: id.to_owned(),
                pidfd: process::pidfd(pid)?,
                child,
                image,
            })
        };
        begin().map_err(Trouble::failed::<io::Error>(
            "make the image of a volume (e2fsprogs)",
        ))
    }

    /// Mounts what was formatted; returns the client's end of the lifeline.
    pub(super) fn mount(&mut self, mut done: Formatting) -> Result<OwnedFd, Trouble> {
        let mut mount = || {
            let status = done.child.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("mkfs.ext4: {status}")));
            }
            let device = loop_device(&done.image)?;
            let root = self.folder.join(&done.id);
            make_dir(&root, 0o755)?;
            mount_ext4(&device, &root)?;
            fs::remove_dir(root.join("lost+found"))?;
            let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            self.all.insert(
                done.id.clone(),
                Volume {
                    root,
                    lifeline: ours,
                },
            );
            Ok(theirs)
        };
        mount().map_err(Trouble::failed::<io::Error>("mount a volume"))
    }

    /// Unmounts a volume; jobs that still use it keep it until they end.
    pub(super) fn remove(&mut self, id: &str, is_used: bool) -> io::Result<()> {
        let Some(volume) = self.all.remove(id) else {
            return Ok(());
        };
        if !is_used {
            // Otherwise the unmount would write out what nobody will ever read.
            stop_ext4(File::open(&volume.root)?.as_fd())?;
        }
        umount2(&volume.root, MntFlags::MNT_DETACH)?;
        fs::remove_dir(&volume.root)
    }
}

fn loop_device(image: &File) -> io::Result<(PathBuf, File)> {
    let control = File::open("/dev/loop-control")?;
    for _ in 0..LOOP_TRIES {
        let path = PathBuf::from(format!("/dev/loop{}", free_loop(control.as_fd())?));
        let device = File::options().read(true).write(true).open(&path)?;
        match configure_loop(device.as_fd(), image.as_fd()) {
            Ok(()) => return Ok((path, device)),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no free loop device"))
}

/// The device frees itself when this file is closed and the mount is gone.
fn mount_ext4((path, _open): &(PathBuf, File), root: &PathBuf) -> io::Result<()> {
    let ext4 = Context::open(c"ext4")?;
    ext4.text(c"source", &path.to_string_lossy())?;
    ext4.flag(c"nobarrier")?;
    let mount = ext4.mount(attribute::NODEV | attribute::NOSUID)?;
    attach(mount.as_fd(), File::open(root)?.as_fd())
}
