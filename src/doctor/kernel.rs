//! What the kernel has to offer.

use super::Finding;
use std::path::Path;

/// What is needed: clone into a cgroup (5.7), `close_range` (5.9), idmapped mounts of overlays'
/// layers (5.19).
const OLDEST: (u32, u32) = (5, 19);

pub(super) fn look() -> Vec<Finding> {
    vec![release(), overlay(), user_namespaces(), cgroups()]
}

fn release() -> Finding {
    let text = read("/proc/sys/kernel/osrelease");
    let text = text.trim();
    let mut numbers = text.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => {
            Finding::well("kernel", format!("Linux {text}"))
        }
        _ => Finding::broken(
            "kernel",
            format!(
                "Linux {text} is older than {}.{}: install a newer one",
                OLDEST.0, OLDEST.1
            ),
        ),
    }
}

fn overlay() -> Finding {
    let has = |name: &str| {
        read("/proc/filesystems")
            .lines()
            .any(|line| line.split_ascii_whitespace().last() == Some(name))
    };
    match (has("overlay"), has("ext4")) {
        (true, true) => Finding::well("filesystems", "overlay, ext4"),
        (false, _) => Finding::broken("filesystems", "no overlay: modprobe overlay"),
        (_, false) => Finding::broken("filesystems", "no ext4 for builds: modprobe ext4"),
    }
}

fn user_namespaces() -> Finding {
    let path = "/proc/sys/user/max_user_namespaces";
    match read(path).trim().parse::<u64>() {
        Ok(count) if count >= 1024 => Finding::well("namespaces", format!("{count} of users")),
        Ok(count) => Finding::broken(
            "namespaces",
            format!("{count} user namespaces are too few: sysctl user.max_user_namespaces=65536"),
        ),
        Err(_) => Finding::broken("namespaces", "this kernel has no user namespaces"),
    }
}

fn cgroups() -> Finding {
    let v2 = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .find(|path| Path::new(path).join("cgroup.controllers").exists());
    let has_v2_memory = v2.is_some_and(|path| {
        read(&format!("{path}/cgroup.controllers"))
            .split_ascii_whitespace()
            .any(|controller| controller == "memory")
    });
    let v1: Vec<&str> = ["memory", "cpu", "pids", "freezer"]
        .into_iter()
        .filter(|name| {
            Path::new("/sys/fs/cgroup")
                .join(name)
                .join("tasks")
                .exists()
        })
        .collect();
    match (v2, has_v2_memory, v1.contains(&"memory")) {
        (Some(path), true, _) => Finding::well("cgroups", format!("v2 at {path}")),
        (Some(path), false, true) => Finding::well(
            "cgroups",
            format!("v1 ({}), v2 at {path} beside it", v1.join(", ")),
        ),
        (None, _, true) => Finding::poor(
            "cgroups",
            format!(
                "v1 ({}) alone: the platform mounts v2 beside it",
                v1.join(", ")
            ),
        ),
        _ => Finding::broken(
            "cgroups",
            "no memory controller: boot with cgroup_enable=memory",
        ),
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|_| String::new())
}
