//! A process by pid and start time, and which build of a program it runs.

use anyhow::Context as _;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use sandbox::handle::Handle;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// Who a process is, for as long as the machine runs: pids are given out again, start times not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Identity {
    /// Its pid.
    pub(crate) pid: i32,
    /// Field 22 of `/proc/PID/stat` (proc(5)): clock ticks from boot to its start.
    pub(crate) start_time: u64,
}

/// A program's file as of one moment: a new build is another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Build {
    device: u64,
    inode: u64,
    modified_ns: i64,
    size_bytes: u64,
}

impl Identity {
    /// Of the process that has this pid now.
    pub(crate) fn of(pid: i32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let start_time = start_time(&stat).with_context(|| format!("cannot understand {path}"))?;
        Ok(Self { pid, start_time })
    }

    /// A handle on it; none when it has ended.
    pub(crate) fn open(self) -> Option<Handle> {
        let handle = Handle::open(self.pid).ok()?;
        // In this order: what the handle refers to is what the file describes, or it has ended.
        (!is_zombie(self.pid) && Self::of(self.pid).ok()? == self).then_some(handle)
    }

    /// Which build of its program it runs, also when the file was replaced or removed since.
    pub(crate) fn build(self) -> Option<Build> {
        Build::of(Path::new(&format!("/proc/{}/exe", self.pid))).ok()
    }
}

impl Build {
    /// Of a program's file.
    pub(crate) fn of(program: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(program)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
            size_bytes: metadata.size(),
        })
    }
}

/// A process that the supervisor watches, its child or not.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) identity: Identity,
    handle: AsyncFd<Handle>,
}

impl Process {
    /// Watches a living process; none when it has ended.
    pub(crate) fn watch(identity: Identity) -> anyhow::Result<Option<Self>> {
        let Some(handle) = identity.open() else {
            return Ok(None);
        };
        #[expect(
            deprecated,
            reason = "the other form is unsafe, for descriptors that change; a handle's does not"
        )]
        let handle = AsyncFd::with_interest(handle, tokio::io::Interest::READABLE)?;
        Ok(Some(Self { identity, handle }))
    }

    /// Waits for its end and says how it ended. Cancel-safe.
    pub(crate) async fn ended(&self) -> String {
        match self.handle.readable().await {
            Ok(mut guard) => guard.retain_ready(),
            Err(error) => tracing::error!(%error, "cannot wait for a process"),
        }
        match waitpid(Pid::from_raw(self.identity.pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => format!("exit status {code}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => format!("signal {signal}"),
            // Not our child: init has its status.
            _ => "status unknown".to_owned(),
        }
    }

    /// Sends a signal; one that has ended gets none.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        if let Err(error) = self.handle.get_ref().signal(signal as i32) {
            tracing::debug!(%error, pid = self.identity.pid, "cannot signal, it has ended");
        }
    }
}

/// The name in the second field may hold blanks and parentheses; what follows the last one is
/// plain.
fn start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn is_zombie(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(stat.rsplit_once(')')?.1.trim_start().starts_with('Z')))
        .unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times() {
        let rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for (text, expected) in [
            (format!("12 (paas){rest}"), Some(4711)),
            (format!("12 (a) b){rest}"), Some(4711)),
            (String::new(), None),
        ] {
            assert_eq!(start_time(&text), expected, "{text}");
        }
    }

    #[test]
    fn this_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = Identity::of(pid).unwrap();
        assert!(own.open().is_some());
        let exe = std::env::current_exe().unwrap();
        assert_eq!(own.build(), Some(Build::of(&exe).unwrap()));
        let other = Identity {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(other.open().is_none());
    }
}
