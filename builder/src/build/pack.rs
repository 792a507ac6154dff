//! A folder of the volume -> a sealed blob, and a blob -> a folder on the shelf.
//!
//! A job packs, and its bytes are hashed and written as they come, so that nothing is read twice.
//! The disk's sync and the unpacking for the node's dynos go on at the same time.

use super::workshop::Workshop;
use super::{BuildError, platform};
use crate::jail;
use crate::jobs::{self, bind, bind_writable, data};
use artifact::hash::Hasher;
use model::digest::Digest;
use model::limits::SLUG_MAX_BYTES;
use model::slug::Blob;
use sandbox::Secrets;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Bytes of one read from the packer.
const CHUNK_BYTES: usize = 256 * 1024;

/// Packs a folder as `<prefix>/…` and seals it; it is on the shelf afterwards, too.
pub(crate) async fn seal(
    workshop: &Workshop,
    folder: &str,
    prefix: &str,
    time_s: u64,
) -> Result<Blob, BuildError> {
    let time_s = time_s.to_string();
    let argv = [jail::PROGRAM, "jail", "pack", prefix, &time_s];
    let mounts = vec![bind(workshop.in_volume(folder), jail::SRC)];
    let spec = workshop.jail("pack", &argv, mounts);
    let jobs = &workshop.site.jobs;

    let incoming = workshop
        .site
        .blobs
        .begin(SLUG_MAX_BYTES)
        .map_err(platform)?;
    let (packed, out) = io::pipe().map_err(platform)?;
    let (errors, err) = jobs::output_pipe().map_err(platform)?;
    let null = OwnedFd::from(File::open("/dev/null").map_err(platform)?);
    let running = jobs.start(spec, Secrets::default(), vec![null, out.into(), err]);
    let running = running.await.map_err(platform)?;
    let taken = tokio::task::spawn_blocking(move || take(packed, incoming));
    let (taken, errors, ended) =
        tokio::join!(taken, jobs::read_bounded(errors, 4096), running.ended());
    let done = jobs::Done {
        ended: ended.map_err(platform)?,
        stdout: Vec::new(),
        stderr: String::from_utf8_lossy(&errors.map_err(platform)?).into_owned(),
    };
    done.check()
        .map_err(|error| BuildError::Tree(error.to_string()))?;
    let taken = flat(taken)?;
    let (incoming, digest) = match taken {
        Taken::Whole { incoming, digest } => (incoming, digest),
        Taken::TooLarge { size_bytes } => return Err(BuildError::TooLarge { size_bytes }),
    };
    // A reader of its own, at the beginning: `seal` looks at the file's length alone.
    let mut reader = incoming.file().try_clone().map_err(platform)?;
    reader.rewind().map_err(platform)?;
    let sealed = tokio::task::spawn_blocking(move || incoming.seal());
    let (sealed, shelved) = tokio::join!(sealed, unpack(workshop, &digest, reader));
    shelved?;
    let (digest, size_bytes) = sealed.map_err(platform)?.map_err(platform)?;
    Ok(Blob { digest, size_bytes })
}

/// What came of the packer's bytes.
#[derive(Debug)]
pub(crate) enum Taken {
    Whole {
        incoming: Box<artifact::Incoming>,
        digest: Digest,
    },
    TooLarge {
        size_bytes: u64,
    },
}

fn flat<T>(result: Result<io::Result<T>, tokio::task::JoinError>) -> Result<T, BuildError> {
    result.map_err(platform)?.map_err(platform)
}

/// Takes what the packer writes; of what is too large only the size.
pub(crate) fn take(
    mut packed: io::PipeReader,
    mut incoming: artifact::Incoming,
) -> io::Result<Taken> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut size_bytes = 0;
    loop {
        let count = packed.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        size_bytes += count as u64;
        if size_bytes <= SLUG_MAX_BYTES {
            hasher.update(bytes);
            incoming.write_all(bytes)?;
        }
    }
    if size_bytes > SLUG_MAX_BYTES {
        return Ok(Taken::TooLarge { size_bytes });
    }
    let digest = hasher.finish();
    Ok(Taken::Whole {
        incoming: Box::new(incoming),
        digest,
    })
}

/// Puts a sealed blob on the shelf if it is not there.
pub(crate) async fn shelve(workshop: &Workshop, digest: &Digest) -> Result<(), BuildError> {
    let file = workshop.site.blobs.file(digest).map_err(platform)?;
    unpack(workshop, digest, file).await
}

async fn unpack(workshop: &Workshop, digest: &Digest, file: File) -> Result<(), BuildError> {
    let shelf = &workshop.site.shelf;
    if shelf.path(digest).map_err(platform)?.is_some() {
        return Ok(());
    }
    let filling = shelf.begin(digest).map_err(platform)?;
    let argv = [jail::PROGRAM, "jail", "unpack"];
    let dest = data(format!("shelf/{}", filling.name()));
    let spec = workshop.jail("unpack", &argv, vec![bind_writable(dest, jail::DEST)]);
    let done = workshop
        .site
        .jobs
        .collect_from(file.into(), spec, Secrets::default())
        .await;
    let report = done.and_then(|done| done.report::<jail::Unpacked>());
    let (leftovers, failure) = match report {
        Ok(report) => {
            let finished = shelf.finish(filling, report.size_bytes);
            (finished.map_err(platform)?.1, None)
        }
        Err(error) => (shelf.discard(filling).map_err(platform)?, Some(error)),
    };
    if !leftovers.names.is_empty() {
        // Not in front of the push.
        tokio::spawn(crate::tidy::shelf(Arc::clone(&workshop.site), leftovers));
    }
    failure.map_or(Ok(()), |error| Err(platform(error)))
}
