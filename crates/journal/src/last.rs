//! The last lines of several producers, and merging by time.

use crate::disk::DiskError;
use crate::line::Line;
use crate::position::{Place, Position};
use crate::record::{self, Decoded};
use crate::segment;
use model::limits::LOG_LINES_MAX;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// The end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Oldest first.
    pub lines: Vec<Line>,
    /// Behind the last line of every folder: a [`crate::Follower`] opened here misses nothing and
    /// repeats nothing.
    pub position: Position,
}

/// Takes the last `n` lines (at most [`LOG_LINES_MAX`]) that pass `filter`, of all folders
/// together.
///
/// Lines are ordered by time across folders and stay in the order of writing within one. A folder
/// that does not exist is empty.
pub fn last(dirs: &[PathBuf], n: usize, filter: &dyn Fn(&Line) -> bool) -> Result<Tail, DiskError> {
    let n = n.min(LOG_LINES_MAX);
    let mut producers = Vec::new();
    let mut places = Vec::new();
    for dir in dirs {
        let (lines, place) = last_of(dir, n, filter)?;
        producers.push(lines);
        places.push(place);
    }
    let mut lines = merge(producers);
    lines.drain(..lines.len().saturating_sub(n));
    Ok(Tail {
        lines,
        position: Position { places },
    })
}

fn last_of(
    dir: &Path,
    n: usize,
    filter: &dyn Fn(&Line) -> bool,
) -> Result<(VecDeque<Line>, Place), DiskError> {
    let mut found = VecDeque::new();
    let mut end = None;
    for sequence in segment::list(dir)?.into_iter().rev() {
        let bytes = segment::read(dir, sequence)?.unwrap_or_default();
        let (mut lines, offset) = lines_of(&bytes, filter);
        end = end.or(Some(Place { sequence, offset }));
        let wanted = n - found.len();
        lines.drain(..lines.len().saturating_sub(wanted));
        for line in lines.into_iter().rev() {
            found.push_front(line);
        }
        if found.len() >= n {
            break;
        }
    }
    Ok((found, end.unwrap_or_default()))
}

/// The lines that pass, and where the whole records end.
fn lines_of(bytes: &[u8], filter: &dyn Fn(&Line) -> bool) -> (Vec<Line>, u64) {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Decoded::Line(line, length) = record::decode(rest) {
        if filter(&line) {
            lines.push(line);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    (lines, (bytes.len() - rest.len()) as u64)
}

/// Merges by time; each producer's own lines stay in their order.
pub(crate) fn merge(mut producers: Vec<VecDeque<Line>>) -> Vec<Line> {
    let mut merged = Vec::with_capacity(producers.iter().map(VecDeque::len).sum());
    loop {
        let earliest = producers
            .iter_mut()
            .filter(|lines| !lines.is_empty())
            .min_by_key(|lines| lines.front().map(|line| line.at_us));
        match earliest.and_then(VecDeque::pop_front) {
            Some(line) => merged.push(line),
            None => return merged,
        }
    }
}

#[cfg(test)]
#[path = "last_tests.rs"]
mod tests;
