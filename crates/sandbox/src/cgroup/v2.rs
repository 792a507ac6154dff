//! The v2 tree. File names: the kernel's `admin-guide/cgroup-v2`.
//!
//! A cgroup with controllers for its children has no processes of its own. So with systemd the
//! instance owns the delegated cgroup of its unit, whose roles live in the child `roles`; or, with
//! a systemd before 254, which cannot start the unit there, a delegated scope beside the unit. No
//! systemd: a folder of its own in the kernel's root.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::{MemoryWatch, keyed, number, oom_kills};
use crate::spec::Limits;
use crate::sys::mount::{Context, attach};
use crate::wire::Usage;

/// An empty child of each sandbox's folder: old programs look for v1's
/// `memory/memory.limit_in_bytes`, and inside, a folder with that file is mounted over it.
pub(super) const EMULATED: &str = "memory";

/// The tree, at the instance's folder.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: PathBuf,
    controllers: Vec<String>,
}

/// Mounts the tree where nobody has.
pub(super) fn mount(at: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(at)?;
    let tree = Context::open(c"cgroup2")?.mount(0)?;
    attach(tree.as_fd(), File::open(at)?.as_fd())?;
    Ok(at.to_owned())
}

/// The own cgroup of this process in the v2 tree, from `/proc/self/cgroup`.
pub(super) fn own_cgroup(text: &str) -> Option<String> {
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
}

/// Where the instance's folder is, given the own cgroup: around the folder of the roles, or the
/// scope beside the unit, if one `is_there`, or in the kernel's root.
fn place(own: Option<&str>, instance: &str, is_there: impl Fn(&str) -> bool) -> String {
    let own = own.unwrap_or_default().trim_start_matches('/');
    if let Some(unit) = own.strip_suffix("/roles") {
        return unit.to_owned();
    }
    let slice = own.strip_suffix(&format!("/{instance}.service"));
    let scope = slice.map(|slice| format!("{slice}/{instance}.scope"));
    scope
        .filter(|scope| is_there(scope))
        .unwrap_or_else(|| instance.to_owned())
}

/// Every place where folders of the instance may be, for whoever takes them away: who does it is
/// not in its unit.
pub(super) fn places(at: &Path, instance: &str) -> [PathBuf; 3] {
    let slice = at.join("system.slice");
    [
        at.join(instance),
        slice.join(format!("{instance}.service")),
        slice.join(format!("{instance}.scope")),
    ]
}

impl Tree {
    pub(super) fn open(at: &Path, own: Option<&str>, instance: &str) -> io::Result<Self> {
        let root = at.join(place(own, instance, |scope| at.join(scope).exists()));
        std::fs::create_dir_all(&root)?;
        // The kernel's own root lists what can be handed down; below, only what was handed down.
        if root.parent() == Some(at) {
            hand_down(at)?;
        }
        let text = std::fs::read_to_string(root.join("cgroup.controllers"))?;
        let controllers = text.split_ascii_whitespace().map(str::to_owned).collect();
        hand_down(&root)?;
        Ok(Self { root, controllers })
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    pub(super) fn has_memory(&self) -> bool {
        self.has("memory")
    }

    /// Makes a folder; the parents are made when missing.
    pub(super) fn make(&self, at: &Path) -> io::Result<()> {
        match std::fs::create_dir(at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_with_parents(at)?,
            other => other?,
        }
        if self.has_memory() {
            std::fs::create_dir(at.join(EMULATED))?;
        }
        Ok(())
    }

    /// Writes a folder's limits.
    pub(super) fn limit(&self, at: &Path, limits: &Limits) -> io::Result<()> {
        let write = |file: &str, value: &str| std::fs::write(at.join(file), value);
        if self.has("memory") {
            write("memory.max", &limits.memory_max_bytes.to_string())?;
            // No memory.oom.group: it would take the keeper along, which tells of it and kills the
            // rest itself, here as with v1.
            match write("memory.swap.max", "0") {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        if self.has("pids") {
            write("pids.max", &(u64::from(limits.pids_max) + 1).to_string())?;
        }
        if self.has("cpu") {
            match write("cpu.weight", &limits.cpu_weight.to_string()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Makes a folder that will have groups below it, if it is not there.
    pub(super) fn make_folder(&self, path: &str) -> io::Result<PathBuf> {
        let at = self.root.join(path);
        self.make_with_parents(&at)?;
        hand_down(&at)?;
        Ok(at)
    }

    fn make_with_parents(&self, at: &Path) -> io::Result<()> {
        std::fs::create_dir_all(at)?;
        let mut parents: Vec<&Path> = at
            .ancestors()
            .skip(1)
            .take_while(|p| *p != self.root)
            .collect();
        parents.reverse();
        parents.into_iter().try_for_each(hand_down)
    }
}

/// Lets the children of a folder have its controllers, those that we use.
fn hand_down(at: &Path) -> io::Result<()> {
    let there = std::fs::read_to_string(at.join("cgroup.controllers"))?;
    for controller in ["memory", "pids", "cpu", "io"] {
        if there.split_ascii_whitespace().any(|c| c == controller) {
            let handed =
                std::fs::write(at.join("cgroup.subtree_control"), format!("+{controller}"));
            // cpu: refused while a real-time process runs; weights are a comfort, the rest is not.
            if matches!(controller, "memory" | "pids") {
                handed?;
            }
        }
    }
    Ok(())
}

/// `memory.events` gives POLLPRI whenever one of its counters changes.
pub(super) fn watch_memory(at: &Path) -> io::Result<MemoryWatch> {
    let counter = File::open(at.join("memory.events"))?;
    Ok(MemoryWatch {
        event: None,
        counter,
    })
}

/// What the tree knows; it knows processor time even where it has no controllers.
pub(super) fn usage(at: &Path) -> io::Result<Usage> {
    let stat = std::fs::read_to_string(at.join("cpu.stat"))?;
    let mut usage = Usage {
        cpu_us: keyed(&stat, "usage_usec"),
        ..Usage::default()
    };
    if at.join("memory.current").exists() {
        let stat = std::fs::read_to_string(at.join("memory.stat"))?;
        let cache = keyed(&stat, "inactive_file") + keyed(&stat, "active_file");
        usage.memory_bytes = number(&at.join("memory.current"))?;
        usage.memory_without_cache_bytes = usage.memory_bytes.saturating_sub(cache);
        usage.memory_peak_bytes = match number(&at.join("memory.peak")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0, // before Linux 5.19
            other => other?,
        };
        usage.oom_kills = oom_kills(&std::fs::read_to_string(at.join("memory.events"))?);
    }
    if at.join("pids.current").exists() {
        usage.pids = number(&at.join("pids.current"))?;
    }
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_delegated_folder() {
        let check_with = |text: &str, scope: &str, wanted: &str| {
            let own = own_cgroup(text);
            let found = place(own.as_deref(), "paas", |asked| asked == scope);
            assert_eq!(found, wanted, "{text}");
        };
        let check = |text: &str, wanted: &str| check_with(text, "", wanted);
        check("0::/\n", "paas");
        check(
            "4:memory:/x\n0::/system.slice/paas.service/roles\n",
            "system.slice/paas.service",
        );
        check("0::/user.slice/user-0.slice/session-1.scope\n", "paas");
        check("", "paas");
        check("0::/roles\n", "paas");
        check("0::/system.slice/paas.service\n", "paas");
        let scope = "system.slice/paas.scope";
        check_with("0::/system.slice/paas.service\n", scope, scope);
        check_with("0::/system.slice/other.service\n", scope, "paas");
    }
}
