//! The v1 controllers of a hybrid machine. File names: the kernel's `admin-guide/cgroup-v1`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{MemoryWatch, keyed, number, oom_kills};
use crate::spec::Limits;
use crate::wire::Usage;

/// The controllers that a sandbox joins; processor time is told by the v2 tree even here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Cpu,
    Pids,
}

/// One hierarchy, at the instance's folder.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) controller: Controller,
    pub(super) root: PathBuf,
}

impl Controller {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }
}

impl Tree {
    pub(super) const fn new(controller: Controller, root: PathBuf) -> Self {
        Self { controller, root }
    }
}

/// Makes a folder; the parents are made when missing.
pub(super) fn make(at: &Path) -> io::Result<()> {
    match std::fs::create_dir(at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(at),
        other => other,
    }
}

/// Writes a folder's limits.
pub(super) fn limit(controller: Controller, at: &Path, limits: &Limits) -> io::Result<()> {
    let write = |file: &str, value: u64| std::fs::write(at.join(file), value.to_string());
    match controller {
        Controller::Memory => {
            write("memory.limit_in_bytes", limits.memory_max_bytes)?;
            // After the line above: the sum of memory and swap is never below memory. Absent when
            // the kernel was started without swap accounting.
            match write("memory.memsw.limit_in_bytes", limits.memory_max_bytes) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        }
        Controller::Cpu => write("cpu.shares", shares(limits.cpu_weight)),
        Controller::Pids => write("pids.max", u64::from(limits.pids_max) + 1),
    }
}

/// v1 shares for a v2 weight: 1,024 for 100, at least 2.
fn shares(weight: u32) -> u64 {
    (u64::from(weight) * 1024 / 100).max(2)
}

/// An event for each time that memory runs out, registered by a write to `cgroup.event_control`.
pub(super) fn watch_memory(at: &Path) -> io::Result<MemoryWatch> {
    let counter = File::open(at.join("memory.oom_control"))?;
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let line = format!("{} {}", event.as_raw_fd(), counter.as_raw_fd());
    std::fs::write(at.join("cgroup.event_control"), line)?;
    Ok(MemoryWatch {
        event: Some(event.into()),
        counter,
    })
}

/// Adds what this controller knows.
pub(super) fn usage(controller: Controller, at: &Path, usage: &mut Usage) -> io::Result<()> {
    match controller {
        Controller::Memory => {
            let stat = std::fs::read_to_string(at.join("memory.stat"))?;
            let cache = keyed(&stat, "total_inactive_file") + keyed(&stat, "total_active_file");
            usage.memory_bytes = number(&at.join("memory.usage_in_bytes"))?;
            usage.memory_without_cache_bytes = usage.memory_bytes.saturating_sub(cache);
            usage.memory_peak_bytes = number(&at.join("memory.max_usage_in_bytes"))?;
            usage.oom_kills = oom_kills(&std::fs::read_to_string(at.join("memory.oom_control"))?);
        }
        Controller::Cpu => {}
        Controller::Pids => usage.pids = number(&at.join("pids.current"))?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_become_shares() {
        for (weight, wanted) in [(100, 1024), (1, 10), (10_000, 102_400)] {
            assert_eq!(shares(weight), wanted);
        }
    }
}
