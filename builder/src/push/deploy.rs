//! A commit of `main` -> a release that serves, or a reason why not and nothing changed.

use super::Push;
use crate::api::{ApiError, Released};
use crate::build::cache::Held;
use crate::build::workshop::Workshop;
use crate::build::{self, BuildError, Built};
use crate::chain;
use crate::hook::talk::Update;
use crate::intake::client::Gone;
use crate::output::phrases::{self, Times};
use crate::output::{Voice, text};
use crate::queue::Turn;
use crate::repository::Moving;
use crate::site::Site;
use model::feed::{App, BuildOrder};
use model::limits::BUILD_TIMEOUT_MS;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A deploy that serves; its branch is about to move.
#[derive(Debug)]
pub(crate) struct Deployed {
    moving: Moving,
    finished: Finished,
}

/// A build that ended, with what has to be kept until its cache is.
#[derive(Debug)]
struct Finished {
    workshop: Workshop,
    held: Held,
    turn: Turn,
}

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
enum DeployError {
    #[error("build failed")]
    Build(#[from] BuildError),
    #[error("build failed")]
    Slow,
    #[error("cancelled")]
    Cancelled,
    #[error("the platform restarts")]
    Closing,
    #[error("{reason}")]
    NotReleased { reason: String, lines: Vec<String> },
    #[error("not released")]
    Api(#[source] ApiError),
}

/// Builds and releases; an error is the reason that git shows beside the ref.
pub(crate) async fn deploy(
    site: &Arc<Site>,
    push: &Push,
    update: &Update,
    voice: &Voice,
    gone: &Gone,
) -> Result<Deployed, String> {
    let receive_ms = ms_since(push.arrived);
    let Some(turn) = site.queue.enter(push.app.id) else {
        let name = &push.app.name;
        let lines = [
            format!("A build of {name} is running already."),
            "Nothing was changed. Push again when it has ended.".to_owned(),
        ];
        return Err(refuse(voice, &lines, "another build is running").await);
    };
    let asked = site
        .api
        .start_build(push.app.id, push.account, update.new.clone());
    let order = match asked.await {
        Ok(order) => order,
        Err(ApiError::Refused(message)) => {
            let lines: Vec<String> = message.lines().map(str::to_owned).collect();
            return Err(refuse(voice, &lines, "refused").await);
        }
        Err(error) => {
            tracing::error!(app.name = %push.app.name, %error, "no build was started");
            let lines = ["The platform's api does not answer; push again.".to_owned()];
            return Err(refuse(voice, &lines, "the platform does not answer").await);
        }
    };
    keep_output(site, &order, voice).await;
    let started = Instant::now();
    let moving = Moving {
        branch: update.name.clone(),
        commit: update.new.clone(),
    };
    let story = story(site, order.clone(), (turn, receive_ms), &moving, voice);
    let outcome = tokio::select! {
        outcome = story => outcome,
        () = gone.wait() => Err(DeployError::Cancelled),
        () = site.closing.requested() => Err(DeployError::Closing),
    };
    match outcome {
        Ok(finished) => Ok(Deployed { moving, finished }),
        Err(error) => {
            report(site, &order, &error, ms_since(started), voice).await;
            Err(error.to_string())
        }
    }
}

async fn story(
    site: &Arc<Site>,
    order: BuildOrder,
    (mut turn, receive_ms): (Turn, u64),
    moving: &Moving,
    voice: &Voice,
) -> Result<Finished, DeployError> {
    let stack = order.stack.clone();
    let (app, build) = (order.app.id, order.build);
    wait(&mut turn, voice).await;
    let held = site.caches.hold(app).await;
    let started = Instant::now();
    let work = async {
        let commit = moving.commit.clone();
        let mut workshop = Workshop::open(Arc::clone(site), order, commit).await?;
        let slug = build::build(&mut workshop, voice).await?;
        Ok::<_, BuildError>((workshop, slug))
    };
    let limit = Duration::from_millis(BUILD_TIMEOUT_MS);
    let outcome = tokio::time::timeout(limit, work).await;
    let (workshop, slug) = outcome.map_err(|_| DeployError::Slow)??;
    let times = Times {
        receive_ms,
        compile_ms: ms_since(started).saturating_sub(slug.pack_ms),
        pack_ms: slug.pack_ms,
        ..Times::default()
    };
    let size_bytes = slug.manifest.app.size_bytes;
    let note = site.repositories.moving(app, moving);
    note.map_err(|error| BuildError::Platform(Box::new(error)))?;
    let times = release(site, build, slug, times, voice).await?;
    voice.end_step().await;
    voice
        .say_all(phrases::closing(&times, size_bytes, &stack))
        .await;
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
        } => {
            voice.say_all(phrases::released(number, &url)).await;
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
            vec!["A build may take 15 minutes.".to_owned()],
        ),
        DeployError::Cancelled => ("the push was cancelled".to_owned(), Vec::new()),
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

async fn refuse(voice: &Voice, lines: &[String], reason: &str) -> String {
    let lines = lines.iter().map(|line| phrases::mark(line)).collect();
    voice.say_all(lines).await;
    reason.to_owned()
}

async fn keep_output(site: &Site, order: &BuildOrder, voice: &Voice) {
    match site.outputs.create(order.app.id, order.build) {
        Ok(output) => voice.keep(output).await,
        Err(error) => {
            tracing::warn!(app.name = %order.app.name, %error, "a build's output is not kept");
        }
    }
}

impl Deployed {
    /// After git has ended: sees that the branch has moved, keeps the build's cache, and lets what
    /// it put on the shelf outlive a power cut.
    pub(crate) async fn settle(self, site: &Arc<Site>, app: &App) {
        let Self { moving, finished } = self;
        let now = site.repositories.branch(app.id, &moving.branch);
        let settled = if now.as_deref() == Some(&moving.commit) {
            let pointed = site.repositories.point_head(app.id, &moving.branch);
            pointed.and_then(|()| site.repositories.moved(app.id))
        } else {
            // The note stays: the branch moves when the api says that this commit serves.
            tracing::warn!(app.name = %app.name, commit = moving.commit, "the branch has not moved");
            Ok(())
        };
        if let Err(error) = settled {
            tracing::error!(app.name = %app.name, error = chain(&error), "the push is not settled");
        }
        let Finished {
            workshop,
            held,
            turn,
        } = finished;
        // Not before: upkeep would move the branch that git is moving.
        drop(turn);
        match site.caches.save(&workshop).await {
            Ok(report) => tracing::debug!(app.name = %app.name, ?report, "cache kept"),
            Err(error) => {
                tracing::warn!(app.name = %app.name, error = chain(&error), "cache not kept");
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

fn ms_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
