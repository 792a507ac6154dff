//! The sandboxes that there are: starting, running, ended, being removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::Trouble;
use super::folder::{self, Networked};
use super::home::Home;
use super::ids::Slot;
use super::layer::Layer;
use super::ports::Port;
use crate::cgroup::{Cgroups, Group};
use crate::spec::{Kind, Network};
use crate::sys::process;
use crate::wire::Answer;

/// How long the death of what a former nursery left is waited for.
const BURIAL: Duration = Duration::from_secs(5);

/// One sandbox.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) id: String,
    pub(super) kind: Kind,
    /// Of a job: its number, which gives ids and seat.
    pub(super) number: Option<u16>,
    pub(super) networked: Networked,
    pub(super) pid: i32,
    pub(super) start_time: u64,
    /// `None`: the processes are gone.
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) group: Group,
    /// The number by which the kernel knows its group; 0: it is gone.
    pub(super) cgroup: u64,
    /// Of a dyno whose port somebody wants to know about.
    pub(super) port: Option<Port>,
    /// Of one that this nursery made.
    pub(super) layer: Option<Layer>,
    pub(super) volumes: Vec<String>,
    pub(super) state: State,
}

/// How far a sandbox is.
#[derive(Debug)]
pub(super) enum State {
    /// Its child is on the way to the command.
    Starting(Box<Starting>),
    /// The command runs, or has ended as a dyno whose remains are still wanted.
    Started,
    /// It is being removed; then these clients get these answers.
    Ending { clients: Vec<(u32, Answer)> },
}

/// A start under way.
#[derive(Debug)]
pub(super) struct Starting {
    pub(super) client: u32,
    pub(super) since: Instant,
    pub(super) channel: OwnedFd,
    pub(super) steps: Vec<(String, u32)>,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) failure: Option<String>,
    /// The client's ends of a job's pipes.
    pub(super) job: Option<(OwnedFd, OwnedFd)>,
}

/// All sandboxes, each with a number that is never given out twice.
#[derive(Debug, Default)]
pub(super) struct Table {
    all: BTreeMap<u32, Sandbox>,
    next: u32,
}

impl Sandbox {
    /// The ids that it has.
    pub(super) fn slot(&self) -> Slot {
        match self.kind {
            Kind::Dyno { slot } => Slot::of_dyno(slot),
            Kind::Job => Slot::of_job(self.number.unwrap_or_default()),
        }
    }

    /// The dyno net that it has a place in.
    pub(super) const fn dyno_net(&self) -> Option<u8> {
        match self.networked.network {
            Network::Central { net, .. } => Some(net),
            _ => None,
        }
    }

    /// Where its group is.
    pub(super) const fn tree(&self) -> Tree {
        Tree::of(self.kind, self.networked.network)
    }

    /// Kills it with its keeper: a pid namespace dies with its first process.
    pub(super) fn kill(&self) -> io::Result<()> {
        let Some(pidfd) = &self.pidfd else {
            return Ok(());
        };
        match process::send_signal(pidfd.as_fd(), libc::SIGKILL, None) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Lets a start fail for a reason of ours: the closed channel then decides.
    pub(super) fn fail(&mut self, reason: String) {
        if let Err(error) = self.kill() {
            super::say(&format!("kill {}: {error}", self.id));
        }
        if let State::Starting(starting) = &mut self.state {
            starting.failure = Some(reason);
        }
    }

    /// Notes that its processes are gone, and lets the kernel forget them.
    pub(super) fn bury(&mut self) {
        self.pidfd = None;
        match waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(_) | Err(Errno::ECHILD) => {} // not ours: a former nursery's
            Err(error) => super::say(&format!("bury {}: {error}", self.id)),
        }
    }

    /// Removes what is left, once its processes are gone; false: not yet.
    pub(super) fn remove_rest(&mut self, home: &Home) -> io::Result<bool> {
        if self.pidfd.is_some() {
            return Ok(false);
        }
        match self.group.remove() {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Ok(false),
            other => other?,
        }
        if let Kind::Dyno { slot } = self.kind {
            folder::remove(&folder::path(home, slot))?;
        }
        self.layer = None;
        Ok(true)
    }
}

