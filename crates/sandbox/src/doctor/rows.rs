//! One function for each thing: what was seen in, what it means out.

use super::{CgroupTree, Lack, Modules, NameServers, Probes, State};

/// What is needed of the kernel at least: `clone3` and pidfds (5.3), clone into a cgroup (5.7),
/// `close_range` (5.9), `cgroup.kill` (5.14), errors of our own from BPF (5.18), idmapped layers of
/// overlays (5.19).
const OLDEST: (u32, u32) = (5, 19);
/// Overlays take layers as files, all of them.
const LAYERS_BY_FILE: (u32, u32) = (6, 13);
/// The first interface of Landlock with scopes, Linux 6.12.
const LANDLOCK_WITH_SCOPES: u32 = 6;
/// One for each slot that waits, each dyno and each job.
const USER_NAMESPACES_MIN: u64 = 1024;

type Row = fn(&Probes) -> State;

pub(super) const ALL: [(&str, Row); 13] = [
    ("kernel", kernel),
    ("cgroup v2", cgroup_tree),
    ("controllers", controllers),
    ("cgroup files", cgroup_files),
    ("port policy", port_policy),
    ("shared network", shared_network),
    ("layers", layers),
    ("filesystems", filesystems),
    ("user ids", user_ids),
    ("seccomp", seccomp),
    ("firewall", firewall),
    ("resolver", resolver),
    ("modules", modules),
];

fn well(seen: impl Into<String>) -> State {
    State::Well { seen: seen.into() }
}

fn lack(seen: impl Into<String>, then: &str, next: &str) -> Lack {
    Lack {
        seen: seen.into(),
        then: then.to_owned(),
        next: next.to_owned(),
    }
}

/// `6.1.0-37-amd64` -> (6, 1); what cannot be read is older than everything.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-']).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kernel(probes: &Probes) -> State {
    let release = &probes.release;
    if version(release) >= OLDEST {
        return well(format!("Linux {release}"));
    }
    let (major, minor) = OLDEST;
    State::Broken(lack(
        format!("Linux {release} is older than {major}.{minor}"),
        "it lacks calls that every start makes",
        "install a newer kernel; Debian 12 has 6.1",
    ))
}

fn cgroup_tree(probes: &Probes) -> State {
    match &probes.tree {
        CgroupTree::Mounted(at) => well(format!("mounted at {}", at.display())),
        CgroupTree::Mountable => State::Poor(lack(
            "nobody has mounted the v2 tree",
            "it is mounted by the platform, for itself",
            "nothing; or mount -t cgroup2 none /sys/fs/cgroup/unified",
        )),
        CgroupTree::Missing => State::Broken(lack(
            "this kernel has no v2 tree",
            "no sandbox can be made",
            "a kernel with CONFIG_CGROUPS and CONFIG_CGROUP_BPF",
        )),
    }
}

fn controllers(probes: &Probes) -> State {
    let has_v2 = |name: &str| probes.v2_controllers.iter().any(|c| c == name);
    let has_v1 = |name: &str| probes.v1_controllers.iter().any(|c| c == name);
    if has_v2("memory") {
        return match ["pids", "cpu", "io"].into_iter().find(|name| !has_v2(name)) {
            None => well(format!("v2: {}", probes.v2_controllers.join(", "))),
            Some("io") => State::Poor(lack(
                "no io controller",
                "nothing limits what a dyno reads and writes on disk",
                "Delegate=yes in the unit, or a kernel with CONFIG_BLK_CGROUP",
            )),
            Some(name) => State::Poor(lack(
                format!("no {name} controller"),
                "its limit is not held",
                "Delegate=yes in the unit",
            )),
        };
    }
    if has_v1("memory") {
        return well(format!("v1: {}", probes.v1_controllers.join(", ")));
    }
    State::Broken(lack(
        "no memory controller, neither in v2 nor in v1",
        "no dyno's memory is limited, so none is started",
        "boot with cgroup_enable=memory",
    ))
}

fn cgroup_files(probes: &Probes) -> State {
    let has = |name: &str| probes.cgroup_files.iter().any(|f| f == name);
    if matches!(probes.tree, CgroupTree::Mounted(_)) && !has("cgroup.kill") {
        return State::Broken(lack(
            "no cgroup.kill",
            "a dyno that forks faster than it is killed cannot be stopped",
            "a kernel of 5.14 or newer",
        ));
    }
    let is_v2 = probes.v2_controllers.iter().any(|c| c == "memory");
    if is_v2 && !has("memory.peak") {
        return State::Poor(lack(
            "no memory.peak",
            "the peak of a dyno's memory is not told",
            "a kernel of 5.19 or newer",
        ));
    }
    if is_v2 && !has("memory.reclaim") {
        return State::Poor(lack(
            "no memory.reclaim",
            "the memory of a parked dyno stays in use",
            "a kernel of 5.19 or newer",
        ));
    }
    let wanted = ["cgroup.kill", "memory.peak", "memory.reclaim"];
    let there: Vec<&str> = wanted.into_iter().filter(|name| has(name)).collect();
    well(there.join(", "))
}

