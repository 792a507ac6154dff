//! `/stacks`, `/regions`, `/dyno-sizes`: what there is to choose from.

use super::auth::Need;
use super::failure::Failure;
use super::shape::{ALWAYS, Ctx, Ref, stable_id};
use crate::accounts::Caller;
use crate::clock::Stamp;
use axum::Json;
use axum::extract::{Path, State};
use model::size::{FACTS, Facts};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// Our stack, Heroku's name for it, and the one of images, which scripts write.
const STACKS: [&str; 3] = ["debian-13", "heroku-24", "container"];

#[derive(Debug, Serialize)]
pub(super) struct Stack {
    id: Uuid,
    name: &'static str,
    default: bool,
    state: &'static str,
    created_at: Stamp,
    updated_at: Stamp,
}

fn all(default: &str) -> Vec<Stack> {
    let stack = |name| Stack {
        id: stable_id(&format!("stack/{name}")),
        name,
        default: name == default,
        state: "public",
        created_at: ALWAYS,
        updated_at: ALWAYS,
    };
    STACKS.map(stack).into()
}

/// The stack of a name or id that apps can be built on. Heroku's name is an alias.
pub(super) fn usable(name: &str) -> Option<String> {
    let is_it = |stack: &Stack| stack.name == name || stack.id.to_string() == name;
    match all("").iter().find(|stack| is_it(stack))?.name {
        "heroku-24" | "debian-13" => Some("debian-13".to_owned()),
        "container" => Some("container".to_owned()),
        _ => None,
    }
}

/// Why a stack cannot be used.
pub(super) fn refusal(name: &str) -> Failure {
    let name: String = name.escape_debug().take(80).collect();
    Failure::invalid(format!(
        "`stack`: there is no stack `{name}`; use debian-13, or container for images."
    ))
}

/// `GET /stacks`
pub(super) async fn list(State(platform): Ctx, _: Caller) -> Json<Vec<Stack>> {
    Json(all(&platform.config.default_stack))
}

/// `GET /stacks/NAME_OR_ID`
pub(super) async fn info(
    State(platform): Ctx,
    _: Caller,
    Path(name): Path<String>,
) -> Result<Json<Stack>, Failure> {
    let found = all(&platform.config.default_stack)
        .into_iter()
        .find(|stack| stack.name == name || stack.id.to_string() == name);
    found.map(Json).ok_or_else(|| Failure::no_such("stack"))
}

/// `GET /apps/APP/available-stacks`
pub(super) async fn of_app(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<Vec<Stack>>, Failure> {
    caller.app(&platform, &app, Need::Read)?;
    Ok(Json(all(&platform.config.default_stack)))
}

fn region() -> Value {
    json!({
        "id": stable_id("region/us"),
        "name": "us",
        "country": "",
        "description": "this platform",
        "locale": null,
        "private_capable": false,
        "provider": {"name": "paas", "region": "us"},
        "created_at": ALWAYS,
        "updated_at": ALWAYS,
    })
}

/// `GET /regions`
pub(super) async fn regions(_: Caller) -> Json<Vec<Value>> {
    Json(vec![region()])
}

/// `GET /regions/NAME_OR_ID`
pub(super) async fn region_info(
    _: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Failure> {
    let is_ours =
        matches!(name.as_str(), "us" | "eu") || name == stable_id("region/us").to_string();
    if is_ours {
        Ok(Json(region()))
    } else {
        Err(Failure::no_such("region"))
    }
}

#[derive(Debug, Serialize)]
pub(super) struct DynoSize {
    id: Uuid,
    name: &'static str,
    /// GB
    memory: f64,
    compute: u32,
    precise_dyno_units: f64,
    dedicated: bool,
    private_space_only: bool,
    architecture: &'static str,
    cost: Option<Value>,
    generation: Ref,
}

fn size(facts: &Facts) -> DynoSize {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of MiB is far below 2^53"
    )]
    let memory = facts.memory_mib as f64 / 1024.0;
    DynoSize {
        id: stable_id(&format!("dyno-size/{}", facts.name)),
        name: facts.name,
        memory,
        compute: facts.cpu_weight / 100,
        precise_dyno_units: f64::from(facts.cpu_weight) / 100.0,
        dedicated: facts.is_dedicated,
        private_space_only: false,
        architecture: "amd64",
        cost: None,
        generation: Ref::of("generation", "cedar"),
    }
}

/// `GET /dyno-sizes`
pub(super) async fn sizes(_: Caller) -> Json<Vec<DynoSize>> {
    Json(FACTS.iter().map(size).collect())
}

/// `GET /apps/APP/available-dyno-sizes`
pub(super) async fn sizes_of_app(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<Vec<DynoSize>>, Failure> {
    caller.app(&platform, &app, Need::Read)?;
    Ok(Json(FACTS.iter().map(size).collect()))
}
