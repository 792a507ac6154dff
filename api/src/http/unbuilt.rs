//! Endpoints whose thing is not built: a list that clients need for a wider command is `[]`, the
//! rest is 404. docs/platform-api.md, "Not built yet".

use super::auth::Need;
use super::failure::Failure;
use super::shape::Ctx;
use crate::accounts::Caller;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;

/// A list that is empty.
pub(super) async fn nothing(_: Caller) -> Json<[Value; 0]> {
    Json([])
}

/// A list below an app that is empty.
pub(super) async fn nothing_of_app(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<[Value; 0]>, Failure> {
    caller.app(&platform, &app, Need::Read)?;
    Ok(Json([]))
}

/// `GET, PATCH /account/features/NAME`: `labs:enable` goes on to the app's after a 404.
pub(super) async fn no_feature(_: Caller) -> Failure {
    Failure::no_such_resource("feature", "feature")
}

/// `GET, PATCH /apps/APP/features/NAME`
pub(super) async fn no_feature_of_app(
    State(platform): Ctx,
    caller: Caller,
    Path((app, _)): Path<(String, String)>,
) -> Result<Failure, Failure> {
    caller.app(&platform, &app, Need::Read)?;
    Ok(Failure::no_such_resource("feature", "feature"))
}

/// `GET /apps/APP/pipeline-couplings`
pub(super) async fn no_coupling(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Failure, Failure> {
    caller.app(&platform, &app, Need::Read)?;
    let resource = "pipeline_coupling";
    Ok(Failure::no_such_resource("pipeline coupling", resource))
}

/// `POST /actions/addons/resolve`
pub(super) async fn no_addon(_: Caller) -> Failure {
    Failure::no_such_resource("add-on", "add_on")
}

/// `POST /actions/addon-attachments/resolve`
pub(super) async fn no_attachment(_: Caller) -> Failure {
    Failure::no_such_resource("add-on attachment", "add_on attachment")
}

/// `POST /apps/APP/addons`
pub(super) async fn no_addon_service(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Failure, Failure> {
    caller.app(&platform, &app, Need::Write)?;
    Ok(Failure::not_found(
        "Couldn't find the add-on service: this platform has no add-ons.",
    ))
}
