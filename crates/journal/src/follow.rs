//! Follows several producers as they write.

use crate::disk::{DiskError, failed};
use crate::last::merge;
use crate::line::Line;
use crate::position::{Place, Position};
use crate::record::{self, Decoded, RECORD_MAX_BYTES};
use crate::segment;
use crate::watch::Watch;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bytes that one batch takes from each folder; a batch with [`Batch::has_more`] is not the last.
const BATCH_MAX_BYTES: usize = 256 * 1024;
const _: () = assert!(BATCH_MAX_BYTES > RECORD_MAX_BYTES, "every record fits");

/// Reads what producers append, from a position on.
///
/// Folders may be missing and come later; segments come and go. One follower needs an inotify
/// instance, of which a user has 128 by default (`fs.inotify.max_user_instances`).
///
/// Asynchronous callers wait for its descriptor to become readable and then call
/// [`Follower::next`] with no time-out until the batch is empty.
#[derive(Debug)]
pub struct Follower {
    folders: Vec<Folder>,
    watch: Watch,
}

/// What was appended since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Ordered by time across folders within this batch, by writing within a folder. Empty if the
    /// time was over.
    pub lines: Vec<Line>,
    /// Behind the last line.
    pub position: Position,
    /// There are more already: call again without waiting.
    pub has_more: bool,
    /// A writer dropped lines before they were read, or a power cut lost lines that were.
    pub has_gap: bool,
}

impl Follower {
    /// Starts at a position that was taken from the same folders in the same order.
    /// [`Position::start`] reads all that is kept.
    pub fn open(dirs: &[PathBuf], from: &Position) -> Result<Self, DiskError> {
        let places = from.places.iter().copied().map(Some);
        let places = places.chain(std::iter::repeat(None));
        let folders = dirs.iter().zip(places).map(|(dir, place)| Folder {
            dir: dir.clone(),
            place: place.unwrap_or_default(),
            file: None,
        });
        Ok(Self {
            folders: folders.collect(),
            watch: Watch::open(dirs)?,
        })
    }

    /// Where the next batch starts.
    pub fn position(&self) -> Position {
        Position {
            places: self.folders.iter().map(|folder| folder.place).collect(),
        }
    }

    /// Waits at most `timeout` for lines and returns those that are there.
    pub fn next(&mut self, timeout: Duration) -> Result<Batch, DiskError> {
        let deadline = Instant::now() + timeout;
        loop {
            self.watch.drain()?;
            let batch = self.read()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !batch.lines.is_empty() || batch.has_more || batch.has_gap || left.is_zero() {
                return Ok(batch);
            }
            self.watch.wait(left)?;
        }
    }

    fn read(&mut self) -> Result<Batch, DiskError> {
        let mut producers = Vec::new();
        let mut batch = Batch::default();
        for folder in &mut self.folders {
            let mut lines = VecDeque::new();
            let read = folder.read(&mut lines)?;
            batch.has_more |= read.has_more;
            batch.has_gap |= read.has_gap;
            producers.push(lines);
        }
        batch.lines = merge(producers);
        batch.position = self.position();
        Ok(batch)
    }
}

impl AsFd for Follower {
    /// Becomes readable when something in the folders may have changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

#[derive(Debug)]
struct Folder {
    dir: PathBuf,
    place: Place,
    /// The segment of `place`; stays readable when the writer drops it.
    file: Option<File>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Read {
    has_more: bool,
    has_gap: bool,
}

impl Folder {
    /// Takes up to one batch of lines.
    fn read(&mut self, lines: &mut VecDeque<Line>) -> Result<Read, DiskError> {
        let mut read = Read::default();
        let mut budget = BATCH_MAX_BYTES;
        loop {
            if self.file.is_none() && !self.open_next(&mut read)? {
                return Ok(read);
            }
            // First look for a newer segment, then read: when there is one, the writer has left
            // this one for good, and what we find now is all of it.
            let is_left = segment::list(&self.dir)?
                .last()
                .is_some_and(|newest| *newest > self.place.sequence);
            let taken = self.take(lines, budget, &mut read)?;
            budget = budget.saturating_sub(taken);
            if budget < RECORD_MAX_BYTES {
                read.has_more = true;
                return Ok(read);
            }
            if taken > 0 {
                continue;
            }
            if !is_left {
                return Ok(read);
            }
            self.file = None;
            self.place = Place {
                sequence: self.place.sequence + 1,
                offset: 0,
            };
        }
    }

    /// Opens the segment of `place`, or the next one that is there; false if there is none.
    fn open_next(&mut self, read: &mut Read) -> Result<bool, DiskError> {
        for sequence in segment::list(&self.dir)? {
            if sequence < self.place.sequence {
                continue;
            }
            let path = segment::path(&self.dir, sequence);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("open", &path)(error)),
            };
            if sequence > self.place.sequence {
                read.has_gap |= self.place != Place::default();
                self.place = Place {
                    sequence,
                    offset: 0,
                };
            }
            let length = file.metadata().map_err(failed("look at", &path))?.len();
            if self.place.offset > length {
                read.has_gap = true;
                self.place.offset = 0;
            }
            self.file = Some(file);
            return Ok(true);
        }
        Ok(false)
    }

    /// Decodes whole records from `place` on, at most `budget` bytes; returns how many it took.
    fn take(
        &mut self,
        lines: &mut VecDeque<Line>,
        budget: usize,
        read: &mut Read,
    ) -> Result<usize, DiskError> {
        let Some(file) = &self.file else {
            return Ok(0);
        };
        let path = segment::path(&self.dir, self.place.sequence);
        let mut bytes = vec![0; budget];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = self.place.offset.saturating_add(filled as u64);
            let space = bytes.get_mut(filled..).unwrap_or_default();
            match file.read_at(space, at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &path)(error)),
            }
        }
        if filled == 0 {
            let length = file.metadata().map_err(failed("look at", &path))?.len();
            if self.place.offset > length {
                // The file was cut behind our back: only a power cut makes a writer do that.
                read.has_gap = true;
                self.place.offset = 0;
            }
        }
        bytes.truncate(filled);
        let mut rest = bytes.as_slice();
        while let Decoded::Line(line, length) = record::decode(rest) {
            lines.push_back(line);
            rest = rest.get(length..).unwrap_or_default();
        }
        let taken = filled - rest.len();
        self.place.offset += taken as u64;
        Ok(taken)
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
