//! Builds: one per app, asked for by a push or over the API, each then held by a builder's process,
//! ended by its release, its failure or its user.

use super::asks::{Undo, shown};
use super::feed::Asked;
use crate::clock::now_us;
use crate::deploy::{Outcome, RETRY};
use crate::http::failure::Failure;
use crate::platform::Platform;
use crate::records::{
    Account, App, Build, BuildState, CONTAINER, Holder, RecordsError, Slug, SourceBlob,
};
use crate::releases::{self, Config, Draft};
use model::digest::Digest;
use model::feed::{Answer, BuildOrder};
use model::limits::BUILDS_KEPT;
use model::slug::Manifest;
use model::{account, app};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How long a build that is done waits for another change of its app.
const RELEASE_TURN_WAIT: Duration = Duration::from_mins(2);

/// What is to be built.
pub(crate) struct Wanted {
    pub(crate) app: app::Id,
    pub(crate) by: account::Id,
    pub(crate) commit: String,
    pub(crate) source: Option<SourceBlob>,
    /// Whether the source is an image that others made.
    pub(crate) is_image: bool,
    /// The app's new list of buildpacks, if it gets one.
    pub(crate) buildpacks: Option<Vec<String>>,
}

/// Takes the app's turn for the build of a push.
pub(super) async fn start(
    asked: &Asked,
    app: app::Id,
    by: account::Id,
    commit: String,
) -> Result<Answer, Failure> {
    let platform = &asked.peer.platform;
    let holder = holder(asked)?;
    let is_commit = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_commit {
        return Err(Failure::invalid("a commit is 40 hex digits"));
    }
    let state = BuildState::Building { holder };
    let wanted = Wanted {
        app,
        by,
        commit,
        source: None,
        is_image: false,
        buildpacks: None,
    };
    let (app, build) = begin(platform, wanted, state).await?;
    order(asked, &app, &build)
}

/// Takes the app's turn for a build that the API is asked for; a builder takes it when it can.
pub(crate) async fn enter(
    platform: &Arc<Platform>,
    wanted: Wanted,
) -> Result<(App, Build), Failure> {
    begin(platform, wanted, BuildState::Ordered).await
}

async fn begin(
    platform: &Arc<Platform>,
    wanted: Wanted,
    state: BuildState,
) -> Result<(App, Build), Failure> {
    let mut change = platform
        .begin()
        .await
        .by(wanted.by, "build", &wanted.app.to_string());
    let app = platform.records.app(wanted.app)?;
    let mut app = app.ok_or_else(Failure::no_such_app)?;
    if app.owner != wanted.by {
        return Err(Failure::no_such_app());
    }
    let kept = platform.records.builds(app.id)?;
    if let Some(running) = kept.iter().find(|build| build.state.is_pending()) {
        if platform.builder.is_ending(running.id) {
            return Err(Failure::conflict(format!(
                "the end of {}'s last build cannot be written down: the platform's disk is full; \
                 try again when there is room",
                app.name
            )));
        }
        let is_same = running.state == state
            && running.source.is_none()
            && running.commit == wanted.commit
            && running.by == wanted.by;
        if is_same && wanted.source.is_none() {
            return Ok((app, running.clone()));
        }
        let short: String = running.commit.chars().take(8).collect();
        let (which, again) = match (short.as_str(), &wanted.source) {
            ("", _) => (String::new(), "try again"),
            (short, None) => (format!(" (commit {short})"), "push again"),
            (short, Some(_)) => (format!(" ({short})"), "try again"),
        };
        return Err(Failure::conflict(format!(
            "{} is being built already{which}; {again} when that is done",
            app.name
        )));
    }
    let now_us = now_us();
    if let Some(buildpacks) = wanted.buildpacks {
        app.buildpacks = buildpacks;
        app.updated_at_us = now_us;
        change.put_app(&app);
    }
    let build = Build {
        id: Uuid::now_v7(),
        app: app.id,
        stack: app.build_stack.clone(),
        buildpacks: app.buildpacks.clone(),
        commit: wanted.commit,
        source: wanted.source,
        is_image: wanted.is_image,
        by: wanted.by,
        state,
        created_at_us: now_us,
        updated_at_us: now_us,
    };
    let excess = (kept.len() + 1).saturating_sub(BUILDS_KEPT);
    for old in kept.iter().take(excess) {
        change.remove_build(old);
    }
    change.put_build(&build);
    change.commit().await?;
    platform.log.line(
        app.id,
        &format!("Build started by user {}", email(platform, wanted.by)),
    );
    Ok((app, build))
}

