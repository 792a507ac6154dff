//! An image that others made -> one of an app: found in its archive by a job, its blobs sealed,
//! its layers on the shelf. What its files do is up to the sandbox, as with those of a build.

use super::jobs::Jobs;
use super::publish::{self, Sealed};
use super::seal;
use crate::build::pack::{Taken, take};
use crate::build::workshop::Workshop;
use crate::build::{BuildError, Built, ms_since, platform, source};
use crate::jail;
use crate::jobs::{JobError, bind, bind_writable};
use crate::output::{Voice, text};
use artifact::image::foreign::{Found, Piece};
use artifact::image::{Config, Manifest};
use model::feed::{Place, Source};
use model::limits::SLUG_MAX_BYTES;
use model::process::Types;
use model::slug::Blob;
use sandbox::Secrets;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// The folder of the volume that holds the archive's files.
pub(crate) const FOLDER: &str = "image";

/// Takes the image of the order's source.
pub(crate) async fn import(workshop: &Workshop, voice: &Voice) -> Result<Built, BuildError> {
    voice.say("-----> Reading the image").await;
    let found = find(workshop).await?;
    let count = found.layers.len();
    let id = found.config.digest;
    voice.say(format!("       {id}, {count} layers")).await;
    voice.end_step().await;

    let started = Instant::now();
    voice.say("-----> Sealing layers").await;
    let jobs = Jobs::new(workshop);
    let config = read(&jobs, &found).await?;
    let mut layers: Vec<Blob> = Vec::new();
    for layer in &found.layers {
        let blob = seal_piece(&jobs, layer.blob).await?;
        seal::shelve(&jobs, &blob.digest).await?;
        // A folder can be laid over others once: of equal layers the topmost one is what is seen.
        layers.retain(|below| below.digest != blob.digest);
        layers.push(blob);
        workshop.has_room()?;
    }
    let manifest = Manifest::new(id, found.config.size_bytes, found.descriptors());
    let blobs = jobs.site.blobs.clone();
    let sealing = tokio::task::spawn_blocking(move || {
        let bytes = manifest.to_bytes();
        let digest = blobs.put(&bytes)?;
        Ok::<_, artifact::blobs::BlobError>((digest, bytes.len() as u64))
    });
    let (digest, size_bytes) = sealing.await.map_err(platform)?.map_err(platform)?;
    let lowers = layers
        .iter()
        .rev()
        .map(|layer| Jobs::on_shelf(&layer.digest));
    let lowers = lowers.chain([jobs.in_volume("empty")]).collect();
    let all: u64 = layers.iter().map(|layer| layer.size_bytes).sum();
    let size = text::size(all);
    voice
        .say(format!("       Done: {size} in {count} layers"))
        .await;
    let sealed = Sealed {
        settings: config.config,
        id,
        app: Blob { digest, size_bytes },
        layers,
        commit: workshop.order.source.version().map(str::to_owned),
        description: "Image",
        declared: Types::new(),
    };
    let built = publish::finish(&jobs, lowers, sealed).await?;
    Ok(Built {
        pack_ms: ms_since(started),
        ..built
    })
}

/// Looks for the image, in a job: the archive's files are then in the volume.
async fn find(workshop: &Workshop) -> Result<Found, BuildError> {
    let Source::Archive {
        at: Place::Uploaded { id },
        sha256,
        ..
    } = &workshop.order.source
    else {
        return Err(unusable(
            "An image is imported from an archive that was uploaded.",
        ));
    };
    let archive = source::uploaded(workshop, *id)?;
    let sha256 = sha256.map(|digest| digest.to_string());
    let mut argv = vec![jail::PROGRAM, "jail", "image-archive"];
    argv.extend(sha256.as_deref());
    let mounts = vec![bind_writable(workshop.in_volume(""), jail::DEST)];
    let spec = workshop.jail("archive", &argv, mounts);
    let jobs = &workshop.site.jobs;
    let done = jobs.collect_from(archive.into(), spec, Secrets::default());
    match done.await.map_err(platform)?.report() {
        Ok(found) => Ok(found),
        Err(JobError::Said(why)) => Err(unusable(&why)),
        Err(error) => Err(platform(error)),
    }
}

/// Seals the config and reads it.
async fn read(jobs: &Jobs, found: &Found) -> Result<Config, BuildError> {
    seal_piece(jobs, found.config).await?;
    let blobs = jobs.site.blobs.clone();
    let id = found.config.digest;
    let read = tokio::task::spawn_blocking(move || artifact::image::config(&blobs, id));
    let read = read.await.map_err(platform)?;
    read.map_err(|_| unusable("Its config cannot be read."))
}

/// Seals a file of the archive by the digest that its bytes have here, whatever the job said.
async fn seal_piece(jobs: &Jobs, piece: Piece) -> Result<Blob, BuildError> {
    let site = &jobs.site;
    if site.blobs.has(&piece.digest).map_err(platform)? {
        let size_bytes = site.blobs.size_bytes(&piece.digest).map_err(platform)?;
        return Ok(Blob {
            digest: piece.digest,
            size_bytes,
        });
    }
    let path = format!("{}/{}", jail::SRC, piece.number);
    let from = bind(jobs.in_volume(FOLDER), jail::SRC);
    let spec = jobs.jail("cat", &["cat", "--", &path], vec![from]);
    let incoming = site.blobs.begin(SLUG_MAX_BYTES).map_err(platform)?;
    let (bytes, out) = io::pipe().map_err(platform)?;
    let null = File::open("/dev/null").map_err(platform)?;
    let err = null.try_clone().map_err(platform)?;
    let fds: Vec<OwnedFd> = vec![null.into(), out.into(), err.into()];
    let running = site.jobs.start(spec, Secrets::default(), fds);
    let running = running.await.map_err(platform)?;
    let taken = tokio::task::spawn_blocking(move || take(bytes, incoming));
    let (taken, ended) = tokio::join!(taken, running.ended());
    ended.map_err(platform)?;
    let incoming = match taken.map_err(platform)?.map_err(platform)? {
        Taken::Whole { incoming, .. } => incoming,
        Taken::TooLarge { .. } => {
            let max = text::size(SLUG_MAX_BYTES);
            return Err(unusable(&format!("A layer of it is larger than {max}.")));
        }
    };
    if incoming.digest() != piece.digest {
        return Err(platform("a file of an image changed while it was read"));
    }
    let sealed = tokio::task::spawn_blocking(move || incoming.seal());
    let (digest, size_bytes) = sealed.await.map_err(platform)?.map_err(platform)?;
    Ok(Blob { digest, size_bytes })
}

fn unusable(why: &str) -> BuildError {
    BuildError::Image {
        what: "this image cannot be used".to_owned(),
        cause: why
            .lines()
            .map(|line| text::harmless(line.as_bytes()))
            .collect(),
    }
}
