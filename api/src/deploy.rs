//! A release on its way to serving, without a gap: release phase, new web dynos, switch. The old
//! dynos drain afterwards, in [`crate::upkeep`].
//!
//! How far it is stands in the record `op/<app>`, which goes in the transaction that ends it. The
//! api may be killed anywhere: the next one finds the record and goes on from there ([`resume`]).

mod boot;
mod command;
mod running;

pub(crate) use running::{Deploys, NotReleased, Outcome, Running};

use crate::clock::now_us;
use crate::placement::{self, Action};
use crate::platform::Platform;
use crate::records::{Build, BuildState, Change, Op, Phase, RecordsError, Stage, Want};
use crate::releases::{begin_boot, new_want};
use crate::turns::Turn;
use crate::upkeep::in_stage;
use model::app;
use model::feed::Artifact;
use model::release::{Release, Status};
use std::sync::Arc;
use std::time::Duration;

/// Between two tries to write down what has to be written down.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Why a deploy does not go on.
enum End {
    /// The release has failed; the old one serves on.
    Failed(NotReleased),
    /// This process stops: the next one goes on.
    Stopped,
}

impl From<RecordsError> for End {
    fn from(error: RecordsError) -> Self {
        crate::say::failed("go on with a release", &error);
        let reason = match error {
            RecordsError::Commit(store::CommitError::Full) => "the platform's disk is full",
            _ => "the platform cannot write its records",
        };
        Self::failed(reason, Vec::new())
    }
}

impl End {
    fn failed(reason: &str, lines: Vec<String>) -> Self {
        Self::Failed(NotReleased {
            reason: reason.to_owned(),
            lines,
        })
    }
}

/// One deploy with all it needs.
struct Deploy {
    platform: Arc<Platform>,
    app: app::Id,
    release: Release,
    op: Op,
    running: Arc<Running>,
}

/// Goes on in the background from where the record says; holds the app's turn until it is done.
pub(crate) fn start(platform: &Arc<Platform>, app: app::Id, op: Op, turn: Turn) -> Arc<Running> {
    let running = platform.deploys.add(app, op.release);
    let task = run(Arc::clone(platform), app, op, Arc::clone(&running));
    let platform_too = Arc::clone(platform);
    platform.tasks.spawn(async move {
        task.await;
        platform_too.deploys.remove(app);
        drop(turn);
    });
    running
}

/// Takes up what an api before this one did not finish.
pub(crate) async fn resume(platform: &Arc<Platform>) -> Result<(), RecordsError> {
    for app in platform.records.apps()? {
        let Some(op) = platform.records.op(app.id)? else {
            continue;
        };
        tracing::info!(app.name = %app.name, release = %op.release, "goes on with a release that was cut off");
        let doing = format!("{} is being released", op.release);
        match platform.turns.take(app.id, &doing, Duration::ZERO).await {
            Ok(turn) => {
                start(platform, app.id, op, turn);
            }
            Err(busy) => tracing::error!(app.name = %app.name, "cannot go on with it: {busy}"),
        }
    }
    Ok(())
}

async fn run(platform: Arc<Platform>, app: app::Id, op: Op, running: Arc<Running>) {
    let release = match platform.records.release(app, op.release) {
        Ok(Some(release)) => release,
        Ok(None) => {
            let reason = "the app is gone".to_owned();
            let lines = Vec::new();
            return running.end(Outcome::NotReleased(NotReleased { reason, lines }));
        }
        Err(error) => return crate::say::failed("read a release", &error),
    };
    let mut deploy = Deploy {
        platform,
        app,
        release,
        op,
        running,
    };
    let outcome = match deploy.story_unless_stale().await {
        Ok(outcome) => outcome,
        Err(End::Stopped) => return,
        Err(End::Failed(not_released)) => {
            let outcome = Outcome::NotReleased(not_released.clone());
            if let Err(error) = deploy.give_up(&not_released).await {
                crate::say::failed("end a release that failed, and tries again", &error);
                // Who waits for it need not wait for that.
                deploy.running.end(outcome);
                return deploy.give_up_later(&not_released).await;
            }
            outcome
        }
    };
    deploy.running.end(outcome);
}

impl Deploy {
    /// A release that could not be ended in its time, and that others followed, never serves.
    async fn story_unless_stale(&mut self) -> Result<Outcome, End> {
        match self.platform.records.app(self.app)? {
            Some(app) if app.newest == self.release.number => self.story().await,
            Some(_) => Err(End::failed("a later release took its place", Vec::new())),
            None => Err(End::failed("the app is gone", Vec::new())),
        }
    }

    async fn story(&mut self) -> Result<Outcome, End> {
        if let Phase::Command { dyno } = self.op.phase {
            self.run_command(dyno).await?;
            self.begin_boot(dyno).await?;
        }
        self.wait_for_boot().await?;
        self.switch().await
    }

    /// The release phase is over; the new web dynos are ordered.
    async fn begin_boot(&mut self, dyno: model::dyno::Id) -> Result<(), End> {
        let mut change = self.platform.begin().await;
        if let Some(want) = self.want(dyno) {
            change.remove_want(&want);
        }
        self.op.phase = begin_boot(&self.platform, &mut change, self.app, &self.release)?;
        change.put_op(self.app, &self.op);
        Ok(change.commit().await?)
    }

