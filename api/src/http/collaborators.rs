//! `/apps/APP/collaborators`: the owner so far.

use super::auth::Need;
use super::failure::Failure;
use super::shape::{Ctx, Ref, stable_id};
use crate::accounts::Caller;
use crate::clock::Stamp;
use crate::platform::Platform;
use crate::records::App;
use axum::Json;
use axum::extract::{Path, State};
use model::account;
use serde::Serialize;
use uuid::Uuid;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    id: Uuid,
    user: User,
    role: &'static str,
    permissions: Vec<Permission>,
    app: Ref,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Debug, Serialize)]
struct User {
    id: account::Id,
    email: String,
    federated: bool,
}

#[derive(Debug, Serialize)]
struct Permission {
    name: &'static str,
    description: &'static str,
}

fn owner(platform: &Platform, app: &App) -> Answer {
    let user = super::shape::User::find(platform, app.owner);
    let permission = |(name, description)| Permission { name, description };
    Answer {
        id: stable_id(&format!("collaborator/{}/{}", app.id, app.owner)),
        user: User {
            id: user.id,
            email: user.email,
            federated: false,
        },
        role: "owner",
        permissions: [
            ("view", "sees the app and its logs"),
            ("deploy", "pushes and rolls back"),
            ("operate", "scales, restarts and changes config vars"),
            ("manage", "destroys the app and changes who may do what"),
        ]
        .map(permission)
        .into(),
        app: Ref::app(app),
        created_at: Stamp(app.created_at_us),
        updated_at: Stamp(app.created_at_us),
    }
}

/// `GET /apps/APP/collaborators`
pub(super) async fn list(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<Vec<Answer>>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    Ok(Json(vec![owner(&platform, &app)]))
}

/// `GET /apps/APP/collaborators/ID_OR_EMAIL`
pub(super) async fn info(
    State(platform): Ctx,
    caller: Caller,
    Path((app, who)): Path<(String, String)>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let owner = owner(&platform, &app);
    if owner.user.email == who || owner.user.id.to_string() == who {
        Ok(Json(owner))
    } else {
        Err(Failure::no_such("collaborator"))
    }
}
