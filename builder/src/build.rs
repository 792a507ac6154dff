//! A commit or an archive -> a sealed slug. Each step is a job, or several; what they say goes to
//! the pusher.

pub(crate) mod workshop;

pub(crate) mod source;

mod compile;
mod fetch;
mod layers;

mod processes;
mod release_yaml;

pub(crate) mod pack;

pub(crate) mod cache;

use crate::jobs::{Ended, Running};
use crate::output::{LastWords, Voice, phrases, text};
use crate::plan::{self, PlanError};
use model::digest::Digest;
use model::feed::Artifact;
use model::procfile::ProcfileError;
use model::slug::Manifest;
use sandbox::{Secrets, Spec};
use std::error::Error as StdError;
use std::fs;
use std::time::Instant;
use workshop::Workshop;

/// What a build made.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The slug.
    pub manifest: Manifest,
    /// Its id.
    pub slug: Digest,
    /// The slug, milliseconds.
    pub pack_ms: u64,
}

/// Why there is no slug.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The source's tree, or what became of it, cannot be used.
    #[error("{0}")]
    Tree(String),
    /// The list of buildpacks cannot be used.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No built-in buildpack knows the app.
    #[error("no buildpack detects this app")]
    NoBuildpack {
        /// `Dockerfile` or `heroku.yml`, if the app has one.
        image_file: Option<String>,
        /// The names that were asked.
        asked: Vec<String>,
    },
    /// A listed buildpack does not know the app.
    #[error("app not compatible with buildpack {reference}")]
    NotCompatible {
        /// Which.
        reference: String,
        /// What it says.
        why: String,
    },
    /// A listed buildpack cannot be had.
    #[error("fetch buildpack {reference}")]
    Fetch {
        /// Which.
        reference: String,
        /// Why.
        why: String,
    },
    /// `bin/compile` failed.
    #[error("failed to compile {app} app")]
    Compile {
        /// What its `bin/detect` calls the app.
        app: String,
        /// Why, as far as it said so.
        cause: Vec<String>,
    },
    /// Another script of a buildpack failed.
    #[error("{script} of a buildpack failed")]
    Script {
        /// `bin/release`.
        script: &'static str,
        /// Why.
        cause: Vec<String>,
    },
    /// The Procfile cannot be used.
    #[error(transparent)]
    Procfile(#[from] ProcfileError),
    /// The Dockerfile, or a step of it, failed.
    #[error("{what}")]
    Image {
        /// In a few words.
        what: String,
        /// The cause.
        cause: Vec<String>,
    },
    /// The slug is larger than a slug may be.
    #[error("slug of {size_bytes} bytes")]
    TooLarge {
        /// Its size.
        size_bytes: u64,
    },
    /// The host's disk is full, or so nearly that nothing of this build can be trusted.
    #[error("the platform's disk is full")]
    DiskFull {
        /// What is left.
        free_bytes: u64,
    },
    /// The platform failed, not the app.
    #[error("the platform could not build")]
    Platform(#[source] Box<dyn StdError + Send + Sync>),
}

/// A failure of ours.
pub(crate) fn platform(error: impl Into<Box<dyn StdError + Send + Sync>>) -> BuildError {
    BuildError::Platform(error.into())
}

/// Builds. Whatever goes wrong on a full disk goes wrong because of it.
pub(crate) async fn build(workshop: &mut Workshop, voice: &Voice) -> Result<Built, BuildError> {
    let made = steps(workshop, voice).await;
    if made.is_err() {
        workshop.has_room()?;
    }
    made
}

async fn steps(workshop: &mut Workshop, voice: &Voice) -> Result<Built, BuildError> {
    if workshop.order.artifact == Artifact::Archive {
        return crate::image::import::import(workshop, voice).await;
    }
    voice.say_all(phrases::received()).await;
    let tree = source::lay_out(workshop).await?;
    if tree.image.is_some() || workshop.order.artifact == Artifact::Image {
        return crate::image::build(workshop, &tree, voice).await;
    }
    voice.say(phrases::building(&workshop.order.stack)).await;

    let built_in = installed(workshop).map_err(platform)?;
    let listed = &workshop.order.buildpacks;
    let plan = plan::plan(listed, tree.buildpacks.as_deref(), &built_in)?;
    let compiled = compile::compile(workshop, plan, &tree, voice).await?;

    let process_types = processes::discover(workshop, &compiled, voice).await?;
    // What the host could not write is lost without a word to who wrote it.
    workshop.has_room()?;

    let started = Instant::now();
    voice.say_all(phrases::compressing()).await;
    let app = pack::seal(workshop, "src", "app", tree.time_s).await?;
    voice.say(phrases::compressed(app.size_bytes)).await;
    let manifest = Manifest {
        stack: workshop.order.stack.clone(),
        app,
        layers: compiled.layers,
        process_types,
        commit: workshop.order.source.version().map(str::to_owned),
        description: Some(compiled.app),
        image: None,
    };
    let blobs = workshop.site.blobs.clone();
    let sealing = tokio::task::spawn_blocking(move || {
        let slug = artifact::slug::seal(&blobs, &manifest)?;
        Ok::<_, artifact::slug::SlugError>((slug, manifest))
    });
    let (slug, manifest) = sealing.await.map_err(platform)?.map_err(platform)?;
    Ok(Built {
        manifest,
        slug,
        pack_ms: ms_since(started),
    })
}

/// The names of the built-in buildpacks.
fn installed(workshop: &Workshop) -> std::io::Result<Vec<String>> {
    let dir = workshop.site.config.program_dir.join("buildpacks");
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.path().join("bin/detect").exists() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

/// Runs a step whose output, both streams of it, is the pusher's.
async fn run(
    workshop: &Workshop,
    spec: Spec,
    secrets: Secrets,
    voice: &Voice,
) -> Result<(Ended, LastWords), BuildError> {
    let (output, out) = crate::jobs::output_pipe().map_err(platform)?;
    let err = out.try_clone().map_err(platform)?;
    let null = fs::File::open("/dev/null").map_err(platform)?;
    let jobs = &workshop.site.jobs;
    let running: Running = jobs
        .start(spec, secrets, vec![null.into(), out, err])
        .await
        .map_err(platform)?;
    let (last, ended) = tokio::join!(voice.relay(output), running.ended());
    Ok((ended.map_err(platform)?, last.map_err(platform)?))
}

/// Why a script failed, as far as it said so.
fn cause(script: &str, ended: Ended, last: LastWords) -> Vec<String> {
    let said = last.cause();
    match ended {
        Ended::Exit(_) if !said.is_empty() => said,
        ended => vec![format!("{script}: {ended}")],
    }
}

pub(crate) fn ms_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl BuildError {
    /// What the pusher reads: what was refused, and the cause in one or more lines.
    pub(crate) fn told(&self) -> (String, Vec<String>) {
        match self {
            Self::Tree(why) => ("this source cannot be built".to_owned(), lines(why)),
            Self::Plan(error) => (
                "its buildpacks are not known".to_owned(),
                vec![error.to_string()],
            ),
            Self::NoBuildpack { image_file, asked } => (
                "no buildpack knows this app".to_owned(),
                no_buildpack(image_file.as_deref(), asked),
            ),
            Self::NotCompatible { reference, why } => {
                let what = format!("its buildpack {reference} does not know this app");
                (what, lines(why))
            }
            Self::Fetch { reference, why } => {
                (format!("cannot fetch buildpack {reference}"), lines(why))
            }
            Self::Compile { app, cause } => (format!("failed to compile {app} app"), cause.clone()),
            Self::Script { script, cause } => {
                (format!("{script} of its buildpack failed"), cause.clone())
            }
            Self::Procfile(error) => (
                "its Procfile cannot be used".to_owned(),
                vec![error.to_string()],
            ),
            Self::Image { what, cause } => (what.clone(), cause.clone()),
            Self::TooLarge { size_bytes } => {
                let size = text::size(*size_bytes);
                let cause = vec![
                    format!("Compiled slug size: {size} is too large (max is 500M)."),
                    "Leave large files out of it with a .slugignore file.".to_owned(),
                ];
                ("compiled slug is too large".to_owned(), cause)
            }
            Self::DiskFull { free_bytes } => (
                "the platform's disk is full".to_owned(),
                vec![
                    format!("{} are left on it.", text::size(*free_bytes)),
                    "Push again when its keeper has made room; nothing of this push is left."
                        .to_owned(),
                ],
            ),
            Self::Platform(_) => (
                "the platform failed, not the app".to_owned(),
                vec![
                    "The builder's log says why (on the server: paas doctor).".to_owned(),
                    "Push again; nothing of this push is left.".to_owned(),
                ],
            ),
        }
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| text::harmless(line.as_bytes()))
        .take(20)
        .collect()
}

fn no_buildpack(image_file: Option<&str>, asked: &[String]) -> Vec<String> {
    if let Some(file) = image_file {
        return vec![
            format!("The app has a {file}, and it is built with buildpacks."),
            "To build an image from a Dockerfile: paas stack:set container".to_owned(),
        ];
    }
    vec![
        "No default language could be detected for this app.".to_owned(),
        format!("Asked were the buildpacks {}.", asked.join(", ")),
        "Their marks: package.json, requirements.txt, static.json or index.html, Procfile,"
            .to_owned(),
        "each in the root folder. Or name one: paas buildpacks:set URL".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told() {
        let check = |error: BuildError, what: &str, cause: &[&str]| {
            assert_eq!(error.told().0, what);
            assert_eq!(error.told().1, cause);
        };
        check(
            BuildError::TooLarge {
                size_bytes: 500_100_000,
            },
            "compiled slug is too large",
            &[
                "Compiled slug size: 500.1M is too large (max is 500M).",
                "Leave large files out of it with a .slugignore file.",
            ],
        );
        check(
            BuildError::Procfile(ProcfileError::NoValidLine),
            "its Procfile cannot be used",
            &["the Procfile has no valid line; a line has the form `web: command`"],
        );
        check(
            BuildError::Tree("vendor/x is a submodule\u{7}".to_owned()),
            "this source cannot be built",
            &["vendor/x is a submodule\u{fffd}"],
        );
    }
}
