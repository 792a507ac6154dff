//! What the roles ask, and the answers. Each question is safe to repeat.

use super::builds;
use super::feed::Asked;
use crate::accounts;
use crate::deploy::Running;
use crate::http::failure::Failure;
use crate::platform::Platform;
use crate::records::App;
use model::feed::{self, Access, Answer, Ask, Role};
use model::{account, app};
use std::sync::Arc;
use uuid::Uuid;

/// What is undone when the asker does not wait any more.
pub(super) enum Undo {
    /// The build that was begun.
    Build(Uuid),
    /// The release on its way to serving.
    Deploy(Arc<Running>),
}

impl Undo {
    pub(super) async fn run(self, platform: &Arc<Platform>) {
        match self {
            Self::Build(build) => {
                if let Err(failure) = builds::fail(platform, build, "cancelled").await {
                    tracing::error!(build = %build, "cannot cancel a build: {}", failure.message());
                }
            }
            Self::Deploy(running) => running.cancel(),
        }
    }
}

/// Answers one question.
pub(super) async fn answer(asked: &Asked, ask: Ask) -> Answer {
    let answered = if is_for(&ask, asked.peer.hello.role) {
        answered(asked, ask).await
    } else {
        Err(Failure::forbidden("this question belongs to another role"))
    };
    answered.unwrap_or_else(|failure| Answer::Refused {
        message: failure.message().to_owned(),
    })
}

fn is_for(ask: &Ask, role: Role) -> bool {
    match ask {
        Ask::IssueToken { .. } => role == Role::Operator,
        Ask::CheckToken { .. }
        | Ask::CreateApp { .. }
        | Ask::StartBuild { .. }
        | Ask::TakeBuild { .. }
        | Ask::Release { .. }
        | Ask::BuildFailed { .. } => role == Role::Builder,
    }
}

async fn answered(asked: &Asked, ask: Ask) -> Result<Answer, Failure> {
    let platform = &asked.peer.platform;
    match ask {
        Ask::CheckToken { token, app } => Ok(Answer::Access(check_token(platform, &token, &app)?)),
        Ask::CreateApp { token, name } => create_app(platform, &token, &name).await,
        Ask::StartBuild {
            app,
            account,
            commit,
        } => builds::start(asked, app, account, commit).await,
        Ask::TakeBuild { build } => builds::take(asked, build).await,
        Ask::Release {
            build,
            slug,
            manifest,
        } => builds::release(asked, build, slug, *manifest).await,
        Ask::BuildFailed { build, reason } => {
            builds::fail(platform, build, &reason).await?;
            Ok(Answer::Done)
        }
        Ask::IssueToken { email, description } => issue_token(platform, email, description).await,
    }
}

fn check_token(platform: &Arc<Platform>, token: &str, name: &str) -> Result<Access, Failure> {
    let Some(caller) = accounts::caller(platform, token)? else {
        return Ok(Access::BadToken);
    };
    if !caller.may_write() {
        return Ok(Access::NoApp {
            message: "this token may only read: push with one that has the scope write or global"
                .to_owned(),
        });
    }
    let (account, email) = (caller.account.id, caller.account.email);
    let name = match app::Name::parse(name) {
        Ok(name) => name,
        Err(error) => {
            let message = error.to_string();
            return Ok(Access::NoApp { message });
        }
    };
    match platform.records.app_named(&name)? {
        None => Ok(Access::Free { account, email }),
        Some(app) if app.owner == account => Ok(Access::Granted {
            account,
            email,
            app: shown(platform, &app)?,
        }),
        Some(_) => Ok(Access::NoApp {
            message: format!(
                "you have no app named {name}; all apps: paas apps; the name itself is taken"
            ),
        }),
    }
}

/// An app as the other roles see it.
pub(super) fn shown(platform: &Platform, app: &App) -> Result<feed::App, Failure> {
    let current = platform.records.release(app.id, app.current)?;
    Ok(feed::App {
        id: app.id,
        name: app.name.clone(),
        commit: current.and_then(|release| release.commit),
    })
}

async fn create_app(platform: &Arc<Platform>, token: &str, name: &str) -> Result<Answer, Failure> {
    let caller = accounts::caller(platform, token)?.ok_or_else(Failure::unauthorized)?;
    if !caller.may_write() {
        return Err(Failure::forbidden("this token may only read"));
    }
    let name = app::Name::parse(name).map_err(|error| Failure::invalid(error.to_string()))?;
    let app = match platform.records.app_named(&name)? {
        // Asked before, and the answer was lost.
        Some(app) if app.owner == caller.account.id => app,
        _ => crate::apps::create(platform, &caller.account, Some(name)).await?,
    };
    Ok(Answer::App(shown(platform, &app)?))
}

async fn issue_token(
    platform: &Arc<Platform>,
    email: account::Email,
    description: String,
) -> Result<Answer, Failure> {
    let account = accounts::ensure(platform, &email).await?;
    let (_, token) = accounts::make_token(
        platform,
        &account,
        accounts::NewToken {
            description,
            scope: vec![crate::records::Scope::Global],
            expires_in_s: None,
        },
    )
    .await?;
    Ok(Answer::Token {
        token,
        email: account.email,
    })
}
