//! The node's shelf: blobs unpacked once, mounted read-only by any number of dynos and builds.
//!
//! In `<dir>`:
//! - `<hex>/` is an unpacked blob. Its files belong to the ids inside a sandbox, so that only
//!   somebody with privilege can remove them: what we cannot remove is returned by name.
//! - `<hex>.entry` tells boot and size; its time is that of the last use.
//! - `<hex>.complete` says that the folder is on the disk for certain. [`Shelf::settle`] makes it
//!   after syncfs(2), which may take seconds and therefore is never on the way of a push: until
//!   then an entry is good for this boot, whose page cache holds it, and no longer.
//! - `<hex>.tmp-<random>/` is being filled, `<hex>.gone-<random>/` waits for its removal.
//!
//! Builder and dynod use it at once, as different users of one group. Who changes names holds the
//! lock of the shelf (flock(2)) for some file operations, never while it writes or removes a tree;
//! a folder is renamed as a whole, so who comes second finds the first one's entry and takes that.

mod record;

use crate::disk::{self, DiskError, failed};
use model::digest::Digest;
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use nix::unistd::syncfs;
use record::Record;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Why the shelf cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The shelf of a node.
#[derive(Clone, Debug)]
pub struct Shelf {
    dir: PathBuf,
    boot_id: String,
    boot_time: SystemTime,
}

/// A folder that is to be filled. It stays if this is dropped; the next opening after a boot, or
/// [`Shelf::discard`], removes it.
#[derive(Debug)]
pub struct Filling {
    digest: Digest,
    path: PathBuf,
}

impl Filling {
    /// The folder, empty, mode 0777 below a folder that only the group can enter: the jailed
    /// unpacker is nobody that we know.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name on the shelf, for a mount that is given as a path below the data folder.
    pub fn name(&self) -> String {
        file_name(&self.path)
    }
}

/// What came of a change of the shelf.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Folders on the shelf that are out of use and that only somebody with privilege can remove.
    pub names: Vec<String>,
}

/// One unpacked blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The blob.
    pub digest: Digest,
    /// Bytes of its files, as told to [`Shelf::finish`].
    pub size_bytes: u64,
    /// When it was last asked for.
    pub last_used: SystemTime,
    /// Whether it outlives a power cut.
    pub is_complete: bool,
}

impl Shelf {
    /// Opens the shelf, making it if it is missing (its parent must exist), and takes out of use
    /// what an earlier boot left without having settled it.
    pub fn open(dir: &Path) -> Result<(Self, Leftovers), ShelfError> {
        disk::make_shared_dir(dir)?;
        disk::remove_temporaries(dir)?;
        let shelf = Self {
            dir: dir.to_owned(),
            boot_id: disk::boot_id()?,
            boot_time: disk::boot_time()?,
        };
        let leftovers = shelf.sweep()?;
        Ok((shelf, leftovers))
    }

    /// The folder of a blob, if it can be used; notes the use.
    pub fn path(&self, digest: &Digest) -> Result<Option<PathBuf>, ShelfError> {
        let path = self.dir.join(digest.hex());
        if self.usable(digest)?.is_none() || !disk::exists(&path)? {
            return Ok(None);
        }
        let record = self.record_path(digest);
        match touch(&record) {
            Ok(()) => Ok(Some(path)),
            // It was evicted between the two looks.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("touch", &record)(error).into()),
        }
    }

    /// Starts an entry: an empty folder to be filled and handed to [`Shelf::finish`].
    pub fn begin(&self, digest: &Digest) -> Result<Filling, ShelfError> {
        let name = format!("{}.tmp-{}", digest.hex(), disk::random_name());
        let path = self.dir.join(name);
        fs::create_dir(&path).map_err(failed("create", &path))?;
        disk::set_mode(&path, 0o777)?;
        Ok(Filling {
            digest: *digest,
            path,
        })
    }

