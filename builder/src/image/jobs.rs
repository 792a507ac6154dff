//! The jobs of an image build: what each sees.

use crate::build::workshop::Workshop;
use crate::build::{BuildError, platform};
use crate::jail;
use crate::jail::image::Request;
use crate::jobs::{self, bind, data, place};
use crate::site::Site;
use model::app;
use sandbox::{Base, Limits, Mount, Place, Secrets, Spec};
use serde::de::DeserializeOwned;
use std::io::{Seek as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Starts jobs of one build.
#[derive(Clone, Debug)]
pub(super) struct Jobs {
    pub(super) site: Arc<Site>,
    /// The app's.
    pub(super) app: app::Id,
    /// Whose root file system our own program runs in.
    stack: String,
    volume: String,
    /// Folders of the volume that are thrown away.
    scraps: Arc<AtomicU64>,
}

impl Jobs {
    /// Of this build.
    pub(super) fn new(workshop: &Workshop) -> Self {
        Self {
            site: Arc::clone(&workshop.site),
            app: workshop.order.app.id,
            stack: workshop.order.stack.clone(),
            volume: workshop.volume.id.clone(),
            scraps: Arc::new(AtomicU64::new(0)),
        }
    }

    /// A folder of the volume.
    pub(super) fn in_volume(&self, path: &str) -> Place {
        place(Base::Volume(self.volume.clone()), path.to_owned())
    }

    /// The id of the volume.
    pub(super) fn volume(&self) -> &str {
        &self.volume
    }

    /// A job that runs our own program as root inside, without a network.
    pub(super) fn jail(&self, what: &str, argv: &[&str], mounts: Vec<Mount>) -> Spec {
        let mut spec = jobs::spec(
            self.site.jobs.name(what),
            jobs::run_stack(&self.stack),
            argv,
        );
        spec.uid = 0;
        spec.gid = 0;
        spec.limits = limits();
        spec.mounts.extend(mounts);
        spec
    }

    /// A new folder of the volume, for something that is not kept.
    pub(super) fn scrap_folder(&self) -> String {
        let number = self.scraps.fetch_add(1, Ordering::Relaxed);
        format!("scrap-{number}")
    }

    /// Files that are seen, and may be written, and are as they were for the next one.
    pub(super) fn scrap(&self, lowers: Vec<Place>, to: &str) -> Mount {
        Mount::Overlay {
            lowers,
            upper: self.in_volume(&self.scrap_folder()),
            to: to.to_owned(),
        }
    }

    /// The context and what is known of its files.
    pub(super) fn context(&self) -> Vec<Mount> {
        vec![
            bind(self.in_volume("src"), jail::SRC),
            bind(self.in_volume("index"), jail::image::INDEX),
        ]
    }

    /// Does a request in a job; the inner error is what the job says for the person.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        request: &Request,
        mounts: Vec<Mount>,
    ) -> Result<Result<T, String>, BuildError> {
        let text = serde_json::to_vec(request).map_err(platform)?;
        let argv = [jail::PROGRAM, "jail", "image"];
        let spec = self.jail("image", &argv, mounts);
        let input = input(&text).map_err(platform)?;
        let done = self
            .site
            .jobs
            .collect_from(input, spec, Secrets::default())
            .await;
        match done.map_err(platform)?.report() {
            Ok(report) => Ok(Ok(report)),
            Err(jobs::JobError::Said(why)) => Ok(Err(why)),
            Err(error) => Err(platform(error)),
        }
    }

    /// The folder of a layer on the shelf.
    pub(super) fn on_shelf(digest: &model::digest::Digest) -> Place {
        data(format!("shelf/{}", digest.hex()))
    }
}

/// What every step may use.
pub(super) fn limits() -> Limits {
    Limits {
        memory_max_bytes: model::limits::BUILD_MEMORY_MAX_BYTES,
        pids_max: model::limits::BUILD_PIDS_MAX,
        cpu_weight: 100,
    }
}

/// A file that holds a request, to be read from its beginning.
fn input(text: &[u8]) -> std::io::Result<std::os::fd::OwnedFd> {
    let name = c"request";
    let memory = nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(text)?;
    file.rewind()?;
    Ok(file.into())
}
