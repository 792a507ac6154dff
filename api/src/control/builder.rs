//! Whether a builder is there: builds of a process that is gone have ended.

use super::builds::fail;
use crate::platform::Platform;
use crate::records::{BuildState, Holder};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// A builder that lost its connection has so long to come back before its builds count as dead.
const BUILDER_WAIT: Duration = Duration::from_secs(5);
/// The same after a start of the api, when the other roles may start as well.
const FIRST_BUILDER_WAIT: Duration = Duration::from_secs(30);

/// The builder's process that is connected now.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    holder: Mutex<Option<Holder>>,
    /// Builds that have ended and whose end the disk does not take yet.
    ending: Mutex<BTreeSet<Uuid>>,
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

    /// Whether the build has ended and its record does not say so yet.
    pub(super) fn is_ending(&self, build: Uuid) -> bool {
        self.ending().contains(&build)
    }

    /// Its end shall be written down, or has been.
    pub(super) fn set_ending(&self, build: Uuid, is_ending: bool) {
        if is_ending {
            self.ending().insert(build);
        } else {
            self.ending().remove(&build);
        }
    }

    fn ending(&self) -> std::sync::MutexGuard<'_, BTreeSet<Uuid>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
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
