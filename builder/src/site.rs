//! What all pushes of this node share.

use crate::api::Api;
use crate::build::cache::Caches;
use crate::jobs::Jobs;
use crate::queue::Queue;
use crate::repository::Repositories;
use artifact::{Blobs, Names, Shelf};
use link::config::Config;
use model::app;
use std::path::PathBuf;

/// The builder of a node.
#[derive(Debug)]
pub(crate) struct Site {
    /// As the data folder says.
    pub config: Config,
    /// The nursery.
    pub jobs: Jobs,
    /// The api.
    pub api: Api,
    /// Git.
    pub repositories: Repositories,
    /// Caches of builds.
    pub caches: Caches,
    /// Sealed slugs and layers.
    pub blobs: Blobs,
    /// Unpacked ones.
    pub shelf: Shelf,
    /// Runtime layers by their recipe.
    pub layers: Names,
    /// Who builds when.
    pub queue: Queue,
}

impl Site {
    /// Where a build's output is kept: `journal/builder/<app id>/<build id>.out`.
    pub(crate) fn output_path(&self, app: app::Id, build: uuid::Uuid) -> PathBuf {
        let folder = self.config.data_dir.join("journal/builder");
        folder.join(app.to_string()).join(format!("{build}.out"))
    }
}
