//! What blobs, shelf and names ask of the disk alike: shared folders, random names, durable
//! renames, and which boot this is.

use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The system refused something.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct DiskError {
    /// What we tried, e.g. `open`.
    pub doing: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Makes an [`DiskError`] out of what the system said.
pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError {
        doing,
        path,
        source,
    }
}

/// Makes a folder that the roles share: their group may write, and what is made in it keeps the
/// group. One that is there already is left as it is.
pub(crate) fn make_shared_dir(path: &Path) -> Result<(), DiskError> {
    match DirBuilder::new().mode(0o770).create(path) {
        Ok(()) => set_mode(path, 0o2770),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("create", path)(error)),
    }
}

/// Sets the mode whatever the umask says.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), DiskError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set the mode of", path))
}

/// Makes what was renamed, made or removed in a folder survive a power cut.
pub(crate) fn sync_dir(path: &Path) -> Result<(), DiskError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("sync", path))
}

/// Sixteen random hex digits for the name of something that is not finished.
pub(crate) fn random_name() -> String {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("getrandom does not fail once the machine has booted (getrandom(2))");
    format!("{:016x}", u64::from_ne_bytes(bytes))
}

/// Name of a file that [`replace`] is about to rename.
const TEMPORARY: &str = ".tmp-";

/// Removes what a dead process or a power cut left of [`replace`] in an earlier boot.
pub(crate) fn remove_temporaries(dir: &Path) -> Result<(), DiskError> {
    let started = boot_time()?;
    for name in list(dir)? {
        let path = dir.join(&name);
        if name.starts_with(TEMPORARY) && is_older(&path, started)? {
            remove_file(&path)?;
        }
    }
    Ok(())
}

/// Whether something was last changed before a time; what is not there was not.
pub(crate) fn is_older(path: &Path, time: SystemTime) -> Result<bool, DiskError> {
    match fs::symlink_metadata(path).and_then(|meta| meta.modified()) {
        Ok(modified) => Ok(modified < time),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

/// Writes a small file in one step and durably: readers see the old content or the new, never a
/// part, also after a power cut.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), DiskError> {
    write_beside(path, content, mode, File::sync_all)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// As [`replace`], but a power cut may bring back the old content, or leave none.
pub(crate) fn replace_soon(path: &Path, content: &[u8], mode: u32) -> Result<(), DiskError> {
    write_beside(path, content, mode, |_| Ok(()))
}

fn write_beside(
    path: &Path,
    content: &[u8],
    mode: u32,
    sync: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(), DiskError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let temporary = dir.join(format!("{TEMPORARY}{}", random_name()));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        sync(&file)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        // It may never have been made; the error that is returned tells why.
        fs::remove_file(&temporary).ok();
        failed("write", path)(error)
    })
}

/// Whether the path leads somewhere; a link that leads nowhere counts.
pub(crate) fn exists(path: &Path) -> Result<bool, DiskError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The names in a folder that are text, in no order; others cannot be ours.
pub(crate) fn list(path: &Path) -> Result<Vec<String>, DiskError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed("list", path))? {
        let entry = entry.map_err(failed("list", path))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// Bytes that everybody but root may still write to the file system of a folder.
pub fn free_bytes(path: &Path) -> Result<u64, DiskError> {
    let facts =
        nix::sys::statvfs::statvfs(path).map_err(|errno| failed("look at", path)(errno.into()))?;
    Ok(facts
        .blocks_available()
        .saturating_mul(facts.fragment_size()))
}

/// Names this boot of the machine (random(4), `/proc/sys/kernel/random/boot_id`).
pub(crate) fn boot_id() -> Result<String, DiskError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let id = fs::read_to_string(path).map_err(failed("read", path))?;
    Ok(id.trim_end().to_owned())
}

/// When this boot began, by the clock of now; a file changed before is from an earlier boot.
pub(crate) fn boot_time() -> Result<SystemTime, DiskError> {
    let path = Path::new("/proc/uptime");
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    let uptime_s: f64 = text
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| failed("read", path)(io::ErrorKind::InvalidData.into()))?;
    Ok(SystemTime::now() - Duration::from_secs_f64(uptime_s))
}
