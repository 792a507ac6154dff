//! What is known of an entry: `<boot id> <making> <size>` in a small file.
//!
//! The file is not synced. Whether it survives a power cut does not matter before its entry is
//! settled, and settling syncs it along.

use crate::disk::{self, DiskError, failed};
use std::fs;
use std::io;
use std::path::Path;

/// The record of one making of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The boot in which the entry was made.
    pub(super) boot_id: String,
    /// Tells two makings of one blob apart.
    making: String,
    /// Bytes of its files.
    pub(super) size_bytes: u64,
}

impl Record {
    pub(super) fn new(boot_id: &str, size_bytes: u64) -> Self {
        Self {
            boot_id: boot_id.to_owned(),
            making: disk::random_name(),
            size_bytes,
        }
    }

    /// None if it is missing or was cut by a power cut.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, DiskError> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(failed("read", path)(error)),
        }
    }

    /// Writes it so that all of the group can set its time.
    pub(super) fn write(&self, path: &Path) -> Result<(), DiskError> {
        let Self {
            boot_id,
            making,
            size_bytes,
        } = self;
        let content = format!("{boot_id} {making} {size_bytes}\n");
        disk::replace_soon(path, content.as_bytes(), 0o660)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.strip_suffix('\n')?.split(' ');
        Some(Self {
            boot_id: fields.next()?.to_owned(),
            making: fields.next()?.to_owned(),
            size_bytes: fields.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_counts_as_none() {
        let whole = "boot making 12\n";
        assert_eq!(Record::parse(whole).unwrap().size_bytes, 12);
        for cut in 0..whole.len() {
            assert_eq!(Record::parse(whole.split_at(cut).0), None);
        }
        for text in ["boot making x\n", "\0\0\0\n"] {
            assert_eq!(Record::parse(text), None);
        }
    }
}