    /// From here on the new release serves.
    async fn switch(&mut self) -> Result<Outcome, End> {
        let now_us = now_us();
        let Phase::Boot { began_at_us } = self.op.phase else {
            return Err(End::failed("the release phase did not end", Vec::new()));
        };
        let release_ms = began_at_us.saturating_sub(self.op.began_at_us) / 1000;
        let start_ms = now_us.saturating_sub(began_at_us) / 1000;
        let mut change = self.platform.begin().await;
        let Some(mut app) = self.platform.records.app(self.app)? else {
            return Err(End::failed("the app is gone", Vec::new()));
        };
        let formation = self.platform.records.formation(self.app)?;
        let (wants, existing) = self
            .platform
            .fleet
            .look(|view| (view.of(self.app), view.existing(self.app)));
        for want in wants.iter().filter(|want| want.stage == Stage::Booting) {
            if want.release == self.release.number {
                change.put_want(&in_stage(want, Stage::Serving));
            }
        }
        let types = &self.release.process_types;
        let actions = placement::plan(&formation, self.release.number, types, &existing);
        act(
            &self.platform,
            &mut change,
            (self.app, &self.release),
            &actions,
        )?;
        self.release.status = Status::Succeeded;
        self.release.updated_at_us = now_us;
        app.current = self.release.number;
        app.config.clone_from(&self.release.config);
        if let Some(slug) = self.release.slug
            && let Some(slug) = self.platform.records.slug(self.app, slug)?
        {
            if app.artifact() == Artifact::ByTree {
                app.build_stack.clone_from(&slug.manifest.stack);
            }
            app.stack = slug.manifest.stack;
        }
        app.released_at_us = Some(now_us);
        app.updated_at_us = now_us;
        change.put_app(&app);
        change.put_release(self.app, &self.release);
        change.remove_op(self.app);
        self.end_build(&mut change, |release, slug| BuildState::Released {
            release,
            slug,
            release_ms,
            start_ms,
        })?;
        change.commit().await?;
        self.platform.feeds.all_routed().await;
        Ok(Outcome::Released {
            release_ms,
            start_ms,
        })
    }

    /// The old release serves on; of the new one only its record stays.
    async fn give_up(&mut self, why: &NotReleased) -> Result<(), RecordsError> {
        let mut change = self.platform.begin().await;
        if self.platform.records.app(self.app)?.is_none() {
            return Ok(());
        }
        let wants = self.platform.fleet.look(|view| view.of(self.app));
        let is_new = |want: &&Arc<Want>| {
            want.release == self.release.number
                && (want.stage == Stage::Booting || want.purpose == model::dyno::Purpose::Release)
        };
        for want in wants.iter().filter(is_new) {
            change.remove_want(want);
        }
        self.release.status = Status::Failed;
        self.release.updated_at_us = now_us();
        change.put_release(self.app, &self.release);
        change.remove_op(self.app);
        self.end_build(&mut change, |release, slug| BuildState::NotReleased {
            release,
            slug,
            reason: why.reason.clone(),
            lines: why.lines.clone(),
        })?;
        change.commit().await?;
        let number = self.release.number;
        self.platform.log.line(
            self.app,
            &format!("Release {number} failed: {}", why.reason),
        );
        Ok(())
    }

    /// Tries again until the disk takes it: the app's turn is held, nothing else may happen to it.
    async fn give_up_later(&mut self, why: &NotReleased) {
        loop {
            tokio::select! {
                () = self.platform.stop.requested() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
            if self.give_up(why).await.is_ok() {
                return;
            }
        }
    }

    fn end_build(
        &self,
        change: &mut Change,
        state: impl FnOnce(model::release::Number, model::digest::Digest) -> BuildState,
    ) -> Result<(), RecordsError> {
        let Some((id, slug)) = self.op.build.zip(self.release.slug) else {
            return Ok(());
        };
        if let Some(build) = self.platform.records.build(self.app, id)? {
            change.put_build(&Build {
                state: state(self.release.number, slug),
                updated_at_us: now_us(),
                ..build
            });
        }
        Ok(())
    }

    fn want(&self, dyno: model::dyno::Id) -> Option<Arc<Want>> {
        self.platform.fleet.look(|view| view.want(dyno).cloned())
    }
}

/// Makes records of what placement decided for a release that serves.
pub(crate) fn act(
    platform: &Platform,
    change: &mut Change,
    (app, release): (app::Id, &Release),
    actions: &[Action],
) -> Result<(), RecordsError> {
    let wants = platform.fleet.look(|view| view.of(app));
    let find = |dyno| wants.iter().find(|want| want.dyno == dyno);
    for action in actions {
        match action {
            Action::Stop(dyno) => {
                if let Some(want) = find(*dyno) {
                    change.remove_want(want);
                }
            }
            Action::Leave(dyno) => match find(*dyno) {
                // One that was never in the route has no requests to end.
                Some(want) if want.stage != Stage::Serving => change.remove_want(want),
                Some(want) => {
                    let since_us = now_us();
                    change.put_want(&in_stage(want, Stage::Leaving { since_us }));
                }
                None => {}
            },
            Action::Start {
                name,
                size,
                replaces,
            } => {
                let Some(command) = release.process_types.get(&name.process_type) else {
                    continue;
                };
                let what = (name.clone(), *size);
                let stage = replaces.map_or(Stage::Serving, |of| Stage::Successor { of });
                change.put_want(&Want {
                    stage,
                    ..new_want(platform, app, release, what, command)?
                });
            }
        }
    }
    Ok(())
}
