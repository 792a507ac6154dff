//! The node's shelf: blobs unpacked once, mounted read-only by any number of dynos and builds.
//!
//! In `<dir>`:
//! - `<hex>/` is an unpacked blob. Its files belong to the ids inside a sandbox, so that only
//!   somebody with privilege can remove them: what we cannot remove is returned by name.
//! - `<hex>.entry` tells boot and size; its time is that of the last use. Written before the folder
//!   gets its name.
//! - `<hex>.complete` says that the folder is on the disk for certain. [`Shelf::settle`] makes it
//!   after syncfs(2), which may take seconds and therefore is never on the way of a push: until
//!   then an entry is good for this boot, whose page cache holds it, and no longer.
//! - `<hex>.tmp-<random>/` is being filled, `<hex>.gone-<random>/` waits for its removal.
//!
//! Builder and dynod use it at once, as different users of one group. A folder is renamed as a
//! whole, so who comes second finds the first one's entry and takes that.

use crate::disk::{self, failed};
use model::digest::Digest;
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use nix::unistd::syncfs;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Why the shelf cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

/// The shelf of a node.
#[derive(Clone, Debug)]
pub struct Shelf {
    dir: PathBuf,
    boot_id: String,
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
    pub fn open(dir: &Path) -> Result<(Self, Leftovers), Error> {
        disk::make_shared_dir(dir)?;
        let shelf = Self {
            dir: dir.to_owned(),
            boot_id: disk::boot_id()?,
        };
        let leftovers = shelf.sweep()?;
        Ok((shelf, leftovers))
    }