/// Gives a build that was asked for to the builder that asks for it.
pub(super) async fn take(asked: &Asked, id: Uuid) -> Result<Answer, Failure> {
    let platform = &asked.peer.platform;
    let holder = holder(asked)?;
    let mut change = platform.begin().await;
    let build = platform.records.find_build(id)?;
    let mut build = build.ok_or_else(|| Failure::no_such("build"))?;
    let app = platform.records.app(build.app)?;
    let app = app.ok_or_else(Failure::no_such_app)?;
    let state = BuildState::Building { holder };
    if build.state == BuildState::Ordered {
        build.state = state;
        build.updated_at_us = now_us();
        change.put_build(&build);
        change.commit().await?;
    } else if build.state != state {
        return Err(Failure::conflict("the build is not free any more"));
    }
    order(asked, &app, &build)
}

fn holder(asked: &Asked) -> Result<Holder, Failure> {
    asked
        .holder
        .ok_or_else(|| Failure::forbidden("the builder's process cannot be told"))
}

fn order(asked: &Asked, app: &App, build: &Build) -> Result<Answer, Failure> {
    asked.undo_by(Undo::Build(build.id));
    let platform = &asked.peer.platform;
    let config = platform.vars(app.id, &app.config)?;
    let current = platform.records.release(app.id, app.current)?;
    let serves = current.filter(|release| release.slug.is_some());
    Ok(Answer::Build(Box::new(BuildOrder {
        build: build.id,
        app: shown(platform, app)?,
        source: crate::sources::of(platform, app, build),
        stack: if build.stack == CONTAINER {
            platform.config.default_stack.clone()
        } else {
            build.stack.clone()
        },
        artifact: build.artifact(app),
        buildpacks: build.buildpacks.clone(),
        config: config
            .into_iter()
            .map(|(key, value)| (key.into(), value))
            .collect(),
        url: platform.config.app_host(&app.name),
        current: serves.map(|release| release.number),
    })))
}

/// Makes a release of a build's slug and waits until it serves or has failed.
pub(super) async fn release(
    asked: &Asked,
    id: Uuid,
    digest: Digest,
    manifest: Manifest,
) -> Result<Answer, Failure> {
    let platform = &asked.peer.platform;
    let no_build = || Failure::not_found("there is no such build: its app may be gone");
    let build = platform.records.find_build(id)?.ok_or_else(no_build)?;
    match build.state {
        BuildState::Building { .. } => {
            asked.undo_by(Undo::Build(id));
            begin_release(asked, build, digest, manifest).await?;
        }
        BuildState::Failed { reason } => {
            return Err(Failure::conflict(format!("the build has ended: {reason}")));
        }
        _ => {}
    }
    let build = platform.records.find_build(id)?.ok_or_else(no_build)?;
    if let BuildState::Releasing { release, .. } = build.state
        && let Some(running) = platform.deploys.of(build.app)
        && running.release == release
    {
        asked.undo_by(Undo::Deploy(Arc::clone(&running)));
        let mut seen = 0;
        let outcome = loop {
            let (lines, outcome) = running.next(&mut seen).await;
            for line in lines {
                asked.progress(line).await;
            }
            if let Some(outcome) = outcome {
                break outcome;
            }
        };
        if let Outcome::NotReleased(why) = outcome {
            let (reason, lines) = (why.reason, why.lines);
            return Ok(Answer::NotReleased { reason, lines });
        }
    }
    let build = platform.records.find_build(id)?.ok_or_else(no_build)?;
    ended(platform, build)
}

