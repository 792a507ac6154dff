//! `/apps/APP/dynos`: what runs, one-offs, restarts.

mod one_off;

pub(super) use one_off::create;

use super::auth::Need;
use super::failure::Failure;
use super::range::{Kind, Page, Range};
use super::releases;
use super::shape::{Ctx, Ref, accepted, uuid};
use crate::accounts::Caller;
use crate::clock::Stamp;
use crate::deploy::act;
use crate::placement::{self, Existing};
use crate::platform::Platform;
use crate::records::{App, Stage, Want};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use model::dyno::Purpose;
use serde::Serialize;
use std::sync::Arc;
use uuid::Uuid;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    id: Uuid,
    name: String,
    #[serde(rename = "type")]
    process_type: String,
    command: String,
    size: &'static str,
    state: &'static str,
    attach_url: Option<String>,
    /// Ours; none before a node has reported it.
    network: Option<model::dyno::Network>,
    release: ReleaseRef,
    app: Ref,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Debug, Serialize)]
struct ReleaseRef {
    id: Uuid,
    version: u64,
}

impl Answer {
    fn of(platform: &Platform, app: &App, want: &Want) -> Result<Self, Failure> {
        let release = platform.records.release(app.id, want.release)?;
        let (state, since_us, network) = platform.fleet.look(|view| {
            let seen = view.observed(want.dyno);
            (
                view.state(want.dyno),
                seen.map_or(want.created_at_us, |seen| seen.at_us),
                seen.and_then(|seen| seen.network.clone()),
            )
        });
        let state = match state {
            model::dyno::State::Created => model::dyno::State::Starting,
            state => state,
        };
        Ok(Self {
            id: uuid(&want.dyno),
            name: want.name.to_string(),
            process_type: want.name.process_type.to_string(),
            command: want.command.clone(),
            size: want.size.name(),
            state: state.word(),
            attach_url: None,
            network,
            release: ReleaseRef {
                id: release.map(|release| release.id).unwrap_or_default(),
                version: want.release.0,
            },
            app: Ref::app(app),
            created_at: Stamp(want.created_at_us),
            updated_at: Stamp(since_us),
        })
    }
}

/// Dynos as a person counts them: those that leave are gone, and of two of the same name the one
/// that works is there.
fn visible(platform: &Platform, app: &App) -> Vec<Arc<Want>> {
    let mut wants = platform.fleet.look(|view| view.of(app.id));
    wants.retain(|want| !want.is_leaving());
    wants.sort_by_key(|want| (want.name.clone(), want.stage != Stage::Serving));
    wants.dedup_by(|one, other| one.name == other.name);
    wants
}

/// The dyno of a name or id.
pub(super) fn find(platform: &Platform, app: &App, text: &str) -> Result<Arc<Want>, Failure> {
    visible(platform, app)
        .into_iter()
        .find(|want| want.name.to_string() == text || want.dyno.to_string() == text)
        .ok_or_else(|| Failure::no_such("dyno"))
}

const DYNOS: Kind<Arc<Want>> = Kind {
    attributes: &["name", "id"],
    key: |want, attribute| match attribute {
        "id" => want.dyno.to_string(),
        _ => format!("{}.{:010}", want.name.process_type, want.name.number),
    },
    id: |want| want.dyno.to_string(),
};

/// `GET /apps/APP/dynos`
pub(super) async fn list(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    headers: HeaderMap,
) -> Result<Page<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let page = Range::of(&headers)?.cut(visible(&platform, &app), &DYNOS);
    page.try_map(|want| Answer::of(&platform, &app, &want))
}

/// `GET /apps/APP/dynos/NAME_OR_ID`
pub(super) async fn info(
    State(platform): Ctx,
    caller: Caller,
    Path((app, dyno)): Path<(String, String)>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let want = find(&platform, &app, &dyno)?;
    Answer::of(&platform, &app, &want).map(Json)
}

/// `DELETE /apps/APP/dynos`: restarts the formation.
pub(super) async fn restart_all(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Response, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    restart(&platform, &caller, &app, |_| true).await
}

/// `DELETE /apps/APP/dynos/NAME`, `POST /apps/APP/dynos/NAME/actions/stop`: a formation dyno comes
/// back, a one-off ends.
pub(super) async fn restart_one(
    State(platform): Ctx,
    caller: Caller,
    Path((app, dyno)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let want = find(&platform, &app, &dyno)?;
    if want.is_formation() {
        return restart(&platform, &caller, &app, |dyno| dyno.name == want.name).await;
    }
    stop(&platform, &caller, &app, |one| one.dyno == want.dyno).await
}

/// `DELETE /apps/APP/formations/TYPE`
pub(super) async fn restart_type(
    State(platform): Ctx,
    caller: Caller,
    Path((app, process_type)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let is_it = |name: &model::dyno::Name| name.process_type.as_str() == process_type;
    let is_known = visible(&platform, &app)
        .iter()
        .any(|want| is_it(&want.name))
        || platform
            .records
            .release(app.id, app.current)?
            .is_some_and(|release| {
                release
                    .process_types
                    .keys()
                    .any(|t| t.as_str() == process_type)
            });
    if !is_known {
        return Err(Failure::no_such("process type"));
    }
    restart(&platform, &caller, &app, |dyno| is_it(&dyno.name)).await
}

/// `POST /apps/APP/formations/TYPE/actions/stop`: one-offs of the type end, formation dynos come
/// back.
pub(super) async fn stop_type(
    State(platform): Ctx,
    caller: Caller,
    Path((app, process_type)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let is_it = |name: &model::dyno::Name| name.process_type.as_str() == process_type;
    stop(&platform, &caller, &app, |want| is_it(&want.name)).await?;
    restart(&platform, &caller, &app, |dyno| is_it(&dyno.name)).await
}

async fn restart(
    platform: &Arc<Platform>,
    caller: &Caller,
    app: &App,
    which: impl Fn(&Existing) -> bool,
) -> Result<Response, Failure> {
    let turn = releases::turn(platform, app, "dynos are being restarted").await?;
    let mut change = platform
        .begin()
        .await
        .by(caller.account.id, "restart", app.name.as_str());
    let app = platform
        .records
        .app(app.id)?
        .ok_or_else(Failure::no_such_app)?;
    let mut existing = platform.fleet.look(|view| view.existing(app.id));
    existing.retain(which);
    if let Some(release) = platform.records.release(app.id, app.current)?
        && !existing.is_empty()
    {
        let actions = placement::restart(&existing);
        act(platform, &mut change, (app.id, &release), &actions)?;
        change.commit().await?;
        let who = &caller.account.email;
        platform.log.line(
            app.id,
            &format!("Restart of {} dynos by user {who}", existing.len()),
        );
    }
    drop(turn);
    Ok(accepted())
}

async fn stop(
    platform: &Arc<Platform>,
    caller: &Caller,
    app: &App,
    which: impl Fn(&Want) -> bool,
) -> Result<Response, Failure> {
    let mut change = platform
        .begin()
        .await
        .by(caller.account.id, "stop", app.name.as_str());
    let is_one_off = |want: &Want| {
        matches!(
            want.purpose,
            Purpose::Attached { .. } | Purpose::Detached { .. }
        )
    };
    for want in platform.fleet.look(|view| view.of(app.id)) {
        if is_one_off(&want) && which(&want) {
            change.remove_want(&want);
        }
    }
    change.commit().await?;
    Ok(accepted())
}