    /// The folder of a blob, if it can be used; notes the use.
    pub fn path(&self, digest: &Digest) -> Result<Option<PathBuf>, Error> {
        let path = self.dir.join(digest.hex());
        if !disk::exists(&path)? || !self.is_usable(digest)? {
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
    pub fn begin(&self, digest: &Digest) -> Result<Filling, Error> {
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
    pub fn finish(&self, filling: Filling, size_bytes: u64) -> Result<(PathBuf, Leftovers), Error> {
        let Filling { digest, path } = filling;
        let place = self.dir.join(digest.hex());
        disk::set_mode(&path, 0o755)?;
        let mut leftovers = Leftovers::default();
        if disk::exists(&place)? && !self.is_usable(&digest)? {
            self.take_out(&digest, &mut leftovers)?;
        }
        if !disk::exists(&place)? {
            self.write_record(&digest, size_bytes)?;
        }
        match fs::rename(&path, &place) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                self.remove(&path, &mut leftovers)?;
            }
            Err(error) => return Err(failed("name", &place)(error).into()),
        }
        Ok((place, leftovers))
    }

    /// Removes a folder that was begun and shall not be finished.
    pub fn discard(&self, filling: Filling) -> Result<Leftovers, Error> {
        let mut leftovers = Leftovers::default();
        self.remove(&filling.path, &mut leftovers)?;
        Ok(leftovers)
    }

    /// Makes all entries of this boot survive a power cut. May take seconds: it waits for the disk
    /// to take all that is written to this file system. Returns how many entries it settled.
    pub fn settle(&self) -> Result<usize, Error> {
        let unsettled: Vec<Entry> = self
            .entries()?
            .into_iter()
            .filter(|entry| !entry.is_complete)
            .collect();
        if unsettled.is_empty() {
            return Ok(0);
        }
        let dir = File::open(&self.dir).map_err(failed("open", &self.dir))?;
        syncfs(&dir).map_err(|errno| failed("sync", &self.dir)(errno.into()))?;
        for entry in &unsettled {
            let path = self.complete_path(&entry.digest);
            File::create(&path).map_err(failed("create", &path))?;
            // It may have been evicted while the disk was busy.
            if !disk::exists(&self.dir.join(entry.digest.hex()))? {
                disk::remove_file(&path)?;
            }
        }
        Ok(unsettled.len())
    }

    /// All usable entries, the one that was not used for longest first.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for name in disk::list(&self.dir)? {
            let Ok(digest) = Digest::parse_hex(&name) else {
                continue;
            };
            if !self.is_usable(&digest)? {
                continue;
            }
            let path = self.record_path(&digest);
            let record = match fs::metadata(&path).and_then(|meta| meta.modified()) {
                Ok(last_used) => (last_used, self.read_record(&digest)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("look at", &path)(error).into()),
            };
            let (last_used, Some(record)) = record else {
                continue;
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
    /// those in `keep` stay. The caller must know what is mounted: that belongs into `keep`.
    pub fn evict(&self, keep: &BTreeSet<Digest>, max_bytes: u64) -> Result<Leftovers, Error> {
        let entries = self.entries()?;
        let mut leftovers = Leftovers::default();
        for digest in to_evict(&entries, keep, max_bytes) {
            self.take_out(&digest, &mut leftovers)?;
        }
        Ok(leftovers)
    }

    /// Whether the entry of a blob is whole: settled, or made in this boot.
    fn is_usable(&self, digest: &Digest) -> Result<bool, Error> {
        if disk::exists(&self.complete_path(digest))? {
            return Ok(true);
        }
        let record = self.read_record(digest)?;
        Ok(record.is_some_and(|record| record.boot_id == self.boot_id))
    }

    fn sweep(&self) -> Result<Leftovers, Error> {
        let mut leftovers = Leftovers::default();
        for name in disk::list(&self.dir)? {
            let path = self.dir.join(&name);
            let (hex, suffix) = name.split_once('.').unwrap_or((&name, ""));
            let Ok(digest) = Digest::parse_hex(hex) else {
                continue;
            };
            if suffix.is_empty() {
                if !self.is_usable(&digest)? {
                    self.take_out(&digest, &mut leftovers)?;
                }
            } else if suffix.starts_with("gone-") || self.is_old_filling(suffix, &path)? {
                self.remove(&path, &mut leftovers)?;
            } else if matches!(suffix, "entry" | "complete") {
                self.remove_stray(&digest, &path)?;
            }
        }
        Ok(leftovers)
    }

    /// Whether a folder was being filled before this boot; one of this boot may still be.
    fn is_old_filling(&self, suffix: &str, path: &Path) -> Result<bool, Error> {
        if !suffix.starts_with("tmp-") {
            return Ok(false);
        }
        let started = disk::boot_time()?;
        match fs::symlink_metadata(path).and_then(|meta| meta.modified()) {
            Ok(modified) => Ok(modified < started),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("look at", path)(error).into()),
        }
    }

    /// Removes the record of an entry that is not there, unless it is about to come.
    fn remove_stray(&self, digest: &Digest, path: &Path) -> Result<(), Error> {
        let is_ours = self
            .read_record(digest)?
            .is_some_and(|record| record.boot_id == self.boot_id);
        if !is_ours && !disk::exists(&self.dir.join(digest.hex()))? {
            disk::remove_file(path)?;
        }
        Ok(())
    }

    /// Makes an entry unusable in one step, then removes what it may remove.
    fn take_out(&self, digest: &Digest, leftovers: &mut Leftovers) -> Result<(), Error> {
        let place = self.dir.join(digest.hex());
        let gone = format!("{}.gone-{}", digest.hex(), disk::random_name());
        let gone = self.dir.join(gone);
        disk::remove_file(&self.complete_path(digest))?;
        disk::remove_file(&self.record_path(digest))?;
        match fs::rename(&place, &gone) {
            Ok(()) => self.remove(&gone, leftovers),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("rename", &place)(error).into()),
        }
    }

    fn remove(&self, path: &Path, leftovers: &mut Leftovers) -> Result<(), Error> {
        match fs::remove_dir_all(path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                leftovers.names.push(file_name(path));
                Ok(())
            }
            Err(error) => Err(failed("remove", path)(error).into()),
        }
    }

    fn record_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.entry", digest.hex()))
    }

    fn complete_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.complete", digest.hex()))
    }

    fn write_record(&self, digest: &Digest, size_bytes: u64) -> Result<(), Error> {
        let content = format!("{} {size_bytes}\n", self.boot_id);
        let path = self.record_path(digest);
        Ok(disk::replace_soon(&path, content.as_bytes(), 0o660)?)
    }

    /// The record of an entry; none if it is missing or was cut by a power cut.
    fn read_record(&self, digest: &Digest) -> Result<Option<Record>, Error> {
        let path = self.record_path(digest);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Record::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error).into()),
        }
    }
}

struct Record {
    boot_id: String,
    size_bytes: u64,
}

impl Record {
    fn parse(text: &str) -> Option<Self> {
        let (boot_id, size_bytes) = text.strip_suffix('\n')?.split_once(' ')?;
        Some(Self {
            boot_id: boot_id.to_owned(),
            size_bytes: size_bytes.parse().ok()?,
        })
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
