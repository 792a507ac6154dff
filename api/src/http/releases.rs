//! `/apps/APP/releases`: the history of an app, and ways back in it.

use super::auth::Need;
use super::body::Given;
use super::failure::Failure;
use super::outputs;
use super::range::{Kind, Page, Range};
use super::shape::{Ctx, IdOnly, Ref, User, created};
use crate::accounts::Caller;
use crate::clock::Stamp;
use crate::deploy::{Outcome, Running};
use crate::platform::Platform;
use crate::records::{App, Slug};
use crate::releases::{Config, Draft};
use crate::turns::{TURN_WAIT, Turn};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};
use model::process::Type;
use model::release::{Number, Release, Status};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// An answer waits so long for a release that it has begun: most serve by then, and what the person
/// does next sees it.
const SETTLE_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    id: Uuid,
    version: u64,
    description: String,
    status: Status,
    current: bool,
    user: User,
    slug: Option<IdOnly>,
    artifacts: Vec<Artifact>,
    app: Ref,
    addon_plan_names: Vec<String>,
    output_stream_url: Option<String>,
    eligible_for_rollback: bool,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Debug, Serialize)]
struct Artifact {
    #[serde(rename = "type")]
    kind: &'static str,
    id: Uuid,
}

impl Answer {
    fn of(platform: &Platform, app: &App, release: &Release) -> Self {
        let slug = release.slug.map(Slug::id);
        let kind = "slug";
        Self {
            id: release.id,
            version: release.number.0,
            description: release.description.clone(),
            status: release.status,
            current: release.number == app.current,
            user: User::find(platform, release.by),
            slug: slug.map(|id| IdOnly { id }),
            artifacts: slug.into_iter().map(|id| Artifact { kind, id }).collect(),
            app: Ref::app(app),
            addon_plan_names: Vec::new(),
            output_stream_url: has_command(release)
                .then(|| outputs::release_url(platform, app, release.number)),
            eligible_for_rollback: release.is_eligible_for_rollback(),
            created_at: Stamp(release.created_at_us),
            updated_at: Stamp(release.updated_at_us),
        }
    }
}

fn has_command(release: &Release) -> bool {
    release.process_types.contains_key(&Type::release())
}

const RELEASES: Kind<Release> = Kind {
    attributes: &["version", "id", "created_at"],
    key: |release, attribute| match attribute {
        "id" => release.id.to_string(),
        "created_at" => format!("{:020}", release.created_at_us),
        _ => format!("{:020}", release.number.0),
    },
    id: |release| release.id.to_string(),
};

/// `GET /apps/APP/releases`
pub(super) async fn list(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    headers: HeaderMap,
) -> Result<Page<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let releases = platform.records.releases(app.id)?;
    let page = Range::of(&headers)?.cut(releases, &RELEASES);
    page.try_map(|release| Ok(Answer::of(&platform, &app, &release)))
}

/// `GET /apps/APP/releases/ID_OR_N`
pub(super) async fn info(
    State(platform): Ctx,
    caller: Caller,
    Path((app, release)): Path<(String, String)>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let release = find(&platform, &app, &release)?;
    Ok(Json(Answer::of(&platform, &app, &release)))
}

/// A release by id, `12` or `v12`.
pub(super) fn find(platform: &Platform, app: &App, text: &str) -> Result<Release, Failure> {
    let found = match text.strip_prefix('v').unwrap_or(text).parse() {
        Ok(number) => platform.records.release(app.id, Number(number))?,
        Err(_) => platform
            .records
            .releases(app.id)?
            .into_iter()
            .find(|release| release.id.to_string() == text),
    };
    found.ok_or_else(|| Failure::no_such("release"))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    release: Option<Value>,
    slug: Option<String>,
    description: Option<String>,
    oci_image: Option<Value>,
}

