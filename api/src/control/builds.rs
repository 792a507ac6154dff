//! Builds: one per app, each held by a builder's process, ended by its release or its failure.

use super::asks::{Undo, shown};
use super::feed::Asked;
use crate::clock::now_us;
use crate::deploy::Outcome;
use crate::http::failure::Failure;
use crate::platform::Platform;
use crate::records::{Account, App, Build, BuildState, Holder, Slug};
use crate::releases::{self, Config, Draft};
use model::digest::Digest;
use model::feed::{Answer, BuildOrder};
use model::limits::BUILDS_KEPT;
use model::slug::Manifest;
use model::{account, app};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// A builder that lost its connection has so long to come back before its builds count as dead.
const BUILDER_WAIT: Duration = Duration::from_secs(5);
/// The same after a start of the api, when the other roles may start as well.
const FIRST_BUILDER_WAIT: Duration = Duration::from_secs(30);
/// How long a build that is done waits for another change of its app.
const RELEASE_TURN_WAIT: Duration = Duration::from_mins(2);

/// The builder's process that is connected now.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    holder: Mutex<Option<Holder>>,
    came: Notify,
}

impl Builder {
    /// A builder connected: builds of any other process died with it.
    pub(super) async fn came(&self, platform: &Arc<Platform>, holder: Holder) {
        *self.lock() = Some(holder);
        self.came.notify_waiters();
        fail_dead(platform, Some(holder)).await;
    }

    /// A builder's connection ended: its builds go on if it comes back.
    pub(super) fn went(&self, platform: &Arc<Platform>, holder: Holder) {
        {
            let mut now = self.lock();
            if *now != Some(holder) {
                return;
            }
            *now = None;
        }
        platform
            .tasks
            .spawn(wait(Arc::clone(platform), BUILDER_WAIT));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Holder>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Builds from before this start go on if their builder is still there.
pub(crate) fn await_builder(platform: &Arc<Platform>) {
    platform
        .tasks
        .spawn(wait(Arc::clone(platform), FIRST_BUILDER_WAIT));
}

async fn wait(platform: Arc<Platform>, time: Duration) {
    let came = platform.builder.came.notified();
    if platform.builder.lock().is_some() {
        return;
    }
    tokio::select! {
        () = came => {}
        () = platform.stop.requested() => {}
        () = tokio::time::sleep(time) => fail_dead(&platform, None).await,
    }
}

/// Fails the builds that no process works on any more.
async fn fail_dead(platform: &Arc<Platform>, living: Option<Holder>) {
    let builds = match platform.records.all_builds() {
        Ok(builds) => builds,
        Err(error) => return crate::say::failed("look for builds that died", &error),
    };
    for build in builds {
        let BuildState::Building { holder } = build.state else {
            continue;
        };
        if Some(holder) == living {
            continue;
        }
        let reason = "the builder was started anew while it ran";
        if let Err(failure) = fail(platform, build.id, reason).await {
            tracing::error!(build = %build.id, "cannot end a dead build: {}", failure.message());
        }
    }
}

/// Takes the app's turn for a build.
pub(super) async fn start(
    asked: &Asked,
    app: app::Id,
    account: account::Id,
    commit: String,
) -> Result<Answer, Failure> {
    let platform = &asked.peer.platform;
    let holder = asked
        .holder
        .ok_or_else(|| Failure::forbidden("the builder's process cannot be told"))?;
    let is_commit = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_commit {
        return Err(Failure::invalid("a commit is 40 hex digits"));
    }
    let mut change = platform
        .begin()
        .await
        .by(account, "build", &app.to_string());
    let app = platform
        .records
        .app(app)?
        .ok_or_else(Failure::no_such_app)?;
    if app.owner != account {
        return Err(Failure::no_such_app());
    }
    let kept = platform.records.builds(app.id)?;
    let running = kept.iter().find(|build| {
        matches!(
            build.state,
            BuildState::Building { .. } | BuildState::Releasing { .. }
        )
    });
    if let Some(running) = running {
        let is_same = running.state == BuildState::Building { holder }
            && running.commit == commit
            && running.by == account;
        if is_same {
            return order(asked, &app, running);
        }
        let short: String = running.commit.chars().take(8).collect();
        return Err(Failure::conflict(format!(
            "{} is being built already (commit {short}); push again when that is done",
            app.name
        )));
    }
    let now_us = now_us();
    let build = Build {
        id: Uuid::now_v7(),
        app: app.id,
        stack: app.build_stack.clone(),
        buildpacks: app.buildpacks.clone(),
        commit,
        by: account,
        state: BuildState::Building { holder },
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
        &format!("Build started by user {}", email(platform, account)),
    );
    order(asked, &app, &build)
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
        stack: build.stack.clone(),
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
        description: format!("Deploy {short}"),
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
            Ok(Answer::Released {
                number: release,
                url: platform.config.app_url(&app.name),
                release_ms,
                start_ms,
            })
        }
        BuildState::NotReleased { reason, lines, .. } => Ok(Answer::NotReleased { reason, lines }),
        BuildState::Failed { reason } => Ok(Answer::NotReleased {
            reason,
            lines: Vec::new(),
        }),
        BuildState::Building { .. } | BuildState::Releasing { .. } => Err(Failure::unavailable(
            "the platform is being started anew; the release goes on: paas releases",
        )),
    }
}

/// Ends a build that has no release. One that has ended stays as it is.
pub(super) async fn fail(platform: &Arc<Platform>, id: Uuid, reason: &str) -> Result<(), Failure> {
    let mut change = platform.begin().await;
    let Some(build) = platform.records.find_build(id)? else {
        return Ok(());
    };
    if !matches!(build.state, BuildState::Building { .. }) {
        return Ok(());
    }
    let reason: String = reason
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(500)
        .collect();
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
