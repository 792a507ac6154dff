//! What buildpacks keep from build to build: `DATA/cache/<app id>/<stack>/c-N`; the highest N
//! counts.
//!
//! A build sees it below an overlay, so nothing in it changes. After a build that succeeded the
//! merged view is copied to `new-N`, which becomes `c-N+1` in one step. The files belong to the
//! user of builds, so that jobs copy and remove them; the folders above are ours.

use super::workshop::Workshop;
use crate::jail::{self, copy};
use crate::jobs::{self, JobError, Jobs, bind, bind_writable, data};
use model::app;
use model::limits::BUILD_CACHE_MAX_BYTES;
use sandbox::{Mount, Secrets};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;

/// The folder of a build's volume that holds what it changed.
pub(crate) const CHANGES: &str = "cache";

/// The folder of caches.
#[derive(Debug)]
pub(crate) struct Caches {
    dir: PathBuf,
    locks: Mutex<BTreeMap<app::Id, Arc<tokio::sync::Mutex<()>>>>,
}

/// Holds an app's cache as it is.
#[derive(Debug)]
pub(crate) struct Held {
    _guard: OwnedMutexGuard<()>,
}

impl Caches {
    /// Opens `DATA/cache`.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            locks: Mutex::default(),
        })
    }

    /// Waits until nobody writes an app's cache, and keeps it so.
    pub(crate) async fn hold(&self, app: app::Id) -> Held {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(app).or_default())
        };
        Held {
            _guard: lock.lock_owned().await,
        }
    }

    /// The cache of an app, made when missing: its path below the data folder.
    pub(crate) fn current(&self, app: app::Id, stack: &str) -> io::Result<String> {
        let dir = self.dir.join(app.to_string()).join(stack);
        fs::create_dir_all(&dir)?;
        let number = if let Some(number) = newest(&dir)? {
            number
        } else {
            fs::create_dir(dir.join("c-0"))?;
            0
        };
        Ok(format!("cache/{app}/{stack}/c-{number}"))
    }

    /// Ids of all apps that have a cache.
    pub(crate) fn list(&self) -> io::Result<Vec<app::Id>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            ids.extend(name.to_str().and_then(app::Id::parse));
        }
        Ok(ids)
    }

    /// Removes an app's cache.
    pub(crate) async fn remove(
        &self,
        jobs: &Jobs,
        stack: &str,
        app: app::Id,
    ) -> Result<(), JobError> {
        let held = self.hold(app).await;
        let dir = self.dir.join(app.to_string());
        for of_stack in fs::read_dir(&dir)? {
            let of_stack = of_stack?;
            for entry in fs::read_dir(of_stack.path())? {
                let path = entry?.path();
                self.empty(jobs, stack, &path).await?;
            }
            fs::remove_dir(of_stack.path())?;
        }
        fs::remove_dir(&dir)?;
        self.locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&app);
        drop(held);
        Ok(())
    }

    /// Makes what a build changed the cache of the next one. Holds the build's volume.
    pub(crate) async fn save(&self, workshop: &Workshop) -> Result<copy::Report, JobError> {
        let app = workshop.order.app.id;
        let stack = &workshop.order.stack;
        let dir = self.dir.join(app.to_string()).join(stack);
        let number = newest(&dir)?.unwrap_or(0);
        let new = dir.join(format!("new-{number}"));
        self.sweep(&workshop.site.jobs, stack, &dir, number).await?;
        fs::create_dir(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(0o777))?;

        let below = |name: &str| data(format!("cache/{app}/{stack}/{name}-{number}"));
        let max_bytes = BUILD_CACHE_MAX_BYTES.to_string();
        let argv = [jail::PROGRAM, "jail", "copy", &max_bytes];
        let mounts = vec![
            Mount::Overlay {
                lowers: vec![below("c")],
                upper: workshop.in_volume(CHANGES),
                to: jail::SRC.to_owned(),
            },
            bind(workshop.in_volume(CHANGES), jail::CHANGES),
            bind_writable(below("new"), jail::DEST),
        ];
        let spec = workshop.jail("cache", &argv, mounts);
        let done = workshop.site.jobs.collect(spec, Secrets::default()).await?;
        let report: copy::Report = done.report()?;
        match report {
            copy::Report::Whole { .. } => {
                fs::set_permissions(&new, Permissions::from_mode(0o755))?;
                fs::rename(&new, dir.join(format!("c-{}", number + 1)))?;
                self.sweep(&workshop.site.jobs, stack, &dir, number + 1)
                    .await?;
            }
            copy::Report::Unchanged => fs::remove_dir(&new)?,
            copy::Report::TooLarge => {
                fs::create_dir(dir.join(format!("c-{}", number + 1)))?;
                self.sweep(&workshop.site.jobs, stack, &dir, number + 1)
                    .await?;
            }
        }
        Ok(report)
    }

    /// Removes all of a stack's folders but `c-<number>`.
    async fn sweep(
        &self,
        jobs: &Jobs,
        stack: &str,
        dir: &std::path::Path,
        number: u64,
    ) -> Result<(), JobError> {
        let keep = format!("c-{number}");
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name() != keep.as_str() {
                self.empty(jobs, stack, &entry.path()).await?;
            }
        }
        Ok(())
    }

    /// Removes one folder whose content belongs to the user of builds.
    async fn empty(
        &self,
        jobs: &Jobs,
        stack: &str,
        path: &std::path::Path,
    ) -> Result<(), JobError> {
        let below = path.strip_prefix(&self.dir).map_err(io::Error::other)?;
        let below = data(format!("cache/{}", below.display()));
        fs::set_permissions(path, Permissions::from_mode(0o777))?;
        let argv = [jail::PROGRAM, "jail", "empty"];
        let mut spec = jobs::spec(jobs.name("empty"), jobs::run_stack(stack), &argv);
        spec.mounts.push(bind_writable(below, jail::DEST));
        jobs.collect(spec, Secrets::default()).await?.check()?;
        Ok(fs::remove_dir(path)?)
    }
}

fn newest(dir: &std::path::Path) -> io::Result<Option<u64>> {
    let mut newest = None;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("c-"));
        newest = newest.max(number.and_then(|number| number.parse().ok()));
    }
    Ok(newest)
}
