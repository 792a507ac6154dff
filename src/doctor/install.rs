//! What was installed: programs, stack, users, folders; and the disk below them.

use super::Finding;
use crate::up::accounts;
use crate::up::folders;
use link::config::Config;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Bytes of free disk below which builds begin to fail: one may take 4 GB.
const DISK_MIN_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// Tools that the platform runs beside the firewall's, and the Debian package of each.
const TOOLS: [(&str, &str); 3] = [
    ("git", "git"),
    ("mkfs.ext4", "e2fsprogs"),
    ("useradd", "passwd"),
];

pub(super) fn look(config: &Config) -> Vec<Finding> {
    vec![
        tools(),
        programs(config),
        stack(config),
        users(),
        folders(config),
        disk(&config.data_dir),
    ]
}

fn tools() -> Finding {
    let places = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    let is_there = |tool: &str| {
        places
            .iter()
            .any(|place| Path::new(place).join(tool).exists())
    };
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(tool, _)| !is_there(tool))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        let names = TOOLS.map(|(tool, _)| tool);
        Finding::well("tools", names.join(", "))
    } else {
        Finding::broken(
            "tools",
            format!("missing: apt-get install {}", missing.join(" ")),
        )
    }
}

fn programs(config: &Config) -> Finding {
    let folder = config.program_dir.display();
    let missing: Vec<&str> = ["paas", "nursery", "buildpacks"]
        .into_iter()
        .filter(|name| !config.program_dir.join(name).exists())
        .collect();
    if missing.is_empty() {
        Finding::well("programs", format!("{folder}"))
    } else {
        let missing = missing.join(", ");
        Finding::broken("programs", format!("{folder} lacks {missing}: make up"))
    }
}

fn stack(config: &Config) -> Finding {
    let stack = config.stacks_dir.join(&config.default_stack);
    let is_whole = ["run", "build"]
        .iter()
        .all(|variant| stack.join(variant).is_dir());
    match stack.canonicalize() {
        Ok(path) if is_whole => Finding::well("stack", path.display().to_string()),
        _ => Finding::broken("stack", format!("{} is missing: make up", stack.display())),
    }
}

fn users() -> Finding {
    let missing: Vec<&str> = accounts::USERS
        .into_iter()
        .filter(|name| accounts::find(name).is_err())
        .collect();
    if missing.is_empty() && accounts::group().is_ok() {
        Finding::well("users", accounts::USERS.join(", "))
    } else {
        let missing = missing.join(", ");
        Finding::broken("users", format!("missing: {missing}: paas doctor --fix"))
    }
}

fn folders(config: &Config) -> Finding {
    let wrong: Vec<String> = folders::DATA
        .iter()
        .filter_map(|(path, _, mode)| {
            let path = config.data_dir.join(path);
            let found = std::fs::metadata(&path).ok()?.permissions().mode() & 0o7777;
            (found != *mode).then(|| format!("{} has mode {found:o}", path.display()))
        })
        .collect();
    match wrong.first() {
        None => Finding::well("folders", config.data_dir.display().to_string()),
        Some(first) => Finding::poor("folders", format!("{first}: paas doctor --fix")),
    }
}

fn disk(data: &Path) -> Finding {
    let Ok(facts) = nix::sys::statvfs::statvfs(data) else {
        return Finding::broken("disk", format!("cannot look at {}", data.display()));
    };
    let free = facts.blocks_available() * facts.fragment_size();
    let text = format!("{} GB free at {}", free / 1_000_000_000, data.display());
    if free >= DISK_MIN_BYTES {
        Finding::well("disk", text)
    } else {
        Finding::poor("disk", format!("{text}: a build may take 4 GB, free some"))
    }
}