impl Table {
    /// Finds what a former nursery left: keeps dynos, living or ended; removes jobs.
    pub(super) fn take_over(home: &Home, cgroups: &Cgroups) -> io::Result<Self> {
        let mut table = Self::default();
        for entry in std::fs::read_dir(home.run.join("dynos"))? {
            let entry = entry?;
            if let Some(slot) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                table.adopt(slot, home, cgroups)?;
            }
        }
        for tree in Tree::ALL {
            for name in cgroups.list(tree.path())? {
                let known = table.find(&format!("dyno-{name}"));
                if known.is_ok_and(|dyno| dyno.tree() == tree) {
                    continue;
                }
                remove_stray(&cgroups.group(&format!("{}/{name}", tree.path())))?;
            }
        }
        Ok(table)
    }

    fn adopt(&mut self, slot: u16, home: &Home, cgroups: &Cgroups) -> io::Result<()> {
        let at = folder::path(home, slot);
        let living = folder::living(&at);
        let pidfd = match living.map(|(pid, _)| process::pidfd(pid)).transpose() {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => None,
            other => other?,
        };
        let (pid, start_time) = living.unwrap_or_default();
        let kind = Kind::Dyno { slot };
        let networked = folder::networked(&at)?;
        let group = cgroups.group(&group_path("", kind, Tree::of(kind, networked.network)));
        if pidfd.is_none() {
            // The former nursery may have died before it noted the pid: nobody was told of it.
            kill_all(&group)?;
        }
        self.add(Sandbox {
            id: format!("dyno-{slot}"),
            kind,
            number: None,
            networked,
            pid,
            start_time,
            pidfd,
            // One whose removal was under way has none any more.
            cgroup: group.id().unwrap_or(0),
            group,
            port: Port::open(home, slot, networked)?,
            layer: None,
            volumes: Vec::new(),
            state: State::Started,
        });
        Ok(())
    }

    pub(super) fn add(&mut self, sandbox: Sandbox) -> u32 {
        let number = self.next;
        self.next += 1;
        self.all.insert(number, sandbox);
        number
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Sandbox> {
        self.all.get_mut(&number)
    }

    pub(super) fn take(&mut self, number: u32) -> Option<Sandbox> {
        self.all.remove(&number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Sandbox)> {
        self.all.iter().map(|(number, sandbox)| (*number, sandbox))
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = (u32, &mut Sandbox)> {
        self.all
            .iter_mut()
            .map(|(number, sandbox)| (*number, sandbox))
    }

    pub(super) fn find_id(&self, id: &str) -> Option<u32> {
        self.iter()
            .find(|(_, sandbox)| sandbox.id == id)
            .map(|(number, _)| number)
    }

    /// The sandbox that has this id.
    pub(super) fn find(&self, id: &str) -> Result<&Sandbox, Trouble> {
        let found = self.all.values().find(|sandbox| sandbox.id == id);
        found.ok_or_else(|| Trouble::unknown(id))
    }

    /// The lowest number that no job has; `None`: all are taken.
    pub(super) fn free_job_number(&self) -> Option<u16> {
        let max = u16::try_from(model::limits::JOBS_MAX).unwrap_or(u16::MAX);
        (0..max).find(|number| !self.all.values().any(|s| s.number == Some(*number)))
    }

    /// The ids that are taken.
    pub(super) fn slots(&self) -> BTreeSet<Slot> {
        self.all.values().map(Sandbox::slot).collect()
    }

    /// Whether somebody may be on his way to the command.
    pub(super) fn is_starting(&self) -> bool {
        self.all
            .values()
            .any(|s| matches!(s.state, State::Starting(_)))
    }

    /// The sandbox of this cgroup.
    pub(super) fn of_cgroup(&mut self, cgroup: u64) -> Option<&mut Sandbox> {
        self.all.values_mut().find(|s| s.cgroup == cgroup)
    }

    /// Whether a dyno has a place in this dyno net.
    pub(super) fn is_net_used(&self, net: u8) -> bool {
        self.all.values().any(|s| s.dyno_net() == Some(net))
    }

    pub(super) fn is_volume_used(&self, id: &str) -> bool {
        self.all
            .values()
            .any(|sandbox| sandbox.volumes.iter().any(|v| v == id))
    }
}

/// Where the groups of sandboxes are, below the instance's. The port policy of central mode hangs
/// on one of them alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tree {
    Central,
    /// All other dynos.
    Isolated,
    Jobs,
}

impl Tree {
    const ALL: [Self; 3] = [Self::Central, Self::Isolated, Self::Jobs];

    pub(super) const fn of(kind: Kind, network: Network) -> Self {
        match (kind, network) {
            (Kind::Job, _) => Self::Jobs,
            (Kind::Dyno { .. }, Network::Central { .. }) => Self::Central,
            (Kind::Dyno { .. }, _) => Self::Isolated,
        }
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Central => "dynos/central",
            Self::Isolated => "dynos/isolated",
            Self::Jobs => "jobs",
        }
    }
}

/// The group of a sandbox, relative to the instance's.
pub(super) fn group_path(id: &str, kind: Kind, tree: Tree) -> String {
    match kind {
        Kind::Dyno { slot } => format!("{}/{slot}", tree.path()),
        Kind::Job => format!("{}/{id}", tree.path()),
    }
}

/// Kills and removes a group that nobody knows.
fn remove_stray(group: &Group) -> io::Result<()> {
    let since = Instant::now();
    loop {
        kill_all(group)?;
        match group.remove() {
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && since.elapsed() < BURIAL =>
            {
                // The kernel buries a little later than it tells.
                poll(&mut [], PollTimeout::from(1_u8))?;
            }
            other => return other,
        }
    }
}

/// Kills the processes of a group and waits for their end.
fn kill_all(group: &Group) -> io::Result<()> {
    let mut dying = Vec::new();
    for pid in group.processes()? {
        if let Ok(pidfd) = process::pidfd(pid) {
            match process::send_signal(pidfd.as_fd(), libc::SIGKILL, None) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
                _ => dying.push(pidfd),
            }
        }
    }
    for pidfd in &dying {
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(1000_u16))?;
    }
    Ok(())
}
