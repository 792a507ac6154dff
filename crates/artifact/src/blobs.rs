//! The store of blobs: a file per sha256, written beside, synced, and renamed into place.
//!
//! `<dir>/sha256/<hex>` are sealed blobs, `<dir>/tmp/<random>` are being written. A file in `tmp`
//! is locked (flock(2)) as long as somebody may write to it; whatever is not locked was left by a
//! process that died and goes at the next [`Blobs::open`].

use crate::disk::{self, DiskError, failed};
use crate::hash::{Hasher, sha256_of};
use model::digest::Digest;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a blob cannot be had or made.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("find blob {0}")]
    Missing(Digest),
    /// More bytes came than were allowed.
    #[error("seal a blob of {size_bytes} bytes, at most {max_bytes} are allowed")]
    TooLarge {
        /// What came, at least.
        size_bytes: u64,
        /// What was allowed.
        max_bytes: u64,
    },
    /// Somebody else wrote to the file, so what was hashed is not what it holds.
    #[error("seal a blob: {hashed_bytes} bytes were hashed, the file has {size_bytes}")]
    NotHashed {
        /// Bytes that came through `Write`.
        hashed_bytes: u64,
        /// Length of the file.
        size_bytes: u64,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The blob store of a machine. Any number of processes may have it open.
#[derive(Clone, Debug)]
pub struct Blobs {
    sealed: PathBuf,
    tmp: PathBuf,
}

impl Blobs {
    /// Opens the store, making its folders if they are missing (the parent of `dir` must exist),
    /// and removes what dead writers left.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        let blobs = Self {
            sealed: dir.join("sha256"),
            tmp: dir.join("tmp"),
        };
        for dir in [dir, &blobs.sealed, &blobs.tmp] {
            disk::make_shared_dir(dir)?;
        }
        blobs.sweep()?;
        Ok(blobs)
    }

    /// A store that somebody else has opened, for reading alone.
    pub fn reading(dir: &Path) -> Self {
        Self {
            sealed: dir.join("sha256"),
            tmp: dir.join("tmp"),
        }
    }

    /// Starts a blob of at most `max_bytes`.
    pub fn begin(&self, max_bytes: u64) -> Result<Incoming, BlobError> {
        loop {
            let path = self.tmp.join(disk::random_name());
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(failed("create", &path))?;
            file.lock().map_err(failed("lock", &path))?;
            let links = file.metadata().map_err(failed("look at", &path))?.nlink();
            if links == 0 {
                continue; // A sweep came between creation and lock.
            }
            return Ok(Incoming {
                file,
                temporary: Temporary(path),
                sealed: self.sealed.clone(),
                hasher: Hasher::new(),
                hashed_bytes: 0,
                max_bytes,
            });
        }
    }

    /// Makes a blob of bytes that are all there.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let mut incoming = self.begin(bytes.len() as u64)?;
        incoming
            .write_all(bytes)
            .map_err(failed("write", &incoming.temporary.0))?;
        Ok(incoming.seal()?.0)
    }

    /// Opens a blob for reading.
    pub fn file(&self, digest: &Digest) -> Result<File, BlobError> {
        let path = self.path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(*digest),
            _ => failed("open", &path)(error).into(),
        })
    }

    /// Length of a blob in bytes.
    pub fn size_bytes(&self, digest: &Digest) -> Result<u64, BlobError> {
        let file = self.file(digest)?;
        let meta = file
            .metadata()
            .map_err(failed("look at", &self.path(digest)))?;
        Ok(meta.len())
    }

    /// Where a blob lies or would lie.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.sealed.join(digest.hex())
    }

    /// Whether the blob is there.
    pub fn has(&self, digest: &Digest) -> Result<bool, BlobError> {
        Ok(disk::exists(&self.path(digest))?)
    }

    /// All sealed blobs, in no order; for a collector.
    pub fn list(&self) -> Result<Vec<Digest>, BlobError> {
        let names = disk::list(&self.sealed)?;
        Ok(names
            .iter()
            .filter_map(|name| Digest::parse_hex(name).ok())
            .collect())
    }

    /// Removes a blob; one that is not there is fine. Who has it open keeps it.
    pub fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        Ok(disk::remove_file(&self.path(digest))?)
    }

    fn sweep(&self) -> Result<(), BlobError> {
        for name in disk::list(&self.tmp)? {
            let path = self.tmp.join(name);
            let file = match OpenOptions::new().read(true).open(&path) {
                Ok(file) => file,
                // Mode 0600: it belongs to another role, which sweeps it itself.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(failed("open", &path)(error).into()),
            };
            match file.try_lock() {
                Ok(()) => disk::remove_file(&path)?,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(failed("lock", &path)(error).into());
                }
            }
        }
        Ok(())
    }
}

/// A blob that is being written. Dropping it removes it.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    temporary: Temporary,
    sealed: PathBuf,
    hasher: Hasher,
    hashed_bytes: u64,
    max_bytes: u64,
}

impl Incoming {
    /// The file itself, to be handed to a jailed writer. Seal such a blob with
    /// [`Incoming::seal_hashing`], after the writer is dead: nothing else keeps it from writing on.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The digest of what came through `Write` so far: the name that [`Incoming::seal`] will give.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Seals what came through `Write`: syncs it, gives it its name, and returns digest and length.
    ///
    /// Fails with [`BlobError::NotHashed`] if the file was also written to by other means.
    pub fn seal(self) -> Result<(Digest, u64), BlobError> {
        let size_bytes = self.length()?;
        if size_bytes != self.hashed_bytes {
            return Err(BlobError::NotHashed {
                hashed_bytes: self.hashed_bytes,
                size_bytes,
            });
        }
        let digest = self.digest();
        self.publish(digest, size_bytes)
    }

