//! Does what was planned: each stage's layers, from the cache or made in jobs.
//!
//! A step's key is the digest of the key of what it stands on, of its action with every variable
//! expanded, and of the files it reads. What stands on another stage is known by that stage's key
//! before anything is built; so a stage whose files nobody misses is never built. A step that saw
//! a cache mount has the app in its key, and with it all that follows.

mod keys;
mod step;

use super::cache::{Cache, Record};
use super::jobs::Jobs;
use super::plan::{Action, Base, From, Stage, Step};
use super::{Plan, Source, seal, show};
use crate::build::workshop::Workshop;
use crate::build::{BuildError, platform};
use crate::jobs;
use crate::output::Voice;
use futures_util::future::{BoxFuture, FutureExt as _, try_join_all};
use keys::froms;
use model::digest::Digest;
use sandbox::Place;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OnceCell, Semaphore};

/// Steps of a build that run at the same time. Ours: the cores of a small machine.
const STEPS_AT_ONCE: usize = 2;

/// A layer of a stage.
#[derive(Debug)]
pub(super) struct Layer {
    /// What it was made from.
    pub key: String,
    /// Its folder in the build's volume, if it was made now.
    pub folder: Option<String>,
    /// Once it is sealed.
    pub record: OnceCell<Record>,
}

/// The files of a stage: its layers, the lowest first.
pub(super) type Files = Vec<Arc<Layer>>;

/// Why a stage could not be built.
#[derive(Clone, Debug)]
pub(super) enum StepError {
    /// A line is to blame.
    Fault(super::Fault),
    /// The platform is.
    Other(Arc<BuildError>),
}

impl StepError {
    /// As the pusher reads it.
    pub(super) fn told(self, source: Source<'_>) -> BuildError {
        match self {
            Self::Fault(fault) => BuildError::Image {
                what: format!("a step of its {} failed", source.name),
                cause: fault.told(source.name, source.text),
            },
            Self::Other(error) => match Arc::try_unwrap(error) {
                Ok(error) => error,
                Err(shared) => platform(crate::chain(shared.as_ref())),
            },
        }
    }
}

impl std::convert::From<BuildError> for StepError {
    fn from(error: BuildError) -> Self {
        Self::Other(Arc::new(error))
    }
}

/// A build under way.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) plan: Arc<Plan>,
    pub(super) jobs: Jobs,
    pub(super) version: Option<String>,
    pub(super) voice: Voice,
    /// Of `.dockerignore`.
    ignored: String,
    /// Keys of all steps, by stage; the first is that of the base.
    keys: BTreeMap<usize, Vec<String>>,
    /// Stages that are built, or being built.
    stages: BTreeMap<usize, OnceCell<Result<Files, StepError>>>,
    places: Semaphore,
}

impl Build {
    /// Computes all keys.
    pub(super) async fn new(
        workshop: &Workshop,
        plan: Arc<Plan>,
        ignored: &str,
        voice: &Voice,
    ) -> Result<Self, BuildError> {
        let mut build = Self {
            jobs: Jobs::new(workshop),
            version: workshop.order.source.version().map(str::to_owned),
            voice: voice.clone(),
            ignored: ignored.to_owned(),
            keys: BTreeMap::new(),
            stages: plan
                .stages
                .keys()
                .map(|index| (*index, OnceCell::new()))
                .collect(),
            places: Semaphore::new(STEPS_AT_ONCE),
            plan,
        };
        let selections = build.context_selections();
        let selected = build.select(selections).await?;
        build.keys = build.all_keys(&selected);
        Ok(build)
    }

