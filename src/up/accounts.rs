//! The system users of the roles: made once per machine and shared by all instances.

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Group, Uid, User};
use std::fs::File;
use std::process::Command;

/// Held while users are made: they are shared by all instances, which may start at the same time.
const LOCK: &str = "/run/paas-accounts.lock";

/// The group of all of them.
pub(crate) const GROUP: &str = "paas";
/// One user a role.
pub(crate) const USERS: [&str; 4] = ["paas-api", "paas-builder", "paas-dynod", "paas-router"];

/// A user with its primary group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// The user.
    pub(crate) uid: Uid,
    /// Its group.
    pub(crate) gid: Gid,
}

/// Makes what is missing.
pub(crate) fn make() -> anyhow::Result<()> {
    if has_all()? {
        return Ok(());
    }
    let lock = File::create(LOCK).with_context(|| format!("cannot make {LOCK}"))?;
    let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error);
    let _held = lock.with_context(|| format!("cannot lock {LOCK}"))?;
    if Group::from_name(GROUP)?.is_none() {
        command("groupadd", &["--system", GROUP])?;
    }
    for name in USERS {
        if User::from_name(name)?.is_none() {
            #[rustfmt::skip]
            command("useradd", &[
                "--system", "--no-create-home", "--home-dir", "/nonexistent",
                "--shell", "/usr/sbin/nologin", "--gid", GROUP, name,
            ])?;
        }
    }
    Ok(())
}

fn has_all() -> nix::Result<bool> {
    let mut has = Group::from_name(GROUP)?.is_some();
    for name in USERS {
        has = has && User::from_name(name)?.is_some();
    }
    Ok(has)
}

/// The user of this name.
pub(crate) fn find(name: &str) -> anyhow::Result<Account> {
    let user = User::from_name(name)?.with_context(|| format!("there is no user {name}"))?;
    Ok(Account {
        uid: user.uid,
        gid: user.gid,
    })
}

/// The group of the roles.
pub(crate) fn group() -> anyhow::Result<Gid> {
    let group = Group::from_name(GROUP)?;
    Ok(group
        .with_context(|| format!("there is no group {GROUP}"))?
        .gid)
}

fn command(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {program} (package passwd)"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed: {}", message.trim());
    }
    Ok(())
}
