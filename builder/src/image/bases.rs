//! Images by name: what a FROM stands on.
//!
//! The stack of slugs is one, `paas/debian-13` (or `debian-13`): packed into a layer when it is
//! asked for first, and again when its recipe has changed.

use super::Source;
use super::cache::{Cache, Record};
use super::dockerfile::fault::Fault;
use super::jobs::Jobs;
use super::{plan::DEFAULT_PATH, seal};
use crate::build::workshop::Workshop;
use crate::build::{BuildError, platform};
use crate::output::Voice;
use artifact::image::{Config, Descriptor, History, Loaded, manifest};
use std::fs;

/// In front of the name of a stack.
const NAMESPACE: &str = "paas/";

/// Finds images.
#[derive(Debug)]
pub(super) struct Bases<'a> {
    workshop: &'a Workshop,
    voice: &'a Voice,
}

/// Why there is no such image.
#[derive(Debug)]
pub(super) enum NoBase {
    /// Nobody has it.
    Unknown {
        /// What there is.
        known: String,
    },
    /// It cannot be made or read.
    Failed(BuildError),
}

impl NoBase {
    /// As the pusher reads it.
    pub(super) fn told(self, source: Source<'_>, span: (usize, usize), name: &str) -> BuildError {
        match self {
            Self::Failed(error) => error,
            Self::Unknown { known } => {
                let message = format!(
                    "image {name} is not on this machine, and images are not fetched from \
                     registries yet; there is {known}, and scratch"
                );
                source.fault(&Fault::new(span, message).at(name))
            }
        }
    }
}

impl<'a> Bases<'a> {
    /// Of this node.
    pub(super) fn new(workshop: &'a Workshop, voice: &'a Voice) -> Self {
        Self { workshop, voice }
    }

    /// The image of this name.
    pub(super) async fn find(&self, name: &str) -> Result<Loaded, NoBase> {
        let plain = name.strip_prefix(NAMESPACE).unwrap_or(name);
        let plain = plain.strip_suffix(":latest").unwrap_or(plain);
        let stack = self.workshop.site.config.default_stack.clone();
        if plain != stack {
            let known = format!("{NAMESPACE}{stack}");
            return Err(NoBase::Unknown { known });
        }
        self.stack(&stack).await.map_err(NoBase::Failed)
    }

    async fn stack(&self, stack: &str) -> Result<Loaded, BuildError> {
        let site = &self.workshop.site;
        let folder = site.config.stacks_dir.join(stack);
        // The link leads to a folder that is named after the recipe.
        let folder = fs::canonicalize(folder).map_err(platform)?;
        let recipe = folder.file_name().unwrap_or_default().to_string_lossy();
        let key = format!("base-{recipe}");
        let cache = Cache::new(site);
        let record = if let Some(record) = cache.get(&key)? {
            record
        } else {
            let text = format!("-----> Packing {NAMESPACE}{stack} for all apps of this node");
            self.voice.say(text).await;
            let record = self.pack(stack).await?;
            cache.set(&key, &record)?;
            record
        };
        let mut config = Config::scratch();
        config.created = Some(record.created.clone());
        config.config.env = vec![format!("PATH={DEFAULT_PATH}")];
        config.config.cmd = Some(vec!["/bin/bash".to_owned()]);
        config.rootfs.diff_ids.push(record.diff_id);
        config.history.push(History {
            created: Some(record.created.clone()),
            created_by: Some(format!("stack {recipe}")),
            comment: Some("paas".to_owned()),
            ..History::default()
        });
        let layer = Descriptor {
            media_type: manifest::LAYER_ZSTD.to_owned(),
            digest: record.blob.digest,
            size: record.blob.size_bytes,
            other: serde_json::Map::new(),
        };
        let blobs = site.blobs.clone();
        let sealed = tokio::task::spawn_blocking(move || {
            let (_, digest) = artifact::image::seal(&blobs, &config, vec![layer])?;
            artifact::image::load(&blobs, digest)
        });
        sealed.await.map_err(platform)?.map_err(platform)
    }

    async fn pack(&self, stack: &str) -> Result<Record, BuildError> {
        let jobs = Jobs::new(self.workshop);
        let from = crate::jobs::place(sandbox::Base::Stack, format!("{stack}/run"));
        seal::seal(&jobs, from, seal::Wanted::Blob).await
    }
}
