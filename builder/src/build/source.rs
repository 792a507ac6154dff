//! The first step: the commit becomes a plain tree in the build's volume, in a job.

use super::workshop::Workshop;
use super::{BuildError, platform};
use crate::jail::{self, checkout::Report};
use crate::jobs::{self, JobError, bind, bind_writable, data};
use crate::repository;
use sandbox::Secrets;

/// Checks the commit out to `src`, and makes the other folders of the volume.
pub(crate) async fn checkout(workshop: &Workshop) -> Result<Report, BuildError> {
    let repo = data(format!("git/{}", repository::folder(workshop.order.app.id)));
    let argv = [jail::PROGRAM, "jail", "checkout", &workshop.commit];
    let mounts = vec![
        bind(repo, jail::REPO),
        bind_writable(workshop.in_volume(""), jail::DEST),
    ];
    let mut spec = workshop.jail("checkout", &argv, mounts);
    spec.limits.memory_max_bytes = model::limits::BUILD_MEMORY_MAX_BYTES;
    let jobs: &jobs::Jobs = &workshop.site.jobs;
    let done = jobs
        .collect(spec, Secrets::default())
        .await
        .map_err(platform)?;
    match done.report() {
        Ok(report) => Ok(report),
        Err(JobError::Said(why)) => Err(BuildError::Tree(why)),
        Err(error) => Err(platform(error)),
    }
}
