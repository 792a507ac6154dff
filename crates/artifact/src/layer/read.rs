//! A tar -> the upper folder of an overlay, whatever the tar says.
//!
//! The bytes are a stranger's. Called in a jailed child whose root is the destination, and safe
//! without: each entry's folder is opened relative to the destination with openat2(2)
//! (`RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`), and what is made is made by name in that folder.
//! Bytes, entries, paths and extension records are bounded.

mod entry;
mod place;

use crate::unpack::{Limits, UnpackError, Unpacked, refused};
use entry::{Entries, Entry, Kind};
use place::Place;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Base-2 logarithm of the largest zstd window: 128 MiB, zstd's own default bound.
const WINDOW_LOG_MAX: u32 = 27;

/// Unpacks a layer's blob into an empty folder that nobody else writes to. What the blob is, gzip,
/// zstd or plain, is told by its first bytes.
pub fn unpack(blob: impl Read, dest: &Path) -> Result<Unpacked, UnpackError> {
    unpack_within(blob, dest, Limits::default())
}

/// As [`unpack`], with other bounds.
pub fn unpack_within(
    blob: impl Read,
    dest: &Path,
    limits: Limits,
) -> Result<Unpacked, UnpackError> {
    let place = Place::open(dest)?;
    entries(decoded(blob)?, place, (limits, Rules::Layer))
}

/// Unpacks a stranger's archive into a folder that may hold files already, as ADD does: an
/// entry's folder joins the one that is there, anything else replaces. With `owner`, all is theirs.
pub fn unpack_archive(
    blob: impl Read,
    dest: OwnedFd,
    owner: Option<(u32, u32)>,
) -> Result<Unpacked, UnpackError> {
    let rules = (Limits::default(), Rules::Archive(owner));
    entries(decoded(blob)?, Place::new(dest), rules)
}

/// Whether this begins as an archive does, compressed or not: with a head whose sum is right.
pub fn is_archive(blob: impl Read) -> bool {
    let mut block = [0; 512];
    let is_read = decoded(blob).is_ok_and(|mut stream| stream.read_exact(&mut block).is_ok());
    if !is_read || block.iter().all(|byte| *byte == 0) {
        return false;
    }
    let header = tar::Header::from_byte_slice(&block);
    let sum = |(at, byte): (usize, &u8)| match at {
        148..156 => 32,
        _ => u32::from(*byte),
    };
    let real: u32 = block.iter().enumerate().map(sum).sum();
    header.cksum().is_ok_and(|said| said == real)
}

/// What an archive means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rules {
    /// Names may hide names of the layers below.
    Layer,
    /// A plain archive, all of it owned by these.
    Archive(Option<(u32, u32)>),
}

/// The tar in a blob, gzip, zstd or plain, as its first bytes tell; as long as it is.
pub fn decoded<'a>(blob: impl Read + 'a) -> Result<Box<dyn Read + 'a>, UnpackError> {
    let mut blob = BufReader::with_capacity(256 * 1024, blob);
    let magic = blob.fill_buf().map_err(UnpackError::Archive)?;
    if magic.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(blob)));
    }
    if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::Decoder::with_buffer(blob).map_err(UnpackError::Archive)?;
        let bounded = decoder.window_log_max(WINDOW_LOG_MAX);
        bounded.map_err(UnpackError::Archive)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(blob))
}

fn entries(
    tar: impl Read,
    mut place: Place,
    (limits, rules): (Limits, Rules),
) -> Result<Unpacked, UnpackError> {
    // The stream as a whole is bounded, too: heads and extension records are bytes as well.
    let all = limits.max_bytes.saturating_add(limits.max_entries * 4_096);
    let mut archive = tar::Archive::new(tar.take(all));
    let mut entries = Entries::new(&mut archive)?;
    let mut unpacked = Unpacked {
        entries: 0,
        size_bytes: 0,
    };
    while let Some(mut entry) = entries.next()? {
        unpacked.entries += 1;
        if unpacked.entries > limits.max_entries {
            return Err(too_large(&entry, limits.max_entries, "entries"));
        }
        unpacked.size_bytes = unpacked.size_bytes.saturating_add(entry.size_bytes);
        if unpacked.size_bytes > limits.max_bytes {
            return Err(too_large(&entry, limits.max_bytes, "bytes"));
        }
        if let Rules::Archive(owner) = rules {
            let hides = matches!(
                entry.kind,
                Kind::Hidden { .. } | Kind::Opaque { .. } | Kind::Nothing
            );
            if hides {
                let reason = "its name stands for a hidden one in layers";
                return Err(refused(entry.path.bytes(), reason));
            }
            let own = (entry.facts.uid, entry.facts.gid);
            (entry.facts.uid, entry.facts.gid) = owner.unwrap_or(own);
        }
        put(&mut place, &mut entry)?;
    }
    place.finish()?;
    Ok(unpacked)
}

fn put(place: &mut Place, entry: &mut Entry<'_, impl Read>) -> Result<(), UnpackError> {
    let Entry {
        path,
        kind,
        facts,
        content,
        ..
    } = entry;
    match kind {
        Kind::Folder => place.folder(path, facts),
        Kind::File => place.file(path, facts, content),
        Kind::Symlink { target } => place.symlink(path, facts, target),
        Kind::Link { target } => place.link(path, target),
        Kind::Pipe => place.pipe(path, facts),
        Kind::Hidden { folder, name } => place.hide(folder, name),
        Kind::Opaque { folder } => place.make_opaque(folder),
        Kind::Nothing => Ok(()),
    }
}

fn too_large(entry: &Entry<'_, impl Read>, max: u64, what: &'static str) -> UnpackError {
    UnpackError::TooLarge {
        path: entry.path.shown(),
        max,
        what,
    }
}

fn failed(path: &[u8]) -> impl FnOnce(io::Error) -> UnpackError + use<> {
    let path = crate::shown::path(path);
    move |source| UnpackError::Write { path, source }
}
