//! The cgroup of a sandbox: limits, accounting, the want of memory.
//!
//! Two worlds, told apart by looking: v2 alone, and v1 controllers beside a v2 tree without any
//! (hybrid). A sandbox always has a folder in the v2 tree, so that it is forked straight into it
//! and BPF programs can be attached there; in the hybrid world it has one per v1 controller
//! besides.

mod remove;
mod v1;
mod v2;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

pub(crate) use remove::remove_all;

use crate::policy;
use crate::spec::Limits;
use crate::wire::Usage;

/// The cgroup trees of this machine, at the part that belongs to this instance.
#[derive(Debug)]
pub(crate) struct Cgroups {
    v2: v2::Tree,
    /// Empty where v2 has the controllers.
    v1: Vec<v1::Tree>,
}

/// One sandbox's folders in the trees.
#[derive(Debug)]
pub(crate) struct Group {
    v2: PathBuf,
    v1: Vec<(v1::Controller, PathBuf)>,
}

/// How a keeper learns that memory ran out.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    /// Poll it: v1 for reading (an eventfd), v2 for POLLPRI (the file `memory.events`).
    pub(crate) event: Option<OwnedFd>,
    /// A file with a line `oom_kill N`.
    pub(crate) counter: File,
}

/// What of a cgroup is seen inside, below `/sys/fs/cgroup`.
#[derive(Debug)]
pub(crate) enum Seen {
    /// v2: the sandbox's own folder, over all of it.
    Whole(PathBuf),
    /// Hybrid: the sandbox's own v1 memory folder, at `memory`.
    Memory(PathBuf),
}

/// A mounted cgroup hierarchy, from `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    at: PathBuf,
    is_v2: bool,
    options: String,
}