    /// Puts a filled folder on the shelf, where it can be used at once, and returns its place.
    ///
    /// If somebody else was faster, theirs stays and ours goes.
    pub fn finish(
        &self,
        filling: Filling,
        size_bytes: u64,
    ) -> Result<(PathBuf, Leftovers), ShelfError> {
        let Filling { digest, path } = filling;
        let place = self.dir.join(digest.hex());
        disk::set_mode(&path, 0o755)?;
        let unneeded = {
            let _lock = self.lock()?;
            if self.usable(&digest)?.is_some() && disk::exists(&place)? {
                Some(path)
            } else {
                let before = self.take_out(&digest)?;
                Record::new(&self.boot_id, size_bytes).write(&self.record_path(&digest))?;
                fs::rename(&path, &place).map_err(failed("name", &place))?;
                before
            }
        };
        Ok((place, remove_all(unneeded)?))
    }

    /// Removes a folder that was begun and shall not be finished.
    pub fn discard(&self, filling: Filling) -> Result<Leftovers, ShelfError> {
        let Filling { path, .. } = filling;
        remove_all([path])
    }

    /// Makes all entries of this boot survive a power cut. May take seconds: it waits for the disk
    /// to take all that is written to this file system. Returns how many entries it settled.
    pub fn settle(&self) -> Result<usize, ShelfError> {
        let mut unsettled = Vec::new();
        for digest in self.digests()? {
            let is_complete = disk::exists(&self.complete_path(&digest))?;
            if let (false, Some(record)) = (is_complete, self.usable(&digest)?) {
                unsettled.push((digest, record));
            }
        }
        if unsettled.is_empty() {
            return Ok(0);
        }
        let dir = File::open(&self.dir).map_err(failed("open", &self.dir))?;
        syncfs(&dir).map_err(|errno| failed("sync", &self.dir)(errno.into()))?;
        let mut settled = 0;
        let _lock = self.lock()?;
        for (digest, record) in unsettled {
            // While the disk was busy it may have been evicted, and even made anew.
            if self.usable(&digest)? == Some(record) {
                let path = self.complete_path(&digest);
                File::create(&path).map_err(failed("create", &path))?;
                settled += 1;
            }
        }
        Ok(settled)
    }