    /// The files of a stage, built if they are not.
    pub(super) fn files(&self, index: usize) -> BoxFuture<'_, Result<Files, StepError>> {
        async move {
            let (Some(cell), Some(stage)) = (self.stages.get(&index), self.plan.stages.get(&index))
            else {
                return Err(platform("a stage that is not needed was asked for").into());
            };
            cell.get_or_init(|| self.stage(index, stage)).await.clone()
        }
        .boxed()
    }

    /// The files of an image.
    pub(super) fn image_files(&self, name: &str) -> Files {
        let Some(image) = self.plan.images.get(name) else {
            return Vec::new();
        };
        let ids = &image.config.rootfs.diff_ids;
        let layers = image.manifest.layers.iter().zip(ids);
        let layer = |(layer, diff_id): (&artifact::image::Descriptor, &Digest)| {
            Arc::new(Layer {
                key: diff_id.hex(),
                folder: None,
                record: OnceCell::new_with(Some(Record {
                    blob: model::slug::Blob {
                        digest: layer.digest,
                        size_bytes: layer.size,
                    },
                    diff_id: *diff_id,
                    size_bytes: layer.size,
                    created: image.config.created.clone().unwrap_or_default(),
                })),
            })
        };
        layers.map(layer).collect()
    }

    async fn stage(&self, index: usize, stage: &Stage) -> Result<Files, StepError> {
        let keys = self.keys.get(&index).cloned().unwrap_or_default();
        let cache = Cache::new(&self.jobs.site);
        let mut known = Vec::new();
        for key in keys.iter().skip(1) {
            known.push(cache.get(key)?);
        }
        // Stages whose files a step will miss are built beside this one.
        let missed = stage
            .steps
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none());
        let stages = missed.flat_map(|(step, _)| froms(&step.action));
        let beside = stages.filter_map(|from| match from {
            From::Stage(index) => Some(self.files(*index)),
            _ => None,
        });
        let beside = try_join_all(beside.collect::<Vec<_>>());
        let own = self.steps(index, stage, &keys, known);
        let (files, _) = tokio::try_join!(own, beside)?;
        Ok(files)
    }

    async fn steps(
        &self,
        index: usize,
        stage: &Stage,
        keys: &[String],
        known: Vec<Option<Record>>,
    ) -> Result<Files, StepError> {
        let count = stage.steps.len() + usize::from(matches!(stage.base, Base::Image(_)));
        let mut files = match &stage.base {
            Base::Scratch => Vec::new(),
            Base::Stage(base) => self.files(*base).await?,
            Base::Image(name) => {
                let shown = show::step(&stage.label, (1, count), &format!("FROM {name}"));
                self.voice.say(shown).await;
                self.image_files(name)
            }
        };
        let before = count - stage.steps.len();
        let steps = stage.steps.iter().zip(keys.iter().skip(1)).zip(known);
        for (number, ((step, key), known)) in steps.enumerate() {
            let shown = show::step(&stage.label, (before + number + 1, count), &step.source);
            let (folder, record) = if let Some(record) = known {
                self.voice.say(show::result(&shown, "cached")).await;
                (None, OnceCell::new_with(Some(record)))
            } else {
                let folder = format!("layer-{index}-{number}");
                self.make(step, &shown, &files, &folder).await?;
                (Some(folder), OnceCell::new())
            };
            let layer = Layer {
                key: key.clone(),
                folder,
                record,
            };
            files.push(Arc::new(layer));
        }
        Ok(files)
    }

    async fn make(
        &self,
        step: &Step,
        shown: &str,
        files: &Files,
        folder: &str,
    ) -> Result<(), StepError> {
        let is_run = matches!(step.action, Action::Run(_));
        let _place = self.places.acquire().await.map_err(platform)?;
        if is_run {
            self.voice.say(shown.to_owned()).await;
        }
        let started = Instant::now();
        step::make(self, step, files, folder).await?;
        let took = show::took(started.elapsed());
        let line = if is_run {
            // Its name again: steps of other stages may have spoken since.
            show::result(show::place(shown), &took)
        } else {
            show::result(shown, &took)
        };
        self.voice.say(line).await;
        Ok(())
    }

    /// The layers of stages that are no part of the image and were made now.
    pub(super) fn others(&self) -> Files {
        let mut all: Files = Vec::new();
        for cell in self.stages.values() {
            let Some(Ok(files)) = cell.get() else {
                continue;
            };
            let new = files.iter().filter(|layer| layer.record.get().is_none());
            for layer in new {
                if !all.iter().any(|known| known.key == layer.key) {
                    all.push(Arc::clone(layer));
                }
            }
        }
        all
    }

    /// Where the layers of a stage are, topmost first, with an empty one at the very bottom: a root
    /// file system has at least one. What is missing on the shelf is put there.
    pub(super) async fn lowers(&self, files: &Files) -> Result<Vec<Place>, BuildError> {
        let mut places = Vec::new();
        for layer in files.iter().rev() {
            places.push(match (&layer.folder, layer.record.get()) {
                (Some(folder), _) => self.jobs.in_volume(folder),
                (None, Some(record)) => {
                    seal::shelve(&self.jobs, &record.blob.digest).await?;
                    Jobs::on_shelf(&record.blob.digest)
                }
                (None, None) => return Err(platform("a layer is nowhere")),
            });
        }
        places.push(self.jobs.in_volume("empty"));
        if places.len() > model::limits::SANDBOX_LAYERS_MAX {
            return Err(BuildError::Image {
                what: "it has too many layers".to_owned(),
                cause: vec![format!(
                    "{} layers, at most {} can be laid over each other.",
                    places.len() - 1,
                    model::limits::SANDBOX_LAYERS_MAX - 1
                )],
            });
        }
        Ok(places)
    }
}

/// A job's environment.
pub(super) fn environment(
    run: &super::plan::Run,
    home: &str,
    site: &crate::site::Site,
) -> BTreeMap<String, String> {
    let mut env = site.config.build.env.clone();
    env.extend(run.env.clone());
    env.entry("HOME".to_owned()).or_insert(home.to_owned());
    env
}

/// How a job ended, for the person.
pub(super) fn ended(argv: &[String], ended: jobs::Ended) -> String {
    let what = argv.join(" ");
    let what: String = what.chars().take(200).collect();
    let how = match ended {
        jobs::Ended::Exit(code) => format!("exit code: {code}"),
        jobs::Ended::Signal(signal) => format!("exit code: {}", 128 + signal),
        jobs::Ended::Memory => "exit code: 137: it needed more memory than a build may use".into(),
        jobs::Ended::Killed => "it was stopped".to_owned(),
    };
    format!("process \"{what}\" did not complete successfully: {how}")
}