impl Cgroups {
    /// Looks at the machine and makes the roots of this instance. `own_v2` is where a v2 tree may
    /// be mounted if nobody has done it.
    pub(crate) fn find(instance: &str, own_v2: &Path) -> io::Result<Self> {
        let mounted = mounted(&std::fs::read_to_string("/proc/self/mountinfo")?);
        let found = mounted.iter().find(|m| m.is_v2).map(|m| m.at.clone());
        let at = found.map_or_else(|| v2::mount(own_v2), Ok)?;
        let own = v2::own_cgroup(&std::fs::read_to_string("/proc/self/cgroup")?);
        let v2 = v2::Tree::open(&at, own.as_deref(), instance)?;
        let v1 = if v2.has_memory() {
            Vec::new()
        } else {
            let place = |controller: v1::Controller| {
                let has =
                    |m: &&Mounted| !m.is_v2 && m.options.split(',').any(|o| o == controller.name());
                mounted
                    .iter()
                    .find(has)
                    .map(|m| v1::Tree::new(controller, m.at.join(instance)))
            };
            v1::Controller::ALL.into_iter().filter_map(place).collect()
        };
        if !v2.has_memory() && !v1.iter().any(|t| t.controller == v1::Controller::Memory) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "no memory controller, neither in cgroup v2 nor in v1",
            ));
        }
        Ok(Self { v2, v1 })
    }

    /// Whether v2 has the controllers.
    pub(crate) fn is_v2(&self) -> bool {
        self.v1.is_empty()
    }

    /// Which world it is, for the log.
    pub(crate) fn world(&self) -> &'static str {
        if self.v1.is_empty() { "v2" } else { "hybrid" }
    }

    /// Makes a group without limits, `path` relative to the instance's root. It must not exist.
    pub(crate) fn make(&self, path: &str) -> io::Result<Group> {
        let group = self.group(path);
        let made = self
            .v2
            .make(&group.v2)
            .and_then(|()| group.v1.iter().try_for_each(|(_, at)| v1::make(at)));
        match made {
            Ok(()) => Ok(group),
            Err(error) => {
                group.remove()?;
                Err(error)
            }
        }
    }

    /// Makes a folder for groups in the v2 tree, if it is not there, and tells where it is.
    pub(crate) fn make_v2(&self, path: &str) -> io::Result<PathBuf> {
        self.v2.make_folder(path)
    }

    /// Sets a group's limits.
    pub(crate) fn limit(&self, group: &Group, limits: &Limits) -> io::Result<()> {
        self.v2.limit(&group.v2, limits)?;
        let mut v1 = group.v1.iter();
        v1.try_for_each(|(controller, at)| v1::limit(*controller, at, limits))
    }

    /// The group at this path, whether it is there or not.
    pub(crate) fn group(&self, path: &str) -> Group {
        Group {
            v2: self.v2.root.join(path),
            v1: self
                .v1
                .iter()
                .map(|t| (t.controller, t.root.join(path)))
                .collect(),
        }
    }

    /// The names of the groups below a path, in any of the trees.
    pub(crate) fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for root in self.v1.iter().map(|t| &t.root).chain([&self.v2.root]) {
            let entries = match std::fs::read_dir(root.join(path)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    names.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

impl Group {
    /// The v2 folder, to be forked into.
    pub(crate) fn v2_folder(&self) -> io::Result<File> {
        File::open(&self.v2)
    }

    /// The v1 files into which a process with one thread writes `0` to join; empty in the v2 world.
    ///
    /// `tasks`, not `cgroup.procs`: whoever moves only himself is spared the lock over all forks of
    /// the machine, which waits for an RCU grace period: 25 ms (`cgroup1_tasks_write`, Linux 5.4;
    /// measured 24 Nov 2026).
    pub(crate) fn join_files(&self) -> io::Result<Vec<OwnedFd>> {
        let open = |(_, at): &(_, PathBuf)| {
            File::options()
                .write(true)
                .open(at.join("tasks"))
                .map(OwnedFd::from)
        };
        self.v1.iter().map(open).collect()
    }

    /// What is seen of it inside.
    pub(crate) fn seen(&self) -> Seen {
        match self.v1_memory() {
            Some(at) => Seen::Memory(at.to_owned()),
            None => Seen::Whole(self.v2.clone()),
        }
    }

    /// Starts to watch for want of memory.
    pub(crate) fn watch_memory(&self) -> io::Result<MemoryWatch> {
        match self.v1_memory() {
            Some(at) => v1::watch_memory(at),
            None => v2::watch_memory(&self.v2),
        }
    }

    /// What its processes use now, and have used.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        let mut usage = v2::usage(&self.v2)?;
        for (controller, at) in &self.v1 {
            v1::usage(*controller, at, &mut usage)?;
        }
        Ok(usage)
    }

    /// The number by which the kernel knows it in the v2 tree.
    pub(crate) fn id(&self) -> io::Result<u64> {
        policy::cgroup_id(&self.v2)
    }

    /// The processes in it.
    pub(crate) fn processes(&self) -> io::Result<Vec<i32>> {
        let text = match std::fs::read_to_string(self.v2.join("cgroup.procs")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Lets it run again, whoever froze it.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        match std::fs::write(self.v2.join("cgroup.freeze"), "0") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes the folders; what is gone already is fine. EBUSY: the kernel still buries processes.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let folders = self.v1.iter().map(|(_, at)| at.clone());
        for at in folders.chain([self.v2.join(v2::EMULATED), self.v2.clone()]) {
            match std::fs::remove_dir(&at) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn v1_memory(&self) -> Option<&Path> {
        let memory = |(c, _): &&(v1::Controller, PathBuf)| *c == v1::Controller::Memory;
        self.v1.iter().find(memory).map(|(_, at)| at.as_path())
    }
}

/// The cgroup lines of `/proc/self/mountinfo` (`proc(5)`): whole hierarchies only.
fn mounted(text: &str) -> Vec<Mounted> {
    let line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, at) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let is_cgroup = matches!(kind, "cgroup" | "cgroup2") && root == "/";
        is_cgroup.then(|| Mounted {
            at: PathBuf::from(at),
            is_v2: kind == "cgroup2",
            options: options.to_owned(),
        })
    };
    text.lines().filter_map(line).collect()
}

/// Reads a file of one number, such as `pids.current`; `max` is the largest one.
fn number(path: &Path) -> io::Result<u64> {
    let text = std::fs::read_to_string(path)?;
    match text.trim() {
        "max" => Ok(u64::MAX),
        text => text.parse().map_err(|_| io::ErrorKind::InvalidData.into()),
    }
}

/// The value of a key in a file of lines `KEY VALUE`; 0 when it is not there.
fn keyed(text: &str, key: &str) -> u64 {
    let value = |line: &str| {
        line.split_once(' ')
            .filter(|(k, _)| *k == key)?
            .1
            .trim()
            .parse()
            .ok()
    };
    text.lines().find_map(value).unwrap_or(0)
}

/// Processes that were killed for want of memory, from the content of a [`MemoryWatch::counter`].
pub(crate) fn oom_kills(text: &str) -> u64 {
    keyed(text, "oom_kill")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mounts_of_both_worlds() {
        let text = "\
25 1 0:22 / / rw - ext4 /dev/vda rw
30 25 0:26 / /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
32 25 0:27 /x /mnt rw - cgroup2 cgroup2 rw
";
        let found = mounted(text);
        let wanted = [
            ("/sys/fs/cgroup/cpu", false),
            ("/sys/fs/cgroup/unified", true),
        ];
        let found_short: Vec<_> = found
            .iter()
            .map(|m| (m.at.to_str().unwrap(), m.is_v2))
            .collect();
        assert_eq!(found_short, wanted);
        assert_eq!(found[0].options, "rw,cpu,cpuacct");
    }

    #[test]
    fn reads_counters() {
        assert_eq!(
            oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            3
        );
        assert_eq!(
            oom_kills("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 1\n"),
            1
        );
        assert_eq!(oom_kills(""), 0);
    }
}