    /// All usable entries, the one that was not used for longest first.
    pub fn entries(&self) -> Result<Vec<Entry>, ShelfError> {
        let mut entries = Vec::new();
        for digest in self.digests()? {
            let Some(record) = self.usable(&digest)? else {
                continue;
            };
            let path = self.record_path(&digest);
            let last_used = match fs::metadata(&path).and_then(|meta| meta.modified()) {
                Ok(last_used) => last_used,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("look at", &path)(error).into()),
            };
            entries.push(Entry {
                digest,
                size_bytes: record.size_bytes,
                last_used,
                is_complete: disk::exists(&self.complete_path(&digest))?,
            });
        }
        entries.sort_by_key(|entry| (entry.last_used, entry.digest));
        Ok(entries)
    }

    /// Takes entries out of use, longest unused first, until all together have at most `max_bytes`;
    /// those in `keep` stay.
    ///
    /// The caller knows what is mounted: that belongs into `keep`. Whoever has just asked for a
    /// path and not mounted it yet finds it gone and asks again.
    pub fn evict(&self, keep: &BTreeSet<Digest>, max_bytes: u64) -> Result<Leftovers, ShelfError> {
        let mut unneeded = Vec::new();
        let lock = self.lock()?;
        for digest in to_evict(&self.entries()?, keep, max_bytes) {
            unneeded.extend(self.take_out(&digest)?);
        }
        drop(lock);
        remove_all(unneeded)
    }

    fn lock(&self) -> Result<File, ShelfError> {
        let dir = File::open(&self.dir).map_err(failed("open", &self.dir))?;
        dir.lock().map_err(failed("lock", &self.dir))?;
        Ok(dir)
    }

    /// What has the name of an entry, usable or not, in no order.
    fn digests(&self) -> Result<Vec<Digest>, ShelfError> {
        let names = disk::list(&self.dir)?;
        let digests = names.iter().filter_map(|name| Digest::parse_hex(name).ok());
        Ok(digests.collect())
    }

    /// The record of an entry that is whole: settled, or made in this boot.
    fn usable(&self, digest: &Digest) -> Result<Option<Record>, ShelfError> {
        let Some(record) = Record::read(&self.record_path(digest))? else {
            return Ok(None);
        };
        let is_whole = record.boot_id == self.boot_id || disk::exists(&self.complete_path(digest))?;
        Ok(is_whole.then_some(record))
    }

    fn sweep(&self) -> Result<Leftovers, ShelfError> {
        let mut unneeded = Vec::new();
        let lock = self.lock()?;
        for name in disk::list(&self.dir)? {
            let path = self.dir.join(&name);
            let (hex, suffix) = name.split_once('.').unwrap_or((&name, ""));
            let Ok(digest) = Digest::parse_hex(hex) else {
                continue;
            };
            if suffix.starts_with("gone-") || self.is_old_filling(suffix, &path)? {
                unneeded.push(path);
            } else if matches!(suffix, "" | "entry" | "complete")
                && !(self.usable(&digest)?.is_some() && disk::exists(&self.dir.join(hex))?)
            {
                unneeded.extend(self.take_out(&digest)?);
            }
        }
        drop(lock);
        remove_all(unneeded)
    }

    /// Whether a folder was being filled before this boot; one of this boot may still be.
    fn is_old_filling(&self, suffix: &str, path: &Path) -> Result<bool, ShelfError> {
        if !suffix.starts_with("tmp-") {
            return Ok(false);
        }
        Ok(disk::is_older(path, self.boot_time)?)
    }

    /// Takes an entry, or what is there of it, out of use and returns the folder to be removed. To
    /// be called with the lock held.
    fn take_out(&self, digest: &Digest) -> Result<Option<PathBuf>, ShelfError> {
        let place = self.dir.join(digest.hex());
        let gone = format!("{}.gone-{}", digest.hex(), disk::random_name());
        let gone = self.dir.join(gone);
        // This order: a folder with a mark but without a record is not usable.
        disk::remove_file(&self.record_path(digest))?;
        disk::remove_file(&self.complete_path(digest))?;
        match fs::rename(&place, &gone) {
            Ok(()) => Ok(Some(gone)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("rename", &place)(error).into()),
        }
    }

    fn record_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.entry", digest.hex()))
    }

    fn complete_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.complete", digest.hex()))
    }
}

/// Which entries go, given all of them in the order in which they should.
fn to_evict(entries: &[Entry], keep: &BTreeSet<Digest>, max_bytes: u64) -> Vec<Digest> {
    let mut size_bytes: u64 = entries.iter().map(|entry| entry.size_bytes).sum();
    let mut evicted = Vec::new();
    for entry in entries {
        if size_bytes <= max_bytes {
            break;
        }
        if !keep.contains(&entry.digest) {
            size_bytes -= entry.size_bytes;
            evicted.push(entry.digest);
        }
    }
    evicted
}

/// Removes folders that are out of use, as far as we may.
fn remove_all(paths: impl IntoIterator<Item = PathBuf>) -> Result<Leftovers, ShelfError> {
    let mut leftovers = Leftovers::default();
    for path in paths {
        match fs::remove_dir_all(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                leftovers.names.push(file_name(&path));
            }
            Err(error) => return Err(failed("remove", &path)(error).into()),
        }
    }
    Ok(leftovers)
}

/// Sets the time of a file to now, which also those may do who can write to it but do not own
/// it (utimensat(2)): the other role.
fn touch(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let now = TimeSpec::UTIME_NOW;
    Ok(futimens(&file, &now, &now)?)
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;