    /// Seals what somebody else wrote to [`Incoming::file`]: reads it all again, then as `seal`.
    pub fn seal_hashing(mut self) -> Result<(Digest, u64), BlobError> {
        let size_bytes = self.length()?;
        if size_bytes > self.max_bytes {
            return Err(BlobError::TooLarge {
                size_bytes,
                max_bytes: self.max_bytes,
            });
        }
        self.file
            .rewind()
            .map_err(failed("rewind", &self.temporary.0))?;
        let (digest, hashed_bytes) =
            sha256_of(&self.file).map_err(failed("read", &self.temporary.0))?;
        if size_bytes != hashed_bytes {
            return Err(BlobError::NotHashed {
                hashed_bytes,
                size_bytes,
            });
        }
        self.publish(digest, size_bytes)
    }

    fn length(&self) -> Result<u64, BlobError> {
        let meta = self.file.metadata();
        Ok(meta.map_err(failed("look at", &self.temporary.0))?.len())
    }

    fn publish(self, digest: Digest, size_bytes: u64) -> Result<(Digest, u64), BlobError> {
        let path = self.sealed.join(digest.hex());
        // A sealed blob was synced before it got its name: the second push of the same bytes
        // writes nothing.
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.len() == size_bytes) {
            return Ok((digest, size_bytes));
        }
        let from = &self.temporary.0;
        self.file
            .set_permissions(Permissions::from_mode(0o640))
            .map_err(failed("set the mode of", from))?;
        self.file.sync_all().map_err(failed("sync", from))?;
        fs::rename(from, &path).map_err(failed("name", &path))?;
        disk::sync_dir(&self.sealed)?;
        Ok((digest, size_bytes))
    }
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size_bytes = self.hashed_bytes.saturating_add(bytes.len() as u64);
        if size_bytes > self.max_bytes {
            let error = BlobError::TooLarge {
                size_bytes,
                max_bytes: self.max_bytes,
            };
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
        }
        let count = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        self.hashed_bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that goes with its owner; after a rename there is nothing left to remove.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Renamed, or removed by the next sweep: either way nobody has to hear of it.
        fs::remove_file(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256;
    use crate::scratch::Scratch;

    fn tmp_count(dir: &Path) -> usize {
        fs::read_dir(dir.join("tmp")).unwrap().count()
    }

    #[test]
    fn written_bytes_come_back_under_their_digest() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(scratch.path()).unwrap();
        for bytes in [&b""[..], b"hello", &vec![7; 3_000_000]] {
            let digest = blobs.put(bytes).unwrap();
            assert_eq!(digest, sha256(bytes));
            assert_eq!(blobs.put(bytes).unwrap(), digest, "twice is fine");
            assert_eq!(fs::read(blobs.path(&digest)).unwrap(), bytes);
            assert_eq!(blobs.size_bytes(&digest).unwrap(), bytes.len() as u64);
            let mode = fs::metadata(blobs.path(&digest)).unwrap().mode();
            assert_eq!(mode & 0o7777, 0o640);
        }
        assert_eq!(blobs.list().unwrap().len(), 3);
        assert_eq!(tmp_count(scratch.path()), 0);
    }

    #[test]
    fn missing_and_removed() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(scratch.path()).unwrap();
        let digest = blobs.put(b"x").unwrap();
        assert!(blobs.has(&digest).unwrap());
        blobs.remove(&digest).unwrap();
        blobs.remove(&digest).unwrap();
        assert!(!blobs.has(&digest).unwrap());
        assert!(matches!(blobs.file(&digest), Err(BlobError::Missing(d)) if d == digest));
    }

    #[test]
    fn limits_hold_on_both_ways_in() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(scratch.path()).unwrap();
        let mut incoming = blobs.begin(4).unwrap();
        incoming.write_all(b"four").unwrap();
        let error = incoming.write_all(b"5").unwrap_err();
        assert_eq!(
            error.to_string(),
            "seal a blob of 5 bytes, at most 4 are allowed"
        );
        drop(incoming);

        let incoming = blobs.begin(4).unwrap();
        incoming.file().write_all(b"five!").unwrap();
        let error = incoming.seal_hashing().unwrap_err();
        assert!(matches!(error, BlobError::TooLarge { size_bytes: 5, .. }));
        assert_eq!(tmp_count(scratch.path()), 0);
    }

    #[test]
    fn bytes_through_a_passed_file_need_hashing() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(scratch.path()).unwrap();
        let incoming = blobs.begin(100).unwrap();
        incoming.file().write_all(b"from the jail").unwrap();
        assert!(matches!(incoming.seal(), Err(BlobError::NotHashed { .. })));
        let incoming = blobs.begin(100).unwrap();
        incoming.file().write_all(b"from the jail").unwrap();
        let (digest, size_bytes) = incoming.seal_hashing().unwrap();
        assert_eq!((digest, size_bytes), (sha256(b"from the jail"), 13));
    }

    #[test]
    fn a_sweep_takes_what_the_dead_left_and_spares_the_living() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(scratch.path()).unwrap();
        fs::write(scratch.path().join("tmp/deadbeef"), "half").unwrap();
        let mut living = blobs.begin(10).unwrap();
        living.write_all(b"alive").unwrap();
        let second = Blobs::open(scratch.path()).unwrap();
        assert_eq!(tmp_count(scratch.path()), 1);
        let (digest, _) = living.seal().unwrap();
        assert!(second.has(&digest).unwrap());
    }
}
