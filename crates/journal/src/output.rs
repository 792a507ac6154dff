//! A build's output: a file of plain bytes that grows, is followed, and ends.
//!
//! The end is told by the file's mode: who finishes an output takes the right to write away (0640
//! becomes 0440). Nothing has to be put into the bytes for that, one file stays one file, and
//! inotify(7) reports it.

use crate::disk::{DiskError, failed};
use crate::watch::Watch;
use model::limits::BUILD_OUTPUT_MAX_BYTES;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const GROWING: u32 = 0o640;
const FINISHED: u32 = 0o440;
const WRITABLE: u32 = 0o200;
/// Bytes that one call of [`Follower::next`] returns.
const CHUNK_MAX_BYTES: usize = 64 * 1024;

/// An output that is being written. Dropping it leaves it unfinished: readers go on waiting until
/// [`finish_left`] ends it.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    file: File,
    /// Bytes that may still come.
    left: u64,
    is_full: bool,
}

impl Output {
    /// Makes the file, whose folder must exist and which must not.
    pub fn create(path: &Path) -> Result<Self, DiskError> {
        Self::create_bounded(path, BUILD_OUTPUT_MAX_BYTES)
    }

    /// As [`Output::create`], with another bound.
    pub fn create_bounded(path: &Path, max_bytes: u64) -> Result<Self, DiskError> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(GROWING)
            .open(path)
            .map_err(failed("create", path))?;
        file.set_permissions(Permissions::from_mode(GROWING))
            .map_err(failed("set the mode of", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            left: max_bytes,
            is_full: false,
        })
    }

    /// Appends bytes. What is over the bound is dropped, and the last line says so.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        if self.is_full {
            return Ok(());
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        if let Some(fitting) = bytes.get(..room)
            && fitting.len() < bytes.len()
        {
            self.is_full = true;
            let mut last = fitting.to_vec();
            last.extend_from_slice(b"\n !     The output is too long, the rest is not kept.\n");
            return self.write(&last);
        }
        self.left -= bytes.len() as u64;
        self.write(bytes)
    }

    /// Ends the output: readers see all of it and stop.
    pub fn finish(self) -> Result<(), DiskError> {
        self.file
            .set_permissions(Permissions::from_mode(FINISHED))
            .map_err(failed("set the mode of", &self.path))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let written = self.file.write_all(bytes);
        written.map_err(failed("append to", &self.path))
    }
}

/// Ends an output whose writer died, with a last text that says so. One that has ended stays as it
/// is.
pub fn finish_left(path: &Path, last: &[u8]) -> Result<(), DiskError> {
    let meta = fs::metadata(path).map_err(failed("look at", path))?;
    if meta.permissions().mode() & WRITABLE == 0 {
        return Ok(());
    }
    let finish = || {
        let mut file = OpenOptions::new().append(true).open(path)?;
        file.write_all(last)?;
        file.set_permissions(Permissions::from_mode(FINISHED))
    };
    finish().map_err(failed("append to", path))
}

/// Reads an output as it grows, to its end.
///
/// Asynchronous callers wait for its descriptor to become readable and then call
/// [`Follower::next`] with no time-out until the chunk is empty or the last one.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// None until the file exists.
    file: Option<File>,
    offset: u64,
    watch: Watch,
}

/// The next bytes of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Empty if the time was over, or with the end.
    pub bytes: Vec<u8>,
    /// Where the next chunk starts: for [`Follower::open`] after a pause.
    pub offset: u64,
    /// Nothing comes after this.
    pub is_last: bool,
}

impl Follower {
    /// Starts at a byte of the output, which need not exist yet.
    pub fn open(path: &Path, offset: u64) -> Result<Self, DiskError> {
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self {
            path: path.to_owned(),
            file: None,
            offset,
            watch: Watch::open(&[dir])?,
        })
    }

    /// Waits at most `timeout` for bytes or the end, and returns up to 64 KiB.
    pub fn next(&mut self, timeout: Duration) -> Result<Chunk, DiskError> {
        let deadline = Instant::now() + timeout;
        loop {
            self.watch.drain()?;
            let chunk = self.read()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !chunk.bytes.is_empty() || chunk.is_last || left.is_zero() {
                return Ok(chunk);
            }
            self.watch.wait(left)?;
        }
    }

    fn read(&mut self) -> Result<Chunk, DiskError> {
        let mut chunk = Chunk {
            offset: self.offset,
            ..Chunk::default()
        };
        let file = match &mut self.file {
            Some(file) => file,
            None => match File::open(&self.path) {
                Ok(file) => self.file.insert(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(chunk),
                Err(error) => return Err(failed("open", &self.path)(error)),
            },
        };
        // The mode first: what is there after the end was told is all there will be.
        let meta = file.metadata().map_err(failed("look at", &self.path))?;
        let is_finished = meta.permissions().mode() & WRITABLE == 0;
        let mut read = || {
            file.seek(SeekFrom::Start(self.offset))?;
            let limited = file.take(CHUNK_MAX_BYTES as u64);
            { limited }.read_to_end(&mut chunk.bytes)
        };
        let count = read().map_err(failed("read", &self.path))?;
        self.offset += count as u64;
        chunk.offset = self.offset;
        chunk.is_last = is_finished && count < CHUNK_MAX_BYTES;
        Ok(chunk)
    }
}

impl AsFd for Follower {
    /// Becomes readable when something in the output's folder may have changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
