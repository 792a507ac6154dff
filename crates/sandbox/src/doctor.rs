//! What this machine lacks, what follows from it, and what to do next.
//!
//! [`Probes`] is what was seen, plain data; [`judge`] turns it into one finding for each thing the
//! sandbox stands on, and decides nothing else. Called by `paas doctor`, as root; nothing is
//! changed. The instance's own network is `net::Host::doctor`'s.

mod probes;
mod rows;

pub use probes::{CgroupTree, Modules, NameServers, Probes};

/// How it is with one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The thing, one or two words.
    pub what: &'static str,
    /// How it is.
    pub state: State,
}

/// Whether something must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Well {
        /// What was seen.
        seen: String,
    },
    /// Something is done in another, lesser way.
    Poor(Lack),
    /// The platform cannot run here.
    Broken(Lack),
}

/// Something is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What was seen.
    pub seen: String,
    /// What follows from it.
    pub then: String,
    /// What helps.
    pub next: String,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seen, then, next } = self;
        write!(f, "{seen}: {then}; next: {next}")
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Well { seen } => f.write_str(seen),
            Self::Poor(lack) | Self::Broken(lack) => lack.fmt(f),
        }
    }
}

/// All findings, in the order of their weight for a start.
pub fn judge(probes: &Probes) -> Vec<Finding> {
    rows::ALL
        .iter()
        .map(|(what, row)| Finding {
            what,
            state: row(probes),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that has all.
    fn well() -> Probes {
        Probes {
            release: "6.18.1".to_owned(),
            tree: CgroupTree::Mounted("/sys/fs/cgroup".into()),
            v2_controllers: ["cpu", "io", "memory", "pids"].map(str::to_owned).into(),
            v1_controllers: Vec::new(),
            cgroup_files: ["cgroup.kill", "memory.peak", "memory.reclaim"]
                .map(str::to_owned)
                .into(),
            hooks: Ok(()),
            lsm: Ok(()),
            landlock_abi: 7,
            missing_tools: Vec::new(),
            user_namespaces: 60_000,
            has_seccomp: true,
            name_servers: NameServers::Named,
            filesystems: ["overlay", "ext4", "bpf"].map(str::to_owned).into(),
            modules: Modules::BuiltIn,
        }
    }

    #[test]
    fn a_good_machine_is_well() {
        for Finding { what, state } in judge(&well()) {
            assert!(matches!(state, State::Well { .. }), "{what}: {state}");
        }
    }

    /// Changes one thing; the finding must speak of it, and only that one.
    fn check(what: &str, change: impl Fn(&mut Probes), wanted: &str, broken: bool) {
        let mut probes = well();
        change(&mut probes);
        let findings = judge(&probes);
        for finding in &findings {
            let text = finding.state.to_string();
            match &finding.state {
                State::Well { .. } => assert_ne!(finding.what, what, "{text}"),
                State::Poor(_) | State::Broken(_) if finding.what != what => {
                    panic!("{what} also made {}: {text}", finding.what)
                }
                State::Poor(_) => assert!(!broken && text.contains(wanted), "{what}: {text}"),
                State::Broken(_) => assert!(broken && text.contains(wanted), "{what}: {text}"),
            }
        }
        assert!(findings.iter().any(|f| f.what == what), "{what}");
    }

    #[test]
    fn each_lack_has_its_line() {
        let mounts = |p: &mut Probes| p.tree = CgroupTree::Mountable;
        check("cgroup v2", mounts, "mounted by the platform", false);
        let none = |p: &mut Probes| p.tree = CgroupTree::Missing;
        check("cgroup v2", none, "CONFIG_CGROUPS", true);
        let refused = |p: &mut Probes| p.hooks = Err("load bind4: EPERM".to_owned());
        check(
            "port policy",
            refused,
            "load bind4: EPERM: slugs run isolated",
            false,
        );
        let no_lsm = |p: &mut Probes| p.lsm = Err("EPERM".to_owned());
        check("shared network", no_lsm, "/proc/net", false);
        let no_scope = |p: &mut Probes| p.landlock_abi = 5;
        check("shared network", no_scope, "BPF LSM programs hold", false);
        let neither = |p: &mut Probes| {
            p.landlock_abi = 0;
            p.lsm = Err("EPERM".to_owned());
        };
        check("shared network", neither, "slugs run isolated", false);
        let old = |p: &mut Probes| p.release = "5.15.0-91-generic".to_owned();
        check("kernel", old, "older than 5.19", true);
        let odd = |p: &mut Probes| p.release = "next".to_owned();
        check("kernel", odd, "older than 5.19", true);
        let no_kill = |p: &mut Probes| p.cgroup_files.retain(|f| f != "cgroup.kill");
        check("cgroup files", no_kill, "cgroup.kill", true);
        let no_peak = |p: &mut Probes| p.cgroup_files.retain(|f| f != "memory.peak");
        check("cgroup files", no_peak, "memory.peak", false);
        let no_reclaim = |p: &mut Probes| p.cgroup_files.retain(|f| f != "memory.reclaim");
        check("cgroup files", no_reclaim, "memory.reclaim", false);
        let no_io = |p: &mut Probes| p.v2_controllers.retain(|c| c != "io");
        check("controllers", no_io, "io", false);
        let no_memory = |p: &mut Probes| p.v2_controllers.retain(|c| c != "memory");
        check("controllers", no_memory, "memory", true);
        let no_nft = |p: &mut Probes| p.missing_tools = vec!["nftables"];
        check("firewall", no_nft, "apt install nftables", true);
        let no_users = |p: &mut Probes| p.user_namespaces = 0;
        check("user ids", no_users, "user.max_user_namespaces", true);
        let no_filter = |p: &mut Probes| p.has_seccomp = false;
        check("seccomp", no_filter, "CONFIG_SECCOMP_FILTER", true);
        let no_names = |p: &mut Probes| p.name_servers = NameServers::None;
        check("resolver", no_names, "nameserver", false);
        let no_overlay = |p: &mut Probes| p.filesystems.retain(|f| f != "overlay");
        check("filesystems", no_overlay, "modprobe overlay", true);
        let no_bpf = |p: &mut Probes| p.filesystems.retain(|f| f != "bpf");
        check("filesystems", no_bpf, "bpf", false);
        let modules = |p: &mut Probes| p.modules = Modules::Stuck;
        check("modules", modules, "apt install kmod", false);
    }

    #[test]
    fn what_is_done_in_another_way_is_well() {
        let check = |change: fn(&mut Probes), what: &str, wanted: &str| {
            let mut probes = well();
            change(&mut probes);
            let findings = judge(&probes);
            let found = findings.iter().find(|f| f.what == what).unwrap();
            let State::Well { seen } = &found.state else {
                panic!("{}", found.state)
            };
            assert!(seen.contains(wanted), "{seen}");
        };
        check(
            |p| p.release = "6.1.0-37-cloud-amd64".to_owned(),
            "layers",
            "by name",
        );
        check(|_| (), "layers", "by file");
        check(
            |p| p.name_servers = NameServers::BehindStub,
            "resolver",
            "/run/systemd/resolve/resolv.conf",
        );
        let hybrid = |p: &mut Probes| {
            p.v2_controllers.clear();
            p.v1_controllers = ["memory", "pids", "cpu", "blkio"].map(str::to_owned).into();
            p.cgroup_files = vec!["cgroup.kill".to_owned()];
        };
        check(hybrid, "controllers", "v1");
        check(hybrid, "cgroup files", "cgroup.kill");
        let modules = |p: &mut Probes| {
            p.modules = Modules::Loadable;
            p.filesystems.clear();
        };
        check(modules, "modules", "loaded when they are needed");
        check(modules, "filesystems", "overlay");
    }

    /// On the machine that runs this test: whatever it lacks has consequence and next step.
    #[test]
    fn looks_at_this_machine() {
        for Finding { what, state } in judge(&Probes::of_this_machine()) {
            match state {
                State::Well { seen } => assert!(!seen.is_empty(), "{what}"),
                State::Poor(lack) | State::Broken(lack) => {
                    assert!(
                        !lack.then.is_empty() && !lack.next.is_empty(),
                        "{what}: {lack}"
                    );
                }
            }
        }
    }
}