/// `POST /apps/APP/releases`: a rollback, or a slug once more.
pub(super) async fn create(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    Given(wish): Given<Create>,
) -> Result<Response, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let turn = turn(&platform, &app, "a release is being made").await?;
    let draft = draft(&platform, &app, caller, wish)?;
    let (release, running) = crate::releases::make(&platform, turn, app.id, draft).await?;
    let settled = if has_command(&release) {
        Settled::default()
    } else {
        settle(&platform, &app, &release, running).await
    };
    let app = platform
        .records
        .app(app.id)?
        .ok_or_else(Failure::no_such_app)?;
    let release = find(&platform, &app, &release.number.to_string())?;
    let mut response = created(Answer::of(&platform, &app, &release));
    settled.warn(response.headers_mut());
    Ok(response)
}

fn draft(platform: &Platform, app: &App, caller: Caller, wish: Create) -> Result<Draft, Failure> {
    let by = caller.account;
    let build = None;
    match (wish.release, wish.slug, wish.oci_image) {
        (Some(target), None, None) => {
            let text = match target {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                _ => return Err(Failure::invalid("`release` is an id or a number.")),
            };
            let target = find(platform, app, &text)?;
            if !target.is_eligible_for_rollback() {
                return Err(Failure::invalid(format!(
                    "Cannot roll back to {}: it never served with a slug. See paas releases.",
                    target.number
                )));
            }
            Ok(Draft {
                description: format!("Rollback to {}", target.number),
                slug: slug(platform, app, &target)?,
                config: Config::Of(target.config),
                by,
                build,
            })
        }
        (None, Some(id), None) => {
            let slugs = platform.records.slugs(app.id)?;
            let is_it = |slug: &Slug| Slug::id(slug.digest).to_string() == id;
            let slug = slugs.into_iter().find(is_it);
            let slug = slug.ok_or_else(|| Failure::no_such("slug"))?;
            Ok(Draft {
                description: wish.description.unwrap_or_else(|| "Deploy".to_owned()),
                slug: Some(slug),
                config: Config::Kept,
                by,
                build,
            })
        }
        (None, None, Some(_)) => Err(Failure::invalid("`oci_image` is not available yet.")),
        _ => Err(Failure::invalid("Give either `release` or `slug`.")),
    }
}

fn slug(platform: &Platform, app: &App, release: &Release) -> Result<Option<Slug>, Failure> {
    match release.slug {
        Some(digest) => Ok(platform.records.slug(app.id, digest)?),
        None => Ok(None),
    }
}

/// The slug that serves; none before the first build.
pub(super) fn current_slug(platform: &Platform, app: &App) -> Result<Option<Slug>, Failure> {
    match platform.records.release(app.id, app.current)? {
        Some(current) => slug(platform, app, &current),
        None => Ok(None),
    }
}

/// The app's turn for a change; 409 when another change holds it for too long.
pub(super) async fn turn(
    platform: &Arc<Platform>,
    app: &App,
    doing: &str,
) -> Result<Turn, Failure> {
    let taken = platform.turns.take(app.id, doing, TURN_WAIT).await;
    taken.map_err(|busy| {
        Failure::conflict(format!(
            "{} is being changed: {busy}. Try again when that is done: paas releases -a {}",
            app.name, app.name
        ))
    })
}

/// What became of a release within the time of an answer.
#[derive(Debug, Default)]
pub(super) struct Settled {
    warning: Option<String>,
}

impl Settled {
    /// Tells the person through the header that the official command line prints.
    pub(super) fn warn(self, headers: &mut HeaderMap) {
        if let Some(Ok(value)) = self.warning.map(|text| HeaderValue::from_str(&text)) {
            headers.insert(HeaderName::from_static("warning-message"), value);
        }
    }
}

/// Waits a while for a release to serve.
pub(super) async fn settle(
    platform: &Platform,
    app: &App,
    release: &Release,
    running: Option<Arc<Running>>,
) -> Settled {
    let Some(running) = running else {
        return Settled::default();
    };
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(SETTLE_WAIT, running.outcome()) => outcome.ok(),
        () = platform.stop.requested() => None,
    };
    let number = release.number;
    let warning = match outcome {
        Some(Outcome::NotReleased(why)) => Some(format!(
            "{number} failed: {}. {} serves on. See paas logs -a {}",
            why.reason, app.current, app.name
        )),
        Some(Outcome::Released { .. }) => None,
        None => Some(format!(
            "{number} does not serve yet. See paas releases -a {}",
            app.name
        )),
    };
    Settled { warning }
}
