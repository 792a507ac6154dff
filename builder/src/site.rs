//! What all pushes of this node share.

use crate::api::Api;
use crate::build::cache::Caches;
use crate::jobs::Jobs;
use crate::output::kept::Outputs;
use crate::queue::Queue;
use crate::repository::Repositories;
use artifact::{Blobs, Names, Shelf};
use link::config::Config;
use link::stop::Stop;

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
    /// What builds say.
    pub outputs: Outputs,
    /// Who builds when.
    pub queue: Queue,
    /// When what still runs has to end, because we do.
    pub closing: Stop,
}
