//! Where the output of roles goes: the journal under systemd, else `DATA/log/<role>.log`.

use anyhow::Context as _;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Bytes of one log; as much again is kept as `<role>.log.1`. Ours: some weeks of a calm platform.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes from the end in which the last lines are looked for.
const TAIL_BYTES: u64 = 16 * 1024;

/// Whether systemd's journal takes our standard error.
pub(super) fn has_journal() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some()
}

/// Opens the log of a role for its standard error.
pub(super) fn open(data: &Path, name: &str) -> anyhow::Result<Stdio> {
    if has_journal() {
        return Ok(Stdio::inherit());
    }
    Ok(append(data, name)?.into())
}

/// Opens the log for appending.
pub(super) fn append(data: &Path, name: &str) -> anyhow::Result<File> {
    let path = path(data, name);
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Keeps the log within its bound. Roles hold the file open for appending, so it is copied and
/// emptied; a line written in between is lost, which a log of last resort can bear.
pub(super) fn rotate(data: &Path, name: &str) -> std::io::Result<()> {
    let path = path(data, name);
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.len() > MAX_BYTES => {
            std::fs::copy(&path, path.with_extension("log.1"))?;
            OpenOptions::new().write(true).open(&path)?.set_len(0)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The last lines of a role's log, at most `count`; none when there is no log.
pub(super) fn tail(data: &Path, name: &str, count: usize) -> Vec<String> {
    let read = || {
        let mut file = File::open(path(data, name))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let bytes = read().unwrap_or_else(|_| Vec::new());
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // A role that fails again and again says the same again and again.
    lines.dedup();
    let skipped = lines.len().saturating_sub(count);
    lines.into_iter().skip(skipped).collect()
}

/// The log's file.
pub(super) fn path(data: &Path, name: &str) -> PathBuf {
    data.join("log").join(format!("{name}.log"))
}
