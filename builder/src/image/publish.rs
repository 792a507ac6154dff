//! The files of the wanted stage -> sealed blobs, config and manifest, and how the image runs.

use super::cache::{Cache, Record};
use super::execute::{Build, Files, Layer};
use super::jobs::Jobs;
use super::plan::{Base, DEFAULT_PATH, Stage};
use super::{seal, show, signal};
use crate::build::{BuildError, Built, platform};
use crate::jail;
use crate::jail::image::Request;
use crate::jail::image::user::User;
use crate::output::{Voice, text};
use artifact::image::{Config, Descriptor, History, Settings, manifest};
use futures_util::future::try_join_all;
use model::digest::Digest;
use model::image::Image;
use model::process::{Type, Types};
use model::slug::{Blob, Manifest};
use sandbox::Place;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an image is called where a slug has the name of its stack.
const STACK: &str = "container";
/// Bytes of the manifest that a release keeps. Ours: it travels to nodes and into the store.
const MANIFEST_MAX_BYTES: usize = 96 * 1024;

/// Seals all that is new and makes the manifest.
pub(super) async fn publish(
    build: &Build,
    files: &Files,
    declared: Types,
    voice: &Voice,
) -> Result<Built, BuildError> {
    let stage = build.plan.stages.get(&build.plan.graph.target);
    let stage = stage.ok_or_else(|| platform("the wanted stage is gone"))?;
    let records = seal_all(build, files).await?;
    if records.is_empty() {
        return Err(unusable("The image has no files at all."));
    }
    let image_bytes: u64 = records.iter().map(|record| record.blob.size_bytes).sum();
    let config = config(build, stage, &records);
    let layers = records.iter().map(descriptor).collect();
    let blobs = build.jobs.site.blobs.clone();
    let sealing = config.clone();
    let sealed = tokio::task::spawn_blocking(move || {
        let (id, digest) = artifact::image::seal(&blobs, &sealing, layers)?;
        let size_bytes = blobs.size_bytes(&digest)?;
        Ok::<_, artifact::image::ImageError>((id, Blob { digest, size_bytes }))
    });
    let (id, app) = sealed.await.map_err(platform)?.map_err(platform)?;
    let count = records.len();
    let size = text::size(image_bytes);
    voice
        .say(format!("       Done: {size} in {count} layers"))
        .await;
    let lowers = build.lowers(files).await?;
    let sealed = Sealed {
        settings: config.config,
        id,
        app,
        layers: records.iter().map(|record| record.blob).collect(),
        commit: build.version.clone(),
        description: "Dockerfile",
        declared,
    };
    finish(&build.jobs, lowers, sealed).await
}

/// An image whose blobs are sealed.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) settings: Settings,
    /// Of its config.
    pub(super) id: Digest,
    /// Its manifest.
    pub(super) app: Blob,
    /// Its layers as they are laid over each other, the lowest first.
    pub(super) layers: Vec<Blob>,
    pub(super) commit: Option<String>,
    pub(super) description: &'static str,
    /// What a Procfile says; it wins over the image's own command.
    pub(super) declared: Types,
}

/// Finds out how it runs, by its files, and makes what a release keeps.
pub(super) async fn finish(
    jobs: &Jobs,
    lowers: Vec<Place>,
    sealed: Sealed,
) -> Result<Built, BuildError> {
    let mut image = runs_as(jobs, lowers, &sealed).await?;
    let declared = &sealed.declared;
    image
        .commands
        .retain(|name, _| !declared.contains_key(name));
    let mut process_types = types(&image);
    process_types.extend(sealed.declared);
    let manifest = Manifest {
        stack: STACK.to_owned(),
        app: sealed.app,
        layers: Vec::new(),
        process_types,
        commit: sealed.commit,
        description: Some(sealed.description.to_owned()),
        image: Some(Box::new(image)),
    };
    let bytes = artifact::slug::to_bytes(&manifest);
    if bytes.len() > MANIFEST_MAX_BYTES {
        return Err(unusable(
            "Its environment, labels and commands are too long.",
        ));
    }
    let blobs = jobs.site.blobs.clone();
    let slug = tokio::task::spawn_blocking(move || blobs.put(&bytes));
    let slug = slug.await.map_err(platform)?.map_err(platform)?;
    Ok(Built {
        manifest,
        slug,
        pack_ms: 0,
    })
}

fn unusable(cause: &str) -> BuildError {
    BuildError::Image {
        what: "its image cannot be used".to_owned(),
        cause: vec![cause.to_owned()],
    }
}