fn port_policy(probes: &Probes) -> State {
    match &probes.hooks {
        Ok(()) => well("the kernel takes every program that holds PORT"),
        Err(why) => State::Poor(lack(
            why,
            "slugs run isolated: each dyno has a net namespace of its own, whose INPUT chain holds \
             PORT",
            "a kernel of 5.18 or newer with CONFIG_CGROUP_BPF, on which bpf(2) is not locked down",
        )),
    }
}

fn shared_network(probes: &Probes) -> State {
    let has_scopes = probes.landlock_abi >= LANDLOCK_WITH_SCOPES;
    match (&probes.lsm, has_scopes) {
        (Ok(()), true) => well("Landlock scopes and BPF LSM programs"),
        (Ok(()), false) => State::Poor(lack(
            format!("Landlock has no scopes (version {})", probes.landlock_abi),
            "BPF LSM programs hold abstract Unix sockets alone, without a second lock",
            "a kernel of 6.12 or newer with landlock in its lsm= list",
        )),
        (Err(why), true) => State::Poor(lack(
            format!("BPF LSM programs are refused ({why})"),
            "/proc/net lists the sockets of all of an owner's dynos on this node, and a listen() \
             without bind() takes a port above 49151 from all of them",
            "a kernel with CONFIG_BPF_LSM and bpf in its lsm= list",
        )),
        (Err(why), false) => State::Poor(lack(
            format!("neither Landlock scopes nor BPF LSM programs ({why})"),
            "slugs run isolated, as nothing would keep dynos from each other's abstract Unix \
             sockets",
            "a kernel of 6.12 or newer with landlock in its lsm= list",
        )),
    }
}

fn layers(probes: &Probes) -> State {
    if version(&probes.release) >= LAYERS_BY_FILE {
        well("handed to overlays by file")
    } else {
        well("handed to overlays by name, 84 at most: this kernel does not take files")
    }
}

fn filesystems(probes: &Probes) -> State {
    // The kernel loads a module for a file system that it does not know yet.
    let can_load = probes.modules == Modules::Loadable;
    let has = |name: &str| can_load || probes.filesystems.iter().any(|f| f == name);
    if !has("overlay") {
        return State::Broken(lack(
            "no overlay",
            "no sandbox has a root",
            "modprobe overlay",
        ));
    }
    if !has("ext4") {
        return State::Broken(lack("no ext4", "no build has a disk", "modprobe ext4"));
    }
    if !has("bpf") {
        return State::Poor(lack(
            "no bpf file system",
            "slugs run isolated: the policy could not outlive the nursery",
            "a kernel with CONFIG_BPF_SYSCALL",
        ));
    }
    well("overlay, ext4, bpf")
}

fn user_ids(probes: &Probes) -> State {
    let count = probes.user_namespaces;
    if count >= USER_NAMESPACES_MIN {
        return well(format!("{count} user namespaces"));
    }
    State::Broken(lack(
        format!("{count} user namespaces are too few"),
        "no sandbox has user ids of its own",
        "sysctl user.max_user_namespaces=65536",
    ))
}

fn seccomp(probes: &Probes) -> State {
    if probes.has_seccomp {
        return well("system calls are filtered");
    }
    State::Broken(lack(
        "system calls cannot be filtered",
        "no sandbox is started",
        "a kernel with CONFIG_SECCOMP_FILTER",
    ))
}

fn firewall(probes: &Probes) -> State {
    if probes.missing_tools.is_empty() {
        return well("nft and iptables");
    }
    State::Broken(lack(
        format!("missing: {}", probes.missing_tools.join(", ")),
        "no dyno and no build has a network",
        &format!("apt install {}", probes.missing_tools.join(" ")),
    ))
}

fn resolver(probes: &Probes) -> State {
    match probes.name_servers {
        NameServers::Named => well("/etc/resolv.conf"),
        NameServers::BehindStub => well(
            "/run/systemd/resolve/resolv.conf, as /etc/resolv.conf names a stub on the loopback",
        ),
        NameServers::None => State::Poor(lack(
            "no name server that sandboxes reach",
            "names are not found inside",
            "a nameserver line with an IPv4 address beyond the loopback in /etc/resolv.conf",
        )),
    }
}

fn modules(probes: &Probes) -> State {
    match probes.modules {
        Modules::BuiltIn => well("all is built in"),
        Modules::Loadable => well("loaded when they are needed"),
        Modules::Stuck => State::Poor(lack(
            "modprobe is missing",
            "what this kernel has in modules (veth, bridge, nf_tables) is there only if it was \
             loaded",
            "apt install kmod",
        )),
    }
}
