//! What is seen of this machine.

use std::path::{Path, PathBuf};

use crate::net;
use crate::policy;
use crate::sys::probe;

/// The v2 tree of cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupTree {
    /// Where it is mounted.
    Mounted(PathBuf),
    /// Nobody has mounted it, and it can be.
    Mountable,
    /// This kernel has none.
    Missing,
}

/// Where name servers are found that sandboxes reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameServers {
    /// In /etc/resolv.conf.
    Named,
    /// In systemd-resolved's own file: the other one names a stub on the loopback.
    BehindStub,
    /// Nowhere.
    None,
}

/// Parts of the kernel that are not there from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modules {
    /// It has none.
    BuiltIn,
    /// They are loaded when they are needed.
    Loadable,
    /// Nobody can load them: modprobe(8) is not there.
    Stuck,
}

/// All that the findings are made of.
#[derive(Clone, Debug)]
pub struct Probes {
    /// As uname(1) says: `6.1.0-37-amd64`.
    pub release: String,
    /// The v2 tree.
    pub tree: CgroupTree,
    /// Controllers that the v2 tree has at its root.
    pub v2_controllers: Vec<String>,
    /// Controllers that are mounted in v1 trees.
    pub v1_controllers: Vec<String>,
    /// Names of the files in some cgroup of the v2 tree that is not its root.
    pub cgroup_files: Vec<String>,
    /// Whether the kernel takes all programs that hold PORT, or what it says.
    pub hooks: Result<(), String>,
    /// The same of the BPF LSM programs.
    pub lsm: Result<(), String>,
    /// 0: no Landlock.
    pub landlock_abi: u32,
    /// Debian packages of the programs that load rules and are not there.
    pub missing_tools: Vec<&'static str>,
    /// How many user namespaces there may be.
    pub user_namespaces: u64,
    /// Whether system calls can be filtered.
    pub has_seccomp: bool,
    /// Where name servers are found that sandboxes reach.
    pub name_servers: NameServers,
    /// File systems that the kernel has now.
    pub filesystems: Vec<String>,
    /// What the kernel loads when it is needed.
    pub modules: Modules,
}

impl Probes {
    /// Looks. What cannot be read counts as not there. Loads the programs and forgets them again,
    /// which takes a tenth of a second.
    pub fn of_this_machine() -> Self {
        let mounts = read("/proc/self/mountinfo");
        let filesystems = last_words(&read("/proc/filesystems"));
        let tree = tree(&mounts, &filesystems);
        let (hooks, lsm) = policy::probe();
        Self {
            release: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            v2_controllers: v2_controllers(&tree),
            v1_controllers: v1_controllers(&mounts),
            cgroup_files: some_cgroup(&tree),
            tree,
            hooks,
            lsm,
            landlock_abi: probe::landlock_abi(),
            missing_tools: net::missing_tools(),
            user_namespaces: read("/proc/sys/user/max_user_namespaces")
                .trim()
                .parse()
                .unwrap_or(0),
            has_seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
            name_servers: name_servers(),
            filesystems,
            modules: modules(),
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn last_words(text: &str) -> Vec<String> {
    let words = text
        .lines()
        .filter_map(|l| l.split_ascii_whitespace().last());
    words.map(str::to_owned).collect()
}

/// From lines of mountinfo (`proc_pid_mountinfo(5)`): place, file system, its options.
fn mounted(mounts: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let place = before.split(' ').nth(4)?;
        Some((place, after.next()?, after.nth(1)?))
    })
}

fn tree(mounts: &str, filesystems: &[String]) -> CgroupTree {
    let found = mounted(mounts).find(|(_, kind, _)| *kind == "cgroup2");
    match found {
        Some((place, _, _)) => CgroupTree::Mounted(place.into()),
        None if filesystems.iter().any(|f| f == "cgroup2") => CgroupTree::Mountable,
        None => CgroupTree::Missing,
    }
}

fn v2_controllers(tree: &CgroupTree) -> Vec<String> {
    let CgroupTree::Mounted(at) = tree else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn v1_controllers(mounts: &str) -> Vec<String> {
    let v1 = mounted(mounts).filter(|(_, kind, _)| *kind == "cgroup");
    let options = v1.flat_map(|(_, _, options)| options.split(','));
    options
        .filter(|option| !option.contains('=') && !matches!(*option, "rw" | "ro"))
        .map(str::to_owned)
        .collect()
}

/// The root lacks most files, so any child tells.
fn some_cgroup(tree: &CgroupTree) -> Vec<String> {
    let CgroupTree::Mounted(at) = tree else {
        return Vec::new();
    };
    let names = |at: &Path| -> Vec<(String, bool)> {
        let entries = std::fs::read_dir(at).into_iter().flatten().flatten();
        let named = entries.map(|e| {
            let is_folder = e.file_type().is_ok_and(|kind| kind.is_dir());
            (e.file_name().to_string_lossy().into_owned(), is_folder)
        });
        named.collect()
    };
    let child = names(at).into_iter().find(|(_, is_folder)| *is_folder);
    let inside = child.map_or_else(|| names(at), |(name, _)| names(&at.join(name)));
    inside.into_iter().map(|(name, _)| name).collect()
}

fn name_servers() -> NameServers {
    match (
        net::has_resolver(),
        names_loopback_alone(&read("/etc/resolv.conf")),
    ) {
        (true, false) => NameServers::Named,
        (true, true) => NameServers::BehindStub,
        (false, _) => NameServers::None,
    }
}

fn modules() -> Modules {
    let can_load = ["/sbin/modprobe", "/usr/sbin/modprobe"]
        .iter()
        .any(|at| Path::new(at).exists());
    match (Path::new("/proc/modules").exists(), can_load) {
        (false, _) => Modules::BuiltIn,
        (true, true) => Modules::Loadable,
        (true, false) => Modules::Stuck,
    }
}

fn names_loopback_alone(resolv_conf: &str) -> bool {
    let mut servers = resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver "))
        .peekable();
    servers.peek().is_some()
        && servers.all(|server| {
            let address = server.trim().parse::<std::net::IpAddr>();
            address.is_ok_and(|address| address.is_loopback())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 29 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 29 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
32 29 0:29 / /sys/fs/cgroup/unified rw,relatime shared:3 - cgroup2 cgroup2 rw
";

    #[test]
    fn reads_mounts() {
        let filesystems = ["cgroup2".to_owned()];
        let at = CgroupTree::Mounted("/sys/fs/cgroup/unified".into());
        assert_eq!(tree(HYBRID, &filesystems), at);
        assert_eq!(tree("", &filesystems), CgroupTree::Mountable);
        assert_eq!(tree("", &[]), CgroupTree::Missing);
        assert_eq!(v1_controllers(HYBRID), ["cpu", "cpuacct"]);
    }

    #[test]
    fn knows_a_stub() {
        assert!(names_loopback_alone("search x\nnameserver 127.0.0.53\n"));
        assert!(!names_loopback_alone(
            "nameserver 127.0.0.53\nnameserver 9.9.9.9\n"
        ));
        assert!(!names_loopback_alone(""));
    }
}
