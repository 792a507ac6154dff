//! Gives the disk back what nobody needs: folders that left the shelf, objects of refused pushes.

use crate::git_job;
use crate::jail;
use crate::jobs::{self, JobError, bind_writable, data};
use crate::repository;
use crate::site::Site;
use artifact::shelf::Leftovers;
use model::app;
use sandbox::Secrets;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;

/// Removes folders that are on the shelf without a use. Their files belong to the user of builds.
pub(crate) async fn shelf(site: Arc<Site>, leftovers: Leftovers) {
    for name in leftovers.names {
        match remove(&site, &name).await {
            Ok(()) => tracing::debug!(name, "a folder left the shelf"),
            Err(error) => {
                let error = crate::chain(&error);
                tracing::warn!(name, error, "a folder stays on the shelf without a use");
            }
        }
    }
}

async fn remove(site: &Site, name: &str) -> Result<(), JobError> {
    let path = site.config.data_dir.join("shelf").join(name);
    let meta = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    let is_open = meta.mode() & 0o777 == 0o777;
    if !is_open && (meta.uid(), meta.gid()) == site.repositories.owner() {
        fs::set_permissions(&path, Permissions::from_mode(0o777))?;
    } else if !is_open {
        // It is dynod's: whoever owns it opens it.
        let mut spec = job(site, name, &["chmod", "0777", jail::DEST]);
        spec.uid = meta.uid();
        site.jobs.collect(spec, path_alone()).await?.check()?;
    }
    let spec = job(site, name, &[jail::PROGRAM, "jail", "empty"]);
    site.jobs.collect(spec, Secrets::default()).await?.check()?;
    Ok(fs::remove_dir(path)?)
}

fn job(site: &Site, name: &str, argv: &[&str]) -> sandbox::Spec {
    let lowers = jobs::run_stack(&site.config.default_stack);
    let mut spec = jobs::spec(site.jobs.name("tidy"), lowers, argv);
    let dest = data(format!("shelf/{name}"));
    spec.mounts.push(bind_writable(dest, jail::DEST));
    spec
}

fn path_alone() -> Secrets {
    Secrets {
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        ..Secrets::default()
    }
}

/// After a push: lets git collect what no branch leads to, when there is something to collect. The
/// app's turn is held meanwhile, and a push waits for it.
pub(crate) async fn repository(site: &Site, app: app::Id, was_refused: bool) {
    if !was_refused && !site.repositories.is_cluttered(app) {
        return;
    }
    let Some(turn) = site.queue.tidy(app) else {
        return; // The next push comes already, and its end brings us back here.
    };
    let (spec, secrets) = git_job::collect(site, &repository::folder(app));
    let done = site.jobs.collect(spec, secrets).await;
    drop(turn);
    match done.and_then(|done| done.check()) {
        Ok(()) => tracing::debug!(%app, "git collected what was left"),
        Err(error) => {
            tracing::warn!(%app, error = crate::chain(&error), "git did not collect");
        }
    }
}
