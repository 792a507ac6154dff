//! A folder of a layer -> a sealed blob, and a blob -> a folder on the shelf.

use super::cache::Record;
use super::jobs::Jobs;
use crate::build::pack::{Taken, take};
use crate::build::{BuildError, platform};
use crate::jail::{self, image::pack::Report};
use crate::jobs::{JobError, bind, bind_writable, data, output_pipe, read_bounded};
use crate::output::text;
use model::digest::Digest;
use model::limits::SLUG_MAX_BYTES;
use model::slug::Blob;
use sandbox::{Place, Secrets};
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::fd::OwnedFd;

/// What is to be had at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The blob alone.
    Blob,
    /// The blob, and its folder on the shelf.
    Shelved,
}

/// Packs a layer's folder and seals it.
pub(super) async fn seal(jobs: &Jobs, from: Place, wanted: Wanted) -> Result<Record, BuildError> {
    let argv = [jail::PROGRAM, "jail", "image-pack"];
    let spec = jobs.jail("pack", &argv, vec![bind(from, jail::SRC)]);
    let site = &jobs.site;
    let incoming = site.blobs.begin(SLUG_MAX_BYTES).map_err(platform)?;
    let (packed, out) = io::pipe().map_err(platform)?;
    let (said, err) = output_pipe().map_err(platform)?;
    let null = OwnedFd::from(File::open("/dev/null").map_err(platform)?);
    let running = site
        .jobs
        .start(spec, Secrets::default(), vec![null, out.into(), err]);
    let running = running.await.map_err(platform)?;
    let taken = tokio::task::spawn_blocking(move || take(packed, incoming));
    let (taken, said, ended) = tokio::join!(taken, read_bounded(said, 4096), running.ended());
    let done = crate::jobs::Done {
        ended: ended.map_err(platform)?,
        stdout: said.map_err(platform)?,
        stderr: String::new(),
    };
    let Ok(report) = done.report::<Report>() else {
        let why = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        return Err(BuildError::Tree(if why.is_empty() {
            done.ended.to_string()
        } else {
            why
        }));
    };
    let incoming = match taken.map_err(platform)?.map_err(platform)? {
        Taken::Whole { incoming, .. } => incoming,
        Taken::TooLarge { size_bytes } => return Err(BuildError::TooLarge { size_bytes }),
    };
    let mut reader = incoming.file().try_clone().map_err(platform)?;
    reader.rewind().map_err(platform)?;
    let digest = incoming.digest();
    let sealed = tokio::task::spawn_blocking(move || incoming.seal());
    let shelved = async {
        match wanted {
            Wanted::Blob => Ok(()),
            Wanted::Shelved => unpack(jobs, &digest, reader).await,
        }
    };
    let (sealed, shelved) = tokio::join!(sealed, shelved);
    shelved?;
    let (digest, size_bytes) = sealed.map_err(platform)?.map_err(platform)?;
    Ok(Record {
        blob: Blob { digest, size_bytes },
        diff_id: report.diff_id,
        size_bytes: report.size_bytes,
        created: super::show::now(),
    })
}

/// Puts a sealed layer on the shelf if it is not there.
pub(super) async fn shelve(jobs: &Jobs, digest: &Digest) -> Result<(), BuildError> {
    let file = jobs.site.blobs.file(digest).map_err(platform)?;
    unpack(jobs, digest, file).await
}

async fn unpack(jobs: &Jobs, digest: &Digest, file: File) -> Result<(), BuildError> {
    let shelf = &jobs.site.shelf;
    if shelf.path(digest).map_err(platform)?.is_some() {
        return Ok(());
    }
    let filling = shelf.begin(digest).map_err(platform)?;
    let argv = [jail::PROGRAM, "jail", "unpack-layer"];
    let dest = data(format!("shelf/{}", filling.name()));
    let spec = jobs.jail("unpack", &argv, vec![bind_writable(dest, jail::DEST)]);
    let done = jobs
        .site
        .jobs
        .collect_from(file.into(), spec, Secrets::default());
    let report = done.await.and_then(|done| done.report::<jail::Unpacked>());
    let leftovers = match report {
        Ok(report) => {
            let finished = shelf.finish(filling, report.size_bytes);
            finished.map_err(platform)?.1
        }
        Err(error) => {
            shelf.discard(filling).map_err(platform)?;
            return Err(match error {
                JobError::Said(why) => BuildError::Image {
                    what: "a layer of its image cannot be used".to_owned(),
                    cause: vec![text::harmless(why.as_bytes())],
                },
                error => platform(error),
            });
        }
    };
    if !leftovers.names.is_empty() {
        tracing::info!(names = ?leftovers.names, "the shelf has folders to be removed");
    }
    Ok(())
}
