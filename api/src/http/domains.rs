//! `/apps/APP/domains`: the one that the platform gives, and those of the app's own.

use super::auth::Need;
use super::body::Given;
use super::failure::Failure;
use super::range::{Kind, Page, Range};
use super::shape::{Ctx, Ref, created, stable_id};
use crate::accounts::Caller;
use crate::clock::{Stamp, now_us};
use crate::domains;
use crate::platform::Platform;
use crate::records::{App, Domain, RecordsError};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use model::limits::DOMAINS_MAX;
use serde::{Deserialize, Serialize};
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

impl Answer {
    fn new(app: &App, id: Uuid, hostname: String, created_at_us: u64) -> Self {
        Self {
            id,
            hostname,
            kind: "heroku",
            cname: None,
            status: "none",
            acm_status: None,
            acm_status_reason: None,
            app: Ref::app(app),
            sni_endpoint: None,
            created_at: Stamp(created_at_us),
            updated_at: Stamp(created_at_us),
        }
    }

    /// The one that the platform gives.
    fn given(platform: &Platform, app: &App) -> Self {
        let hostname = platform.config.app_host(&app.name);
        let id = stable_id(&format!("domain/{}/given", app.id));
        Self::new(app, id, hostname, app.created_at_us)
    }

    /// One of the app's own: its DNS record shall be an alias of the given one.
    fn own(platform: &Platform, app: &App, domain: Domain) -> Self {
        Self {
            kind: "custom",
            cname: Some(platform.config.app_host(&app.name)),
            ..Self::new(app, domain.id, domain.hostname, domain.created_at_us)
        }
    }
}

fn all(platform: &Platform, app: &App) -> Result<Vec<Answer>, RecordsError> {
    let own = platform.records.domains(app.id)?.into_iter();
    let mut all = vec![Answer::given(platform, app)];
    all.extend(own.map(|domain| Answer::own(platform, app, domain)));
    Ok(all)
}

fn one(platform: &Platform, app: &App, host_or_id: &str) -> Result<Answer, Failure> {
    let host = host_or_id.to_lowercase();
    all(platform, app)?
        .into_iter()
        .find(|domain| domain.hostname == host || domain.id.to_string() == host)
        .ok_or_else(|| Failure::no_such_resource("domain", "domain"))
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
    Ok(Range::of(&headers)?.cut(all(&platform, &app)?, &DOMAINS))
}

/// `GET /apps/APP/domains/HOST_OR_ID`
pub(super) async fn info(
    State(platform): Ctx,
    caller: Caller,
    Path((app, host)): Path<(String, String)>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    one(&platform, &app, &host).map(Json)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    hostname: String,
    /// The official command line always sends it.
    #[serde(default)]
    sni_endpoint: Option<Value>,
}

/// `POST /apps/APP/domains`
pub(super) async fn create(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    Given(wish): Given<Create>,
) -> Result<Response, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    no_certificate(wish.sni_endpoint.as_ref())?;
    let hostname = domains::parse(&wish.hostname, &platform.config.domain)
        .map_err(|error| Failure::invalid(error.to_string()))?;
    let change = platform.begin().await;
    if platform.records.domains(app.id)?.len() >= DOMAINS_MAX {
        let message = format!("An app may have {DOMAINS_MAX} domains; remove one first.");
        return Err(Failure::invalid(message));
    }
    let domain = Domain {
        id: Uuid::new_v4(),
        hostname,
        created_at_us: now_us(),
    };
    let mut change = change.by(caller.account.id, "add domain", &domain.hostname);
    change.add_domain(app.id, &domain);
    match change.commit().await {
        Err(RecordsError::Exists { .. }) => {
            let message = format!(
                "{} is added already, to this or another app.",
                domain.hostname
            );
            return Err(Failure::invalid(message));
        }
        other => other?,
    }
    let who = &caller.account.email;
    let line = format!("Add domain {} by user {who}", domain.hostname);
    platform.log.line(app.id, &line);
    Ok(created(Answer::own(&platform, &app, domain)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Update {
    sni_endpoint: Option<Value>,
}

/// `PATCH /apps/APP/domains/HOST_OR_ID`
pub(super) async fn update(
    State(platform): Ctx,
    caller: Caller,
    Path((app, host)): Path<(String, String)>,
    Given(wish): Given<Update>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    no_certificate(wish.sni_endpoint.as_ref())?;
    one(&platform, &app, &host).map(Json)
}

fn no_certificate(named: Option<&Value>) -> Result<(), Failure> {
    match named {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(Failure::invalid(
            "`sni_endpoint`: this platform serves no certificates of apps; give null.",
        )),
    }
}

/// `DELETE /apps/APP/domains/HOST_OR_ID`
pub(super) async fn remove(
    State(platform): Ctx,
    caller: Caller,
    Path((app, host)): Path<(String, String)>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let change = platform.begin().await;
    let answer = one(&platform, &app, &host)?;
    let own = platform.records.domains(app.id)?.into_iter();
    let Some(domain) = own.into_iter().find(|domain| domain.id == answer.id) else {
        return Err(Failure::invalid(
            "The domain that the platform gives an app cannot be removed.",
        ));
    };
    let mut change = change.by(caller.account.id, "remove domain", &domain.hostname);
    change.remove_domain(app.id, &domain);
    change.commit().await?;
    let who = &caller.account.email;
    let line = format!("Remove domain {} by user {who}", domain.hostname);
    platform.log.line(app.id, &line);
    Ok(Json(answer))
}
