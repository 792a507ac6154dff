//! The one who appends to a producer's folder.

use crate::disk::{DiskError, failed};
use crate::line::Line;
use crate::record::{self, Decoded};
use crate::segment;
use model::limits::{
    JOURNAL_SEGMENT_MAX_BYTES, JOURNAL_SEGMENTS_MIN, LOG_LINE_MAX_BYTES, LOG_LINES_MAX,
};
use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a folder cannot be written to.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// Another writer has the folder open.
    #[error("write to the journal {}: another process does", .0.display())]
    Taken(PathBuf),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// How much a writer keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a segment.
    pub segment_max_bytes: u64,
    /// Count of segments that are kept in any case.
    pub segments_min: usize,
    /// Count of lines that are kept in any case.
    pub lines_min: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_max_bytes: JOURNAL_SEGMENT_MAX_BYTES,
            segments_min: JOURNAL_SEGMENTS_MIN,
            lines_min: LOG_LINES_MAX,
        }
    }
}

/// Appends lines to the folder of one producer and app.
///
/// It holds two descriptors; a producer with many apps opens it at the first line and closes it
/// when the app falls silent. Lines keep the order in which they are appended.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    limits: Limits,
    file: File,
    /// Length of `file`: all of it whole records.
    length: u64,
    /// Oldest first; the last one is `file`.
    segments: VecDeque<Segment>,
    buffer: Vec<u8>,
    buffered_lines: usize,
    /// Holds the lock (flock(2)) that keeps other writers out.
    _lock: File,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    sequence: u64,
    lines: usize,
}

impl Writer {
    /// Opens a folder, making it if it is missing (its parent must exist), and cuts off what a dead
    /// writer left half-written.
    ///
    /// Fails with [`WriterError::Taken`] if another writer has it open.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self, WriterError> {
        make_dir(dir)?;
        let lock = lock(dir)?;
        let mut segments = VecDeque::new();
        for sequence in segment::list(dir)? {
            let bytes = segment::read(dir, sequence)?.unwrap_or_default();
            let lines = record::count(&bytes);
            segments.push_back(Segment { sequence, lines });
        }
        let (file, length) = if let Some(newest) = segments.back_mut() {
            reopen(dir, newest)?
        } else {
            segments.push_back(Segment {
                sequence: 1,
                lines: 0,
            });
            (create(dir, 1)?, 0)
        };
        Ok(Self {
            dir: dir.to_owned(),
            limits,
            file,
            length,
            segments,
            buffer: Vec::new(),
            buffered_lines: 0,
            _lock: lock,
        })
    }

    /// Appends one line; see [`Writer::append_batch`].
    pub fn append(&mut self, line: &Line) -> Result<(), DiskError> {
        self.append_batch(std::slice::from_ref(line))
    }

    /// Appends lines in one write(2), or a few if they go over the end of a segment.
    ///
    /// After an error (a full disk) the journal is as before, or holds the first of the lines; none
    /// is in it by half.
    pub fn append_batch(&mut self, lines: &[Line]) -> Result<(), DiskError> {
        self.buffer.clear();
        self.buffered_lines = 0;
        for line in lines {
            let mut rest = line.text.as_slice();
            loop {
                let part = split_line(&mut rest);
                self.buffer(line, part)?;
                if rest.is_empty() {
                    break;
                }
            }
        }
        self.flush()
    }

    /// Waits until all that was appended is on the disk.
    pub fn sync(&self) -> Result<(), DiskError> {
        let synced = self.file.sync_data();
        synced.map_err(failed("sync", &self.dir))?;
        let dir = File::open(&self.dir).and_then(|dir| dir.sync_all());
        dir.map_err(failed("sync", &self.dir))
    }

    fn buffer(&mut self, line: &Line, part: &[u8]) -> Result<(), DiskError> {
        let before = self.buffer.len();
        record::encode(line, part, &mut self.buffer);
        let total = self.length + self.buffer.len() as u64;
        if total > self.limits.segment_max_bytes && self.length + before as u64 > 0 {
            let last = self.buffer.split_off(before);
            self.flush()?;
            self.rotate()?;
            self.buffer = last;
        }
        self.buffered_lines += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_all(&self.buffer) {
            // A reader stops in front of a half record, and so does the next writer; but what we
            // append next must not stand behind it.
            self.file
                .set_len(self.length)
                .map_err(failed("shorten", &self.dir))?;
            return Err(failed("append to", &self.dir)(error));
        }
        self.length += self.buffer.len() as u64;
        if let Some(newest) = self.segments.back_mut() {
            newest.lines += self.buffered_lines;
        }
        self.buffer.clear();
        self.buffered_lines = 0;
        Ok(())
    }

    /// Starts a segment and drops the oldest ones that nobody needs.
    fn rotate(&mut self) -> Result<(), DiskError> {
        let newest = self.segments.back().map_or(0, |segment| segment.sequence);
        let sequence = newest + 1;
        self.file = create(&self.dir, sequence)?;
        self.length = 0;
        self.segments.push_back(Segment { sequence, lines: 0 });
        let mut lines: usize = self.segments.iter().map(|segment| segment.lines).sum();
        while let Some(oldest) = self.segments.front().copied() {
            lines -= oldest.lines;
            if self.segments.len() <= self.limits.segments_min || lines < self.limits.lines_min {
                break;
            }
            let path = segment::path(&self.dir, oldest.sequence);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &path)(error));
                }
                _ => self.segments.pop_front(),
            };
        }
        Ok(())
    }
}

/// Takes one part off the front of a long line: at most the bound, and not inside a character.
fn split_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let mut at = rest.len().min(LOG_LINE_MAX_BYTES);
    if at < rest.len() {
        // The bytes 0b10xxxxxx go on with a character of UTF-8, which has at most four.
        let boundary = (at - 3..=at)
            .rev()
            .find(|at| rest.get(*at).is_some_and(|byte| byte & 0xc0 != 0x80));
        at = boundary.unwrap_or(at);
    }
    let (part, after) = rest.split_at_checked(at).unwrap_or((rest, &[]));
    *rest = after;
    part
}

fn make_dir(dir: &Path) -> Result<(), DiskError> {
    match DirBuilder::new().mode(0o770).create(dir) {
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o2770))
            .map_err(failed("set the mode of", dir)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("create", dir)(error)),
    }
}

fn lock(dir: &Path) -> Result<File, WriterError> {
    let lock = File::open(dir).map_err(failed("open", dir))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(WriterError::Taken(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed("lock", dir)(error).into()),
    }
}

fn create(dir: &Path, sequence: u64) -> Result<File, DiskError> {
    let path = segment::path(dir, sequence);
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o640)
        .open(&path)
        .map_err(failed("create", &path))?;
    file.set_permissions(Permissions::from_mode(0o640))
        .map_err(failed("set the mode of", &path))?;
    Ok(file)
}

/// Opens the newest segment for appending and cuts it behind its last whole record.
fn reopen(dir: &Path, newest: &mut Segment) -> Result<(File, u64), DiskError> {
    let path = segment::path(dir, newest.sequence);
    let bytes = fs::read(&path).map_err(failed("read", &path))?;
    let mut whole = 0;
    newest.lines = 0;
    while let Decoded::Line(_, length) = record::decode(bytes.get(whole..).unwrap_or_default()) {
        whole += length;
        newest.lines += 1;
    }
    let file = OpenOptions::new()
        .append(true)
        .open(&path)
        .map_err(failed("open", &path))?;
    if whole < bytes.len() {
        file.set_len(whole as u64)
            .map_err(failed("shorten", &path))?;
    }
    Ok((file, whole as u64))
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
