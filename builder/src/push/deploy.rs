//! A pushed commit of `main`: its turn, its deploy, its branch.

use super::Push;
use crate::api::ApiError;
use crate::chain;
use crate::deploy::{self, Deploy, Finished, ms_since};
use crate::hook::talk::Update;
use crate::intake::client::Gone;
use crate::output::{Voice, phrases};
use crate::queue::Turn;
use crate::repository::Moving;
use crate::site::Site;
use model::feed::App;
use std::sync::Arc;

/// A deploy that serves; its branch is about to move.
#[derive(Debug)]
pub(crate) struct Deployed {
    moving: Moving,
    finished: Finished,
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
    let Some(turn) = turn(site, push).await else {
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
    let moving = Moving {
        branch: update.name.clone(),
        commit: update.new.clone(),
    };
    let deploy = Deploy {
        order,
        turn,
        receive_ms,
        moving: Some(moving.clone()),
    };
    let finished = deploy::deploy(site, deploy, voice, gone.wait()).await?;
    Ok(Deployed { moving, finished })
}

/// The app's turn; none if it has a build.
async fn turn(site: &Site, push: &Push) -> Option<Turn> {
    let mut changes = site.queue.changes();
    loop {
        let was_tidying = site.queue.is_tidying(push.app.id);
        let turn = site.queue.enter(push.app.id);
        if turn.is_some() || !(was_tidying || site.queue.is_tidying(push.app.id)) {
            return turn;
        }
        changes.changed().await.ok()?;
    }
}

async fn refuse(voice: &Voice, lines: &[String], reason: &str) -> String {
    let lines = lines.iter().map(|line| phrases::mark(line)).collect();
    voice.say_all(lines).await;
    reason.to_owned()
}

impl Deployed {
    /// After git has ended: sees that the branch has moved, then settles the rest.
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
        // Not before: with the turn given back upkeep would move the branch that git is moving.
        finished.settle(site, &app.name).await;
    }
}
