//! The part of systemd's cgroup tree in which dynos live.
//!
//! From systemd 254 on it is the unit's own: `DelegateSubgroup=roles` has the supervisor start in a
//! child of the unit's cgroup, dynos get other children. An older systemd (252 on Debian 12) starts
//! the supervisor in the unit's cgroup itself, which the kernel refuses with EBUSY as long as
//! children of it have controllers: with one dyno alive, a platform that was killed could not start
//! again. There dynos live in a delegated scope beside the unit, `<instance>.scope`. A scope lasts
//! as long as a process is in it, so one that only waits holds it.
//!
//! The nursery finds either (`sandbox::cgroup`), and `paas down` removes it.

use anyhow::{Context as _, ensure};
use link::config::Config;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where systemd mounts the v2 tree when nothing is mounted beside it.
const TREE: &str = "/sys/fs/cgroup";
/// Becomes the one that waits: `$0` is its cgroup, a child of the scope, since a cgroup whose
/// children have controllers has no processes of its own.
const HOLD: &str =
    "mkdir -p \"$0\" && echo $$ > \"$0/cgroup.procs\" && echo held && exec sleep infinity";

/// Makes the scope where one is needed and there is none.
pub(super) fn prepare(config: &Config) -> anyhow::Result<()> {
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let Some(scope) = scope(&own, config.instance.as_str()) else {
        return Ok(());
    };
    let is_v2_alone = Path::new(TREE).join("cgroup.controllers").exists();
    if !is_v2_alone || scope.exists() {
        return Ok(());
    }
    hold(&scope).with_context(|| format!("cannot make {}", scope.display()))
}

/// The scope beside the unit, if the supervisor is in the unit's cgroup itself.
fn scope(own: &str, instance: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let slice = own.strip_suffix(&format!("/{instance}.service"))?;
    Some(
        Path::new(TREE)
            .join(slice)
            .join(format!("{instance}.scope")),
    )
}

fn hold(scope: &Path) -> anyhow::Result<()> {
    let name = scope.file_name().context("it has no name")?;
    let slice = scope
        .parent()
        .and_then(Path::file_name)
        .context("it is in no slice")?;
    // In the slice of the unit, with the unit's freedoms. It becomes the shell, and that `sleep`.
    let mut waiting = Command::new("systemd-run")
        .args(["--scope", "--quiet", "--collect", "--unit"])
        .arg(name)
        .arg("--slice")
        .arg(slice)
        .args(["--description=the dynos of paas", "--property=Delegate=yes"])
        .arg("--property=TasksMax=infinity")
        .args(["--", "/bin/sh", "-c", HOLD])
        .arg(scope.join("hold"))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run systemd-run")?;
    let said = waiting.stdout.take().context("it has no output")?;
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    ensure!(line == "held\n", "systemd-run refused: see the journal");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_needed_where_the_unit_has_no_subgroup() {
        let check = |own: &str, wanted: Option<&str>| {
            assert_eq!(
                scope(own, "paas").as_deref(),
                wanted.map(Path::new),
                "{own}"
            );
        };
        let beside = "/sys/fs/cgroup/system.slice/paas.scope";
        check("0::/system.slice/paas.service\n", Some(beside));
        check("0::/system.slice/paas.service/roles\n", None);
        check("0::/user.slice/user-0.slice/session-1.scope\n", None);
        check("4:memory:/x\n0::/\n", None);
    }
}
