//! The first step: a commit or an archive becomes a plain tree in the build's volume, in a job.

use super::workshop::Workshop;
use super::{BuildError, platform};
use crate::jail;
use crate::jail::checkout::{Report, Way};
use crate::jobs::{self, Done, JobError, bind, bind_writable, data};
use crate::repository;
use model::digest::Digest;
use model::feed::{Artifact, Place, Source};
use model::limits::SOURCE_MAX_BYTES;
use sandbox::Secrets;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// Lays the source out in `src`, and makes the other folders of the volume.
pub(crate) async fn lay_out(workshop: &Workshop) -> Result<Report, BuildError> {
    let done = match &workshop.order.source {
        Source::Commit { commit } => checkout(workshop, commit).await?,
        Source::Archive { at, sha256, .. } => match at {
            Place::Uploaded { id } => {
                let archive = uploaded(workshop, *id)?;
                unpack(workshop, archive.into(), *sha256).await?
            }
            Place::Elsewhere { url } => fetch(workshop, url, *sha256).await?,
        },
    };
    match done.report() {
        Ok(report) => Ok(report),
        Err(JobError::Said(why)) => Err(BuildError::Tree(why)),
        Err(error) => Err(platform(error)),
    }
}

/// What was uploaded.
pub(crate) fn uploaded(workshop: &Workshop, id: uuid::Uuid) -> Result<File, BuildError> {
    let folder = workshop.site.config.data_dir.join("sources");
    File::open(folder.join(id.to_string())).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BuildError::Tree(
            "nothing was uploaded to the source's address, or more than a day ago".to_owned(),
        ),
        _ => platform(error),
    })
}

/// What the tree is laid out for.
fn way(workshop: &Workshop) -> Way {
    match workshop.order.artifact {
        // Buildpacks that somebody chose decide, whatever the tree holds.
        Artifact::ByTree if !workshop.order.buildpacks.is_empty() => Way::Slug,
        Artifact::ByTree => Way::ByTree,
        Artifact::Slug => Way::Slug,
        Artifact::Image | Artifact::Archive => Way::Image,
    }
}

async fn checkout(workshop: &Workshop, commit: &str) -> Result<Done, BuildError> {
    let repo = data(format!("git/{}", repository::folder(workshop.order.app.id)));
    let argv = [
        jail::PROGRAM,
        "jail",
        "checkout",
        commit,
        way(workshop).name(),
    ];
    let mounts = vec![
        bind(repo, jail::REPO),
        bind_writable(workshop.in_volume(""), jail::DEST),
    ];
    let mut spec = workshop.jail("checkout", &argv, mounts);
    spec.limits.memory_max_bytes = model::limits::BUILD_MEMORY_MAX_BYTES;
    let jobs: &jobs::Jobs = &workshop.site.jobs;
    let done = jobs.collect(spec, Secrets::default()).await;
    done.map_err(platform)
}

async fn unpack(
    workshop: &Workshop,
    archive: OwnedFd,
    sha256: Option<Digest>,
) -> Result<Done, BuildError> {
    let sha256 = sha256.map(|digest| digest.to_string());
    let mut argv = vec![jail::PROGRAM, "jail", "source", way(workshop).name()];
    argv.extend(sha256.as_deref());
    let mounts = vec![bind_writable(workshop.in_volume(""), jail::DEST)];
    let spec = workshop.jail("source", &argv, mounts);
    let done = workshop
        .site
        .jobs
        .collect_from(archive, spec, Secrets::default());
    done.await.map_err(platform)
}

/// What is fetched goes from one job straight into the next.
async fn fetch(workshop: &Workshop, url: &str, sha256: Option<Digest>) -> Result<Done, BuildError> {
    let max_bytes = SOURCE_MAX_BYTES.to_string();
    let argv = [
        "curl",
        "-fsSL",
        "--proto",
        "=http,https",
        "--max-redirs",
        "10",
        "--max-filesize",
        &max_bytes,
        "--",
        url,
    ];
    let spec = workshop.outside(&argv);
    let (archive, out) = io::pipe().map_err(platform)?;
    let (errors, err) = jobs::output_pipe().map_err(platform)?;
    let null = File::open("/dev/null").map_err(platform)?;
    let files = vec![null.into(), out.into(), err];
    let fetching = workshop.site.jobs.start(spec, workshop.plain(), files);
    let fetching = fetching.await.map_err(platform)?;
    let (done, errors, fetched) = tokio::join!(
        unpack(workshop, archive.into(), sha256),
        jobs::read_bounded(errors, jobs::ERRORS_MAX_BYTES),
        fetching.ended(),
    );
    let done = done?;
    // 23: curl could not write, because whoever unpacks had enough.
    match fetched.map_err(platform)? {
        jobs::Ended::Exit(0 | 23) => Ok(done),
        ended => {
            let said = errors.map_err(platform)?;
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            let why = if said.is_empty() {
                ended.to_string()
            } else {
                said
            };
            Err(BuildError::Tree(format!("cannot fetch the source: {why}")))
        }
    }
}
