//! `/apps`: the apps themselves.

use super::account::is_caller;
use super::auth::Need;
use super::body::Given;
use super::failure::Failure;
use super::range::{Kind, Page, Range};
use super::shape::{Ctx, Ref, User, created, uuid};
use super::stacks;
use crate::accounts::Caller;
use crate::clock::{Stamp, now_us};
use crate::platform::Platform;
use crate::records::App;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use model::app::Name;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

#[derive(Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the fields are Heroku's")]
pub(super) struct Answer {
    id: Uuid,
    name: String,
    owner: User,
    region: Ref,
    stack: Ref,
    build_stack: Ref,
    generation: Ref,
    maintenance: bool,
    acm: bool,
    git_url: String,
    web_url: String,
    repo_size: Option<u64>,
    slug_size: Option<u64>,
    created_at: Stamp,
    updated_at: Stamp,
    released_at: Option<Stamp>,
    archived_at: Option<Stamp>,
    buildpack_provided_description: Option<String>,
    internal_routing: bool,
    space: Option<Value>,
    team: Option<Value>,
    organization: Option<Value>,
}

impl Answer {
    fn of(platform: &Platform, app: &App) -> Result<Self, Failure> {
        let release = platform.records.release(app.id, app.current)?;
        let slug = match release.and_then(|release| release.slug) {
            Some(digest) => platform.records.slug(app.id, digest)?,
            None => None,
        };
        Ok(Self {
            id: uuid(&app.id),
            name: app.name.to_string(),
            owner: User::find(platform, app.owner),
            region: Ref::of("region", "us"),
            stack: Ref::of("stack", &app.stack),
            build_stack: Ref::of("stack", &app.build_stack),
            generation: Ref::of("generation", "cedar"),
            maintenance: app.maintenance,
            acm: false,
            git_url: platform.config.git_url(&app.name),
            web_url: platform.config.app_url(&app.name),
            repo_size: None,
            slug_size: slug.as_ref().map(|slug| slug.manifest.size_bytes()),
            created_at: Stamp(app.created_at_us),
            updated_at: Stamp(app.updated_at_us),
            released_at: app.released_at_us.map(Stamp),
            archived_at: None,
            buildpack_provided_description: slug.and_then(|slug| slug.manifest.description),
            internal_routing: false,
            space: None,
            team: None,
            organization: None,
        })
    }
}

const APPS: Kind<App> = Kind {
    attributes: &["name", "id", "created_at", "updated_at"],
    key: |app, attribute| match attribute {
        "id" => app.id.to_string(),
        "created_at" => format!("{:020}", app.created_at_us),
        "updated_at" => format!("{:020}", app.updated_at_us),
        _ => app.name.to_string(),
    },
    id: |app| app.id.to_string(),
};

fn page(platform: &Platform, headers: &HeaderMap, apps: Vec<App>) -> Result<Page<Answer>, Failure> {
    let page = Range::of(headers)?.cut(apps, &APPS);
    page.try_map(|app| Answer::of(platform, &app))
}

fn mine(platform: &Platform, caller: &Caller) -> Result<Vec<App>, Failure> {
    caller.needs(Need::Read)?;
    let mut apps = platform.records.apps()?;
    apps.retain(|app| app.owner == caller.account.id);
    Ok(apps)
}

