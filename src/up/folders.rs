//! The folders below DATA and RUN, with their owners and modes.

use super::accounts;
use anyhow::Context as _;
use link::config::Config;
use nix::unistd::{Gid, Uid, chown};
use std::fs::{DirBuilder, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

/// Path below DATA, owner, mode; all of group `paas`. Setgid and writable for the group where
/// several roles write: what one of them puts there the others can use.
#[rustfmt::skip]
pub(crate) const DATA: [(&str, &str, u32); 19] = [
    ("",                "root",         0o755),
    ("authority",       "paas-api",     0o755),
    ("store",           "paas-api",     0o700),
    ("git",             "paas-builder", 0o700),
    ("layers",          "paas-builder", 0o700),
    ("blobs",           "root",         0o2770),
    ("blobs/sha256",    "root",         0o2770),
    ("blobs/tmp",       "root",         0o2770),
    ("shelf",           "root",         0o2770),
    ("cache",           "root",         0o2770),
    ("sources",         "paas-api",     0o2750),
    ("journal",         "root",         0o2770),
    ("journal/api",     "paas-api",     0o2770),
    ("journal/builder", "paas-builder", 0o2770),
    ("journal/dynod",   "paas-dynod",   0o2770),
    ("journal/router",  "paas-router",  0o2770),
    ("node",            "root",         0o755),
    ("node/dynod",      "paas-dynod",   0o700),
    ("node/router",     "paas-router",  0o700),
];

/// Path below RUN, owner, mode.
const RUN: [(&str, &str, u32); 3] = [
    ("", "root", 0o755),
    ("dynos", "root", 0o750),
    ("jobs", "root", 0o750),
];

/// Bytes of the platform key: AES-256.
const KEY_BYTES: usize = 32;

/// Makes what is missing and sets owners and modes right.
pub(crate) fn lay_out(config: &Config) -> anyhow::Result<()> {
    let gid = accounts::group()?;
    for (path, owner, mode) in DATA {
        let path = below(&config.data_dir, path);
        folder(&path, owner, gid, mode)
            .with_context(|| format!("cannot make {}", path.display()))?;
    }
    folder(&config.data_dir.join("log"), "root", gid, 0o750)?;
    for (path, owner, mode) in RUN {
        let path = below(&config.run_dir, path);
        folder(&path, owner, gid, mode)
            .with_context(|| format!("cannot make {}", path.display()))?;
    }
    readable(&config.data_dir.join("config.toml"), gid)
        .context("cannot let the roles read config.toml")?;
    key(&config.data_dir.join("key"), gid).context("cannot make the platform key")
}

/// `paas configure` writes it on a machine that does not have the roles' group yet.
fn readable(path: &Path, gid: Gid) -> anyhow::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    chown(path, None, Some(gid))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o640))?;
    Ok(())
}

/// Joining an empty path would add a slash at the end.
fn below(folder: &Path, path: &str) -> std::path::PathBuf {
    if path.is_empty() {
        folder.to_owned()
    } else {
        folder.join(path)
    }
}

fn folder(path: &Path, owner: &str, gid: Gid, mode: u32) -> anyhow::Result<()> {
    let uid = match owner {
        "root" => Uid::from_raw(0),
        user => accounts::find(user)?.uid,
    };
    if !path.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    // Owner first: changing it takes the setgid bit away.
    let metadata = std::fs::symlink_metadata(path)?;
    anyhow::ensure!(metadata.is_dir(), "it is no folder");
    if (metadata.uid(), metadata.gid()) != (uid.as_raw(), gid.as_raw()) {
        chown(path, Some(uid), Some(gid))?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(())
}

/// The key that wraps all other keys: made once, never changed.
fn key(path: &Path, gid: Gid) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut bytes = [0; KEY_BYTES];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    let part = path.with_extension("part");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(&bytes)?;
    chown(&part, Some(accounts::find("paas-api")?.uid), Some(gid))?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    Ok(())
}
