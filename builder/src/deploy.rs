//! A source -> a release that serves, or a reason why not and nothing changed.

use crate::api::{ApiError, Released};
use crate::build::cache::Held;
use crate::build::workshop::Workshop;
use crate::build::{self, BuildError, Built};
use crate::chain;
use crate::output::phrases::{self, Times};
use crate::output::{Voice, text};
use crate::queue::Turn;
use crate::repository::Moving;
use crate::site::Site;
use model::app;
use model::feed::{BuildOrder, Key};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is deployed.
#[derive(Debug)]
pub(crate) struct Deploy {
    /// How to build it.
    pub order: BuildOrder,
    /// The app's turn.
    pub turn: Turn,
    /// Time until the source was here, milliseconds.
    pub receive_ms: u64,
    /// The branch that moves with it, if one does.
    pub moving: Option<Moving>,
}

/// A build that ended, with what has to be kept until its cache is.
#[derive(Debug)]
pub(crate) struct Finished {
    workshop: Workshop,
    held: Held,
    turn: Turn,
}

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeployError {
    /// There is no slug.
    #[error("build failed")]
    Build(#[from] BuildError),
    /// It took longer than a build may.
    #[error("build failed")]
    Slow,
    /// Whoever pushed is gone.
    #[error("cancelled")]
    Gone,
    /// Its user cancelled it over the API.
    #[error("build cancelled")]
    Cancelled,
    /// We are told to end.
    #[error("the platform restarts")]
    Closing,
    /// The old release serves on.
    #[error("{reason}")]
    NotReleased {
        /// In a few words.
        reason: String,
        /// The cause.
        lines: Vec<String>,
    },
    /// The api did not say.
    #[error("not released")]
    Api(#[source] ApiError),
}

/// Builds and releases unless `gone` comes first; an error is told already, in words and here in a
/// few.
pub(crate) async fn deploy(
    site: &Arc<Site>,
    deploy: Deploy,
    voice: &Voice,
    gone: impl Future<Output = ()>,
) -> Result<Finished, String> {
    keep_output(site, &deploy.order, voice).await;
    let order = deploy.order.clone();
    let started = Instant::now();
    let outcome = tokio::select! {
        outcome = story(site, deploy, voice) => outcome,
        () = gone => Err(DeployError::Gone),
        () = site.closing.requested() => Err(DeployError::Closing),
    };
    match outcome {
        Ok(finished) => Ok(finished),
        Err(error) => {
            report(site, &order, &error, ms_since(started), voice).await;
            Err(error.to_string())
        }
    }
}

/// Waits until a build that the api told of is cancelled.
pub(crate) async fn cancelled(site: &Site, build: uuid::Uuid) {
    let key = Key::Build(build);
    let mut states = site.api.feed.state.clone();
    let watched = async {
        states
            .wait_for(|state| state.items.contains_key(&key))
            .await?;
        let is_gone = |state: &link::feed::State| state.is_live && !state.items.contains_key(&key);
        states.wait_for(is_gone).await.map(drop)
    };
    if watched.await.is_err() {
        // The feed ends with us.
        std::future::pending::<()>().await;
    }
}

async fn story(site: &Arc<Site>, deploy: Deploy, voice: &Voice) -> Result<Finished, DeployError> {
    let Deploy {
        order,
        mut turn,
        receive_ms,
        moving,
    } = deploy;
    let (app, build) = (order.app.id, order.build);
    let slug = async {
        wait(&mut turn, voice).await;
        let held = site.caches.hold(app).await;
        let started = Instant::now();
        let work = async {
            let mut workshop = Workshop::open(Arc::clone(site), order).await?;
            let slug = build::build(&mut workshop, voice).await?;
            Ok::<_, BuildError>((workshop, slug))
        };
        let limit = Duration::from_secs(site.config.limits.build_s);
        let outcome = tokio::time::timeout(limit, work).await;
        let (workshop, slug) = outcome.map_err(|_| DeployError::Slow)??;
        Ok((held, workshop, slug, ms_since(started)))
    };
    let (held, workshop, slug, built_ms) = tokio::select! {
        made = slug => made,
        () = cancelled(site, build) => Err(DeployError::Cancelled),
    }?;
    let times = Times {
        receive_ms,
        compile_ms: built_ms.saturating_sub(slug.pack_ms),
        pack_ms: slug.pack_ms,
        ..Times::default()
    };
    let artifact = slug.manifest.clone();
    if let Some(moving) = &moving {
        let note = site.repositories.moving(app, moving);
        note.map_err(|error| BuildError::Platform(Box::new(error)))?;
    }
    let times = release(site, build, slug, times, voice).await?;
    voice.end_step().await;
    voice.say_all(phrases::closing(&times, &artifact)).await;
    Ok(Finished {
        workshop,
        held,
        turn,
    })
}

/// Waits for a place among the builds of this node.
async fn wait(turn: &mut Turn, voice: &Voice) {
    let mut changes = turn.changes();
    let mut said = 0;
    while let Err(ahead) = turn.try_start() {
        if ahead != said {
            let builds = if ahead == 1 { "build is" } else { "builds are" };
            voice
                .say(format!("Waiting: {ahead} other {builds} first."))
                .await;
            said = ahead;
        }
        if changes.changed().await.is_err() {
            tracing::error!("the queue of builds is gone");
            return;
        }
    }
}

async fn release(
    site: &Site,
    build: uuid::Uuid,
    made: Built,
    mut times: Times,
    voice: &Voice,
) -> Result<Times, DeployError> {
    voice.say("-----> Launching...").await;
    if made
        .manifest
        .process_types
        .contains_key(&model::process::Type::release())
    {
        voice
            .say(phrases::mark(
                "Release command declared: this new release will not be available until the \
                 command succeeds.",
            ))
            .await;
    }
    let mut left_out = 0_u64;
    let released = site
        .api
        .release(build, made.slug, made.manifest, |line| {
            if !voice.try_say(text::harmless(line.as_bytes())) {
                left_out += 1;
            }
        })
        .await
        .map_err(DeployError::Api)?;
    if left_out > 0 {
        let text =
            format!("{left_out} lines of the release command came too fast for this terminal.");
        voice.say(phrases::mark(&text)).await;
    }
    match released {
        Released::Yes {
            number,
            url,
            release_ms,
            start_ms,
            fallback,
        } => {
            voice.say_all(phrases::released(number, &url)).await;
            if let Some(reason) = fallback {
                voice.say_all(phrases::isolated(&reason)).await;
            }
            times.release_ms = release_ms;
            times.start_ms = start_ms;
            Ok(times)
        }
        Released::No { reason, lines } => Err(DeployError::NotReleased { reason, lines }),
    }
}

/// Tells the pusher, the log and the api of a failure; the api gives the turn back.
async fn report(
    site: &Site,
    order: &BuildOrder,
    error: &DeployError,
    after_ms: u64,
    voice: &Voice,
) {
    let (what, cause) = match error {
        DeployError::Build(error) => error.told(),
        DeployError::Slow => (
            "the build took too long".to_owned(),
            vec![format!(
                "A build may take {}.",
                model::span::shown(site.config.limits.build_s)
            )],
        ),
        DeployError::Gone => ("the push was cancelled".to_owned(), Vec::new()),
        DeployError::Cancelled => ("the build was cancelled".to_owned(), Vec::new()),
        DeployError::Closing => (
            "the platform restarts".to_owned(),
            vec!["The build was stopped for it; push again in a moment.".to_owned()],
        ),
        DeployError::NotReleased { reason, lines } => (
            reason.clone(),
            lines
                .iter()
                .map(|line| text::harmless(line.as_bytes()))
                .collect(),
        ),
        DeployError::Api(error) => ("it was not released".to_owned(), vec![error.to_string()]),
    };
    let app = &order.app;
    match error {
        DeployError::Build(BuildError::Platform(source)) => {
            let chain = chain(source.as_ref());
            tracing::error!(app.name = %app.name, build = %order.build, error = chain, "build failed");
        }
        error => {
            tracing::info!(app.name = %app.name, build = %order.build, %error, what, "no release");
        }
    }
    voice.end_step().await;
    voice
        .say_all(phrases::rejected(&what, after_ms, &cause, order.current))
        .await;
    if matches!(error, DeployError::NotReleased { .. })
        && let Err(error) = site.repositories.moved(app.id)
    {
        tracing::error!(app.name = %app.name, %error, "a note stays behind");
    }
    let reason = cause.last().cloned().unwrap_or(what);
    if let Err(error) = site.api.build_failed(order.build, reason).await {
        tracing::warn!(app.name = %app.name, %error, "the api was not told of a failed build");
    }
}

async fn keep_output(site: &Site, order: &BuildOrder, voice: &Voice) {
    match site.outputs.create(order.app.id, order.build) {
        Ok(output) => voice.keep(output).await,
        Err(error) => {
            tracing::warn!(app.name = %order.app.name, %error, "a build's output is not kept");
        }
    }
}

impl Finished {
    /// Gives the app's turn back, keeps the build's cache, and lets what it put on the shelf
    /// outlive a power cut.
    pub(crate) async fn settle(self, site: &Arc<Site>, app: &app::Name) {
        let Self {
            workshop,
            held,
            turn,
        } = self;
        drop(turn);
        match site.caches.save(&workshop).await {
            Ok(report) => tracing::debug!(app.name = %app, ?report, "cache kept"),
            Err(error) => {
                tracing::warn!(app.name = %app, error = chain(&error), "cache not kept");
            }
        }
        drop((workshop, held));
        let unsynced = site.shelf.clone();
        let synced = tokio::task::spawn_blocking(move || unsynced.settle());
        if let Ok(Err(error)) = synced.await {
            tracing::warn!(error = chain(&error), "the shelf is not settled");
        }
    }
}

/// Time since a moment, milliseconds.
pub(crate) fn ms_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