async fn begin_release(
    asked: &Asked,
    build: Build,
    digest: Digest,
    manifest: Manifest,
) -> Result<(), Failure> {
    let platform = &asked.peer.platform;
    let taken = platform
        .turns
        .take(build.app, "a build is being released", RELEASE_TURN_WAIT);
    let turn = match taken.await {
        Ok(turn) => turn,
        Err(busy) => {
            fail(
                platform,
                build.id,
                "another change of the app took too long",
            )
            .await?;
            return Err(Failure::conflict(format!("not released: {busy}")));
        }
    };
    // While it waited for its turn it may have been cancelled.
    match platform.records.find_build(build.id)? {
        Some(now) if now.state == build.state => {}
        _ => return Ok(()),
    }
    let short: String = build.commit.chars().take(8).collect();
    let by = platform.records.account(build.by)?;
    let draft = Draft {
        description: format!("Deploy {short}").trim_end().to_owned(),
        slug: Some(Slug {
            digest,
            manifest,
            created_at_us: now_us(),
        }),
        config: Config::Kept,
        by: by.ok_or_else(Failure::unauthorized)?,
        build: Some(build.clone()),
    };
    releases::make(platform, turn, build.app, draft).await?;
    Ok(())
}

/// The answer that a build's record gives once its release has ended.
fn ended(platform: &Platform, build: Build) -> Result<Answer, Failure> {
    match build.state {
        BuildState::Released {
            release,
            release_ms,
            start_ms,
            ..
        } => {
            let app = platform.records.app(build.app)?;
            let app = app.ok_or_else(Failure::no_such_app)?;
            let fallback = platform.fleet.look(|view| view.fallback(app.id, release));
            Ok(Answer::Released {
                number: release,
                url: platform.config.app_url(&app.name),
                release_ms,
                start_ms,
                fallback,
            })
        }
        BuildState::NotReleased { reason, lines, .. } => Ok(Answer::NotReleased { reason, lines }),
        BuildState::Failed { reason } => Ok(Answer::NotReleased {
            reason,
            lines: Vec::new(),
        }),
        BuildState::Ordered | BuildState::Building { .. } | BuildState::Releasing { .. } => {
            Err(Failure::unavailable(
                "the platform is being started anew; the release goes on: paas releases",
            ))
        }
    }
}

/// Ends a build on its user's word, wherever it is; false if it has ended.
pub(crate) async fn cancel(platform: &Arc<Platform>, build: &Build) -> Result<bool, Failure> {
    match build.state {
        BuildState::Ordered | BuildState::Building { .. } => {
            fail(platform, build.id, "cancelled").await?;
            Ok(true)
        }
        BuildState::Releasing { release, .. } => {
            let running = platform.deploys.of(build.app);
            let running = running.filter(|running| running.release == release);
            let Some(running) = running else {
                return Ok(false);
            };
            running.cancel();
            running.outcome().await;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Ends a build that has no release. One that has ended stays as it is. What the disk does not take
/// now is written when it does: until then the app has this build.
pub(super) async fn fail(platform: &Arc<Platform>, id: Uuid, reason: &str) -> Result<(), Failure> {
    match end(platform, id, reason).await {
        Err(error @ RecordsError::Commit(_)) => {
            crate::say::failed("end a build, and tries again", &error);
            let (platform, reason) = (Arc::clone(platform), reason.to_owned());
            let again = Arc::clone(&platform);
            platform.builder.set_ending(id, true);
            platform.tasks.spawn(async move {
                loop {
                    tokio::select! {
                        () = again.stop.requested() => return,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                    if end(&again, id, &reason).await.is_ok() {
                        return again.builder.set_ending(id, false);
                    }
                }
            });
            Ok(())
        }
        ended => Ok(ended?),
    }
}

async fn end(platform: &Arc<Platform>, id: Uuid, reason: &str) -> Result<(), RecordsError> {
    let mut change = platform.begin().await;
    let Some(build) = platform.records.find_build(id)? else {
        return Ok(());
    };
    if !matches!(
        build.state,
        BuildState::Ordered | BuildState::Building { .. }
    ) {
        return Ok(());
    }
    let reason = reason.lines().next().unwrap_or_default();
    let reason: String = reason.chars().take(500).collect();
    change.put_build(&Build {
        state: BuildState::Failed {
            reason: reason.clone(),
        },
        updated_at_us: now_us(),
        ..build.clone()
    });
    change.commit().await?;
    platform
        .log
        .line(build.app, &format!("Build failed: {reason}"));
    Ok(())
}

fn email(platform: &Platform, account: account::Id) -> String {
    match platform.records.account(account) {
        Ok(Some(Account { email, .. })) => email.into(),
        _ => account.to_string(),
    }
}