/// Seals the layers that were made now, all at once, and names them in the cache.
async fn seal_all(build: &Build, files: &Files) -> Result<Vec<Record>, BuildError> {
    let all = files
        .iter()
        .map(|layer| sealed(build, layer, seal::Wanted::Shelved));
    let records = try_join_all(all).await?;
    // Of the other stages, so that the next build finds them.
    let others = build.others();
    let kept = others
        .iter()
        .map(|layer| sealed(build, layer, seal::Wanted::Blob));
    try_join_all(kept).await?;
    Ok(records)
}

async fn sealed(
    build: &Build,
    layer: &Arc<Layer>,
    wanted: seal::Wanted,
) -> Result<Record, BuildError> {
    let make = || async {
        let folder = layer.folder.as_deref();
        let folder = folder.ok_or_else(|| platform("a layer is nowhere"))?;
        let record = seal::seal(&build.jobs, build.jobs.in_volume(folder), wanted).await?;
        Cache::new(&build.jobs.site).set(&layer.key, &record)?;
        Ok::<_, BuildError>(record)
    };
    layer.record.get_or_try_init(make).await.cloned()
}

fn descriptor(record: &Record) -> Descriptor {
    Descriptor {
        media_type: manifest::LAYER_ZSTD.to_owned(),
        digest: record.blob.digest,
        size: record.blob.size_bytes,
        other: serde_json::Map::new(),
    }
}

/// The config: that of the base, and this file's stages on it.
fn config(build: &Build, stage: &Stage, records: &[Record]) -> Config {
    let mut chain = vec![stage];
    while let Some(Base::Stage(below)) = chain.last().map(|stage| &stage.base) {
        let Some(below) = build.plan.stages.get(below) else {
            break;
        };
        chain.push(below);
    }
    let base = chain.last().and_then(|stage| match &stage.base {
        Base::Image(name) => build.plan.images.get(name),
        _ => None,
    });
    let mut config = base.map_or_else(Config::scratch, |image| image.config.clone());
    let mut new = records.iter().skip(config.rootfs.diff_ids.len());
    let mut created = new.clone().next().map(|record| record.created.clone());
    for (created_by, makes_layer) in chain.iter().rev().flat_map(|stage| &stage.history) {
        if *makes_layer && let Some(record) = new.next() {
            created = Some(record.created.clone());
        }
        config.history.push(History {
            created: created.clone(),
            created_by: Some(created_by.clone()),
            empty_layer: !makes_layer,
            comment: Some("paas".to_owned()),
            ..History::default()
        });
    }
    config.rootfs.diff_ids = records.iter().map(|record| record.diff_id).collect();
    config.author.clone_from(&stage.author);
    config.config = stage.settings.clone();
    config.created = created.or(config.created).or_else(|| Some(show::moment(0)));
    config
}

/// How a node runs it.
async fn runs_as(jobs: &Jobs, lowers: Vec<Place>, sealed: &Sealed) -> Result<Image, BuildError> {
    let settings = &sealed.settings;
    let seen = jobs.scrap(lowers, jail::DEST);
    let request = Request::User {
        user: settings.user.clone(),
    };
    let user: User = jobs
        .ask(&request, vec![seen])
        .await?
        .map_err(|why| unusable(&format!("USER {}: {why}", settings.user)))?;
    let mut env: BTreeMap<String, String> = settings
        .env
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    env.entry("HOME".to_owned()).or_insert(user.home);
    env.entry("PATH".to_owned())
        .or_insert(DEFAULT_PATH.to_owned());
    let entrypoint = settings.entrypoint.clone().unwrap_or_default();
    let cmd = settings.cmd.clone().unwrap_or_default();
    let has_command = !entrypoint.is_empty() || !cmd.is_empty();
    let shell = settings.shell.clone();
    Ok(Image {
        config: sealed.id,
        layers: sealed.layers.clone(),
        entrypoint,
        shell: shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]),
        commands: has_command
            .then(|| (Type::web(), cmd))
            .into_iter()
            .collect(),
        env,
        working_dir: settings.working_dir.clone(),
        uid: user.uid,
        gid: user.gid,
        stop_signal: signal::number(&settings.stop_signal).unwrap_or(15),
    })
}

/// The process types, each with its command as people see it.
fn types(image: &Image) -> Types {
    let shown = |words: &Vec<String>| {
        let all: Vec<&str> = image
            .entrypoint
            .iter()
            .chain(words)
            .map(String::as_str)
            .collect();
        let text = match all.as_slice() {
            // The shell that an image's text runs in goes without saying.
            [_, "-c", text] => (*text).to_owned(),
            words => words.join(" "),
        };
        text.chars().take(1_000).collect::<String>()
    };
    let types = image.commands.iter();
    types
        .map(|(name, words)| (name.clone(), shown(words)))
        .collect()
}
