//! The files of a producer: `<sequence, 16 hex digits>.log`, the highest is the one that grows.

use crate::disk::{DiskError, failed};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file of a sequence number.
pub(crate) fn path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:016x}.log"))
}

/// The sequence numbers that are there, ascending; none if the folder does not exist.
pub(crate) fn list(dir: &Path) -> Result<Vec<u64>, DiskError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", dir)(error)),
    };
    let mut sequences = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", dir))?;
        sequences.extend(entry.file_name().to_str().and_then(parse));
    }
    sequences.sort_unstable();
    Ok(sequences)
}

fn parse(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let is_canonical = digits.len() == 16 && !digits.starts_with('+');
    is_canonical.then(|| u64::from_str_radix(digits, 16).ok())?
}

/// The content of a segment; none if the writer has dropped it.
pub(crate) fn read(dir: &Path, sequence: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let path = path(dir, sequence);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", &path)(error)),
    }
}
