//! Taking all groups of an instance away, with whatever still runs in them.

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Cgroups, mounted};

/// How long the kernel may take to bury the killed.
const BURIAL: Duration = Duration::from_secs(10);
/// How often a v1 folder is tried again: v1 has no event for "empty".
const AGAIN_MS: u16 = 10;

impl Cgroups {
    /// Kills every process in the groups of sandboxes and removes all groups of the instance. What
    /// is gone already is fine.
    ///
    /// Each sandbox has its processes in the v2 tree, so killing there is enough in both worlds.
    pub(crate) fn remove_all(&self, instance: &str) -> io::Result<()> {
        let mut v2 = vec![self.v2.root.clone()];
        // With systemd the instance's folder is the unit's; whoever removes is not in the unit.
        let mounts = mounted(&fs::read_to_string("/proc/self/mountinfo")?);
        let units = mounts.iter().filter(|mount| mount.is_v2);
        v2.extend(units.map(|mount| mount.at.join(format!("system.slice/{instance}.service"))));
        for root in &v2 {
            for part in ["dynos", "jobs"] {
                kill(&root.join(part))?;
            }
        }
        let until = Instant::now() + BURIAL;
        for root in self.v1.iter().map(|tree| &tree.root) {
            remove_below(root, until)?;
            remove(root, until)?;
        }
        for root in &v2 {
            for part in ["dynos", "jobs"] {
                remove_below(&root.join(part), until)?;
                remove(&root.join(part), until)?;
            }
        }
        remove(&self.v2.root, until)
    }
}

/// `cgroup.kill` (Linux 5.14) kills a whole tree at once; then waits until all of it is dead.
fn kill(at: &Path) -> io::Result<()> {
    match fs::write(at.join("cgroup.kill"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    let until = Instant::now() + BURIAL;
    let mut events = File::open(at.join("cgroup.events"))?;
    loop {
        events.rewind()?;
        let text = io::read_to_string(&events)?;
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