/// `GET /apps`
pub(super) async fn list(
    State(platform): Ctx,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Page<Answer>, Failure> {
    page(&platform, &headers, mine(&platform, &caller)?)
}

/// `GET /users/~/apps`
pub(super) async fn of_user(
    State(platform): Ctx,
    caller: Caller,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Result<Page<Answer>, Failure> {
    is_caller(&caller, &user)?;
    page(&platform, &headers, mine(&platform, &caller)?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    #[serde(rename = "in")]
    is_in: In,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct In {
    id: Option<Vec<String>>,
    name: Option<Vec<String>>,
}

/// `POST /filters/apps`
pub(super) async fn filter(
    State(platform): Ctx,
    caller: Caller,
    headers: HeaderMap,
    Given(filter): Given<Filter>,
) -> Result<Page<Answer>, Failure> {
    let asked = filter.is_in;
    let mut apps = mine(&platform, &caller)?;
    apps.retain(|app| {
        let has = |list: &Option<Vec<String>>, text: &str| {
            list.as_ref()
                .is_some_and(|list| list.iter().any(|one| one == text))
        };
        has(&asked.id, &app.id.to_string()) || has(&asked.name, app.name.as_str())
    });
    page(&platform, &headers, apps)
}

/// What the official command line sends beyond our fields, too.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    name: Option<String>,
    region: Option<Value>,
    stack: Option<Value>,
    #[expect(dead_code, reason = "accepted, means nothing here")]
    feature_flags: Option<Value>,
    internal_routing: Option<Value>,
    kernel: Option<Value>,
    locked: Option<Value>,
    space: Option<Value>,
    team: Option<Value>,
}

/// `POST /apps`
pub(super) async fn create(
    State(platform): Ctx,
    caller: Caller,
    Given(wish): Given<Create>,
) -> Result<Response, Failure> {
    caller.needs(Need::Write)?;
    for (field, value) in [
        ("internal_routing", &wish.internal_routing),
        ("kernel", &wish.kernel),
        ("locked", &wish.locked),
        ("space", &wish.space),
        ("team", &wish.team),
    ] {
        let is_unset = matches!(value, None | Some(Value::Null | Value::Bool(false)));
        if !is_unset {
            return Err(Failure::invalid(format!(
                "`{field}` is not available here."
            )));
        }
    }
    if let Some(region) = &wish.region
        && !matches!(named(region), Some("us" | "eu"))
    {
        return Err(Failure::invalid("`region` is us."));
    }
    let stack = wish.stack.as_ref().map(stack).transpose()?;
    let name = wish.name.as_deref().map(Name::parse).transpose();
    let name = name.map_err(|error| Failure::invalid(format!("`name`: {error}.")))?;
    let mut app = crate::apps::create(&platform, &caller.account, name).await?;
    if let Some(stack) = stack {
        app = change(&platform, &caller, &app, |app| {
            app.stack.clone_from(&stack);
            app.build_stack = stack;
            app.is_stack_chosen = true;
        })
        .await?;
    }
    Ok(created(Answer::of(&platform, &app)?))
}

/// `{name}`, `{id}` or the name itself.
fn named(value: &Value) -> Option<&str> {
    match value {
        Value::String(name) => Some(name),
        Value::Object(fields) => fields.get("name").or_else(|| fields.get("id"))?.as_str(),
        _ => None,
    }
}

fn stack(value: &Value) -> Result<String, Failure> {
    let name = named(value).unwrap_or_default();
    stacks::usable(name).ok_or_else(|| stacks::refusal(name))
}

/// `GET /apps/APP`
pub(super) async fn info(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    Answer::of(&platform, &app).map(Json)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Update {
    name: Option<String>,
    maintenance: Option<bool>,
    build_stack: Option<Value>,
}

/// `PATCH /apps/APP`
pub(super) async fn update(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    Given(wish): Given<Update>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let name = wish.name.as_deref().map(Name::parse).transpose();
    let name = name.map_err(|error| Failure::invalid(format!("`name`: {error}.")))?;
    let build_stack = wish.build_stack.as_ref().map(stack).transpose()?;
    let app = change(&platform, &caller, &app, |app| {
        if let Some(maintenance) = wish.maintenance {
            app.maintenance = maintenance;
        }
        if let Some(stack) = build_stack {
            if app.released_at_us.is_none() {
                app.stack.clone_from(&stack);
            }
            app.build_stack = stack;
            app.is_stack_chosen = true;
        }
    })
    .await?;
    let app = match name {
        Some(name) => crate::apps::rename(&platform, &caller.account, app.id, name).await?,
        None => app,
    };
    Answer::of(&platform, &app).map(Json)
}

async fn change(
    platform: &Arc<Platform>,
    caller: &Caller,
    app: &App,
    edit: impl FnOnce(&mut App),
) -> Result<App, Failure> {
    let change = platform.begin().await;
    let mut app = platform
        .records
        .app(app.id)?
        .ok_or_else(Failure::no_such_app)?;
    let was = app.clone();
    edit(&mut app);
    if app == was {
        return Ok(app);
    }
    app.updated_at_us = now_us();
    let mut change = change.by(caller.account.id, "update app", app.name.as_str());
    change.put_app(&app);
    change.commit().await?;
    if app.maintenance != was.maintenance {
        let what = if app.maintenance { "on" } else { "off" };
        let who = &caller.account.email;
        platform
            .log
            .line(app.id, &format!("Maintenance mode {what} by user {who}"));
    }
    Ok(app)
}

/// `DELETE /apps/APP`
pub(super) async fn destroy(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let answer = Answer::of(&platform, &app)?;
    crate::apps::destroy(&platform, &caller.account, app.id).await?;
    Ok(Json(answer))
}
