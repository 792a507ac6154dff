//! Taking all groups of an instance away, with whatever still runs in them.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{mounted, v2};

/// How long the kernel may take to bury the killed.
const BURIAL: Duration = Duration::from_secs(10);
/// How often a v1 folder is tried again: v1 has no event for "empty".
const AGAIN_MS: u16 = 10;

/// Folders of a root in which sandboxes run; and in a scope, the one that holds it.
const PARTS: [&str; 3] = ["dynos", "jobs", "hold"];

/// Kills every process in the groups of sandboxes and removes all groups of the instance. What
/// is gone already is fine; `own_v2` is where a v2 tree may be mounted if nobody has done it.
///
/// Each sandbox has its processes in the v2 tree, so killing there is enough in both worlds.
pub(crate) fn remove_all(instance: &str, own_v2: &Path) -> io::Result<()> {
    let mounts = mounted(&fs::read_to_string("/proc/self/mountinfo")?);
    let tree = mounts.iter().find(|mount| mount.is_v2);
    let tree = tree.map_or_else(|| v2::mount(own_v2), |mount| Ok(mount.at.clone()))?;
    let roots = v2::places(&tree, instance);
    for root in &roots {
        for part in PARTS {
            kill(&root.join(part))?;
        }
    }
    let until = Instant::now() + BURIAL;
    let v1 = mounts.iter().filter(|mount| !mount.is_v2);
    let v1: Vec<PathBuf> = v1.map(|mount| mount.at.join(instance)).collect();
    for root in v1.iter().chain(&roots) {
        remove_below(root, until)?;
        remove(root, until)?;
    }
    Ok(())
}

/// `cgroup.kill` (Linux 5.14) kills a whole tree at once; then waits until all of it is dead.
fn kill(at: &Path) -> io::Result<()> {
    match fs::write(at.join("cgroup.kill"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    let until = Instant::now() + BURIAL;
    loop {
        // systemd removes an empty scope by itself.
        let Some((events, text)) = events(at)? else {
            return Ok(());
        };
        if text.lines().any(|line| line == "populated 0") {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut change = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        if poll(&mut change, timeout)? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// `cgroup.events` and what it says now; none when the folder is gone.
fn events(at: &Path) -> io::Result<Option<(File, String)>> {
    let read = || {
        let events = File::open(at.join("cgroup.events"))?;
        let text = io::read_to_string(&events)?;
        Ok((events, text))
    };
    match read() {
        Ok(both) => Ok(Some(both)),
        // ENODEV: gone between the two.
        Err::<_, io::Error>(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ENODEV) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn remove_below(at: &Path, until: Instant) -> io::Result<()> {
    let entries = match fs::read_dir(at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    for folder in folders {
        remove_below(&folder, until)?;
        remove(&folder, until)?;
    }
    Ok(())
}

/// EBUSY: the kernel still buries processes.
fn remove(at: &Path, until: Instant) -> io::Result<()> {
    loop {
        match fs::remove_dir(at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                poll(&mut [], AGAIN_MS)?;
            }
            other => return other,
        }
    }
}
