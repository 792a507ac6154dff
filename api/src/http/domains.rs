//! `/apps/APP/domains`: every app has the one of the platform; others come with a later issue.

use super::auth::Need;
use super::failure::Failure;
use super::range::{Kind, Page, Range};
use super::shape::{Ctx, Ref, stable_id};
use crate::accounts::Caller;
use crate::clock::Stamp;
use crate::platform::Platform;
use crate::records::App;
use axum::Json;
use axum::extract::{Path, State};
use http::HeaderMap;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    id: Uuid,
    hostname: String,
    kind: &'static str,
    cname: Option<String>,
    status: &'static str,
    acm_status: Option<String>,
    acm_status_reason: Option<String>,
    app: Ref,
    sni_endpoint: Option<Value>,
    created_at: Stamp,
    updated_at: Stamp,
}

fn domain(platform: &Platform, app: &App) -> Answer {
    let hostname = platform.config.app_host(&app.name);
    Answer {
        id: stable_id(&format!("domain/{}/{hostname}", app.id)),
        hostname,
        kind: "heroku",
        cname: None,
        status: "none",
        acm_status: None,
        acm_status_reason: None,
        app: Ref::app(app),
        sni_endpoint: None,
        created_at: Stamp(app.created_at_us),
        updated_at: Stamp(app.created_at_us),
    }
}

const DOMAINS: Kind<Answer> = Kind {
    attributes: &["id", "hostname"],
    key: |domain, attribute| match attribute {
        "hostname" => domain.hostname.clone(),
        _ => domain.id.to_string(),
    },
    id: |domain| domain.id.to_string(),
};

/// `GET /apps/APP/domains`
pub(super) async fn list(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    headers: HeaderMap,
) -> Result<Page<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    Ok(Range::of(&headers)?.cut(vec![domain(&platform, &app)], &DOMAINS))
}

/// `GET /apps/APP/domains/HOST_OR_ID`
pub(super) async fn info(
    State(platform): Ctx,
    caller: Caller,
    Path((app, host)): Path<(String, String)>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let domain = domain(&platform, &app);
    if domain.hostname == host || domain.id.to_string() == host {
        Ok(Json(domain))
    } else {
        Err(Failure::no_such("domain"))
    }
}

/// `POST /apps/APP/domains`
pub(super) async fn create(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Failure, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    Err(Failure::invalid(format!(
        "Domains of your own cannot be added yet; the app is reached at {}",
        platform.config.app_url(&app.name)
    )))
}

/// `DELETE /apps/APP/domains/HOST_OR_ID`
pub(super) async fn remove(
    state: Ctx,
    caller: Caller,
    path: Path<(String, String)>,
) -> Result<Failure, Failure> {
    drop(info(state, caller, path).await?);
    Err(Failure::invalid(
        "The domain that the platform gives an app cannot be removed.",
    ))
}
