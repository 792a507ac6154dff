//! `/apps/APP/dynos`: what runs, one-offs, restarts.

use super::auth::Need;
use super::body::Given;
use super::failure::Failure;
use super::formation::parse_size;
use super::range::{Kind, Page, Range};
use super::releases;
use super::shape::{Ctx, Ref, accepted, created, uuid};
use crate::accounts::Caller;
use crate::clock::Stamp;
use crate::deploy::act;
use crate::placement::{self, Existing};
use crate::platform::Platform;
use crate::records::{App, Stage, Want};
use crate::releases::{new_want, one_off_name};
use crate::rendezvous;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use model::config_vars::Key;
use model::dyno::{Purpose, Window};
use model::limits::ONE_OFF_TIME_TO_LIVE_S;
use model::process::Type;
use model::release::Release;
use model::size::Size;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Bytes of a command. Linux: one argument of execve(2) has 128 KiB at most.
const COMMAND_MAX_BYTES: usize = 64 * 1024;

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
        let (state, since_us) = platform.fleet.look(|view| {
            let since_us = view.observed(want.dyno).map(|seen| seen.at_us);
            (
                view.state(want.dyno),
                since_us.unwrap_or(want.created_at_us),
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

fn find(platform: &Platform, app: &App, text: &str) -> Result<Arc<Want>, Failure> {
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    command: String,
    attach: Option<bool>,
    env: Option<Map<String, Value>>,
    size: Option<Value>,
    #[serde(rename = "type")]
    process_type: Option<String>,
    time_to_live: Option<u64>,
    force_no_tty: Option<bool>,
}

/// `POST /apps/APP/dynos`: a one-off.
pub(super) async fn create(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    Given(wish): Given<Create>,
) -> Result<Response, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let mut change = platform
        .begin()
        .await
        .by(caller.account.id, "run", app.name.as_str());
    let app = platform
        .records
        .app(app.id)?
        .ok_or_else(Failure::no_such_app)?;
    let release = platform.records.release(app.id, app.current)?;
    let release = release
        .filter(|release| release.slug.is_some())
        .ok_or_else(|| {
            Failure::conflict(format!(
                "{} has nothing to run yet. Push to it first: git push paas main",
                app.name
            ))
        })?;
    let want = one_off(&platform, &app, &release, &wish)?;
    let secret = match want.purpose {
        Purpose::Attached { .. } => Some(platform.waiting.add(want.dyno)?),
        _ => None,
    };
    change.put_want(&want);
    change.commit().await?;
    let mut answer = Answer::of(&platform, &app, &want)?;
    if let Some(secret) = secret {
        rendezvous::expire(&platform, want.dyno);
        answer.attach_url = Some(rendezvous::url(&platform.config, &secret));
    }
    let who = &caller.account.email;
    let text = format!(
        "Starting process with command `{}` by user {who}",
        want.command
    );
    platform.log.line(app.id, &text);
    Ok(created(answer))
}

fn one_off(
    platform: &Platform,
    app: &App,
    release: &Release,
    wish: &Create,
) -> Result<Want, Failure> {
    let command = command(&wish.command, release)?;
    let process_type = wish.process_type.as_deref().unwrap_or(model::process::RUN);
    let process_type =
        Type::parse(process_type).map_err(|error| Failure::invalid(format!("`type`: {error}.")))?;
    let size = match &wish.size {
        Some(size) if !size.is_null() => parse_size(size)?,
        _ => Size::default(),
    };
    let time_to_live_s = match wish.time_to_live {
        None => ONE_OFF_TIME_TO_LIVE_S,
        Some(seconds) if (1..=ONE_OFF_TIME_TO_LIVE_S).contains(&seconds) => seconds,
        Some(_) => {
            return Err(Failure::invalid(format!(
                "`time_to_live` is 1 to {ONE_OFF_TIME_TO_LIVE_S} seconds."
            )));
        }
    };
    let overlay = overlay(wish.env.as_ref())?;
    let purpose = if wish.attach == Some(true) {
        let has_terminal = wish.force_no_tty != Some(true);
        Purpose::Attached {
            time_to_live_s,
            window: has_terminal.then(|| window(&overlay)),
        }
    } else {
        Purpose::Detached { time_to_live_s }
    };
    let sealed = if overlay.is_empty() {
        None
    } else {
        Some(platform.seal_value(app.id, &overlay)?)
    };
    let name = one_off_name(process_type);
    Ok(Want {
        purpose,
        overlay: sealed,
        ..new_want(platform, app.id, release, (name, size), &command)?
    })
}

/// The command with a process type in front replaced by that type's command.
fn command(text: &str, release: &Release) -> Result<String, Failure> {
    let text = text.trim_start();
    if text.trim().is_empty() {
        return Err(Failure::invalid("`command` is empty."));
    }
    if text.len() > COMMAND_MAX_BYTES || text.contains('\0') {
        return Err(Failure::invalid(format!(
            "`command` is text of at most {COMMAND_MAX_BYTES} bytes without NUL."
        )));
    }
    let (first, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let known = Type::parse(first).ok();
    match known.and_then(|name| release.process_types.get(&name)) {
        Some(command) if rest.is_empty() => Ok(command.clone()),
        Some(command) => Ok(format!("{command} {rest}")),
        None => Ok(text.to_owned()),
    }
}

fn overlay(env: Option<&Map<String, Value>>) -> Result<BTreeMap<String, String>, Failure> {
    let mut overlay: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in env.into_iter().flatten() {
        let shown: String = name.escape_debug().take(80).collect();
        let key = Key::parse(name)
            .map_err(|error| Failure::invalid(format!("`env`: {shown} is no name: {error}.")))?;
        let value = match value {
            Value::Null => continue,
            Value::String(text) if !text.contains('\0') => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => {
                return Err(Failure::invalid(format!(
                    "`env`: the value of {shown} is no text."
                )));
            }
        };
        overlay.insert(key.into(), value);
    }
    let bytes: usize = overlay
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if bytes > model::limits::CONFIG_VARS_MAX_BYTES {
        return Err(Failure::invalid(
            "`env` is larger than the config vars may be.",
        ));
    }
    Ok(overlay)
}

/// The terminal's size, as the official command line gives it; 80 by 24 without.
fn window(env: &BTreeMap<String, String>) -> Window {
    let number = |name: &str| env.get(name)?.parse::<u16>().ok().filter(|n| *n > 0);
    Window {
        rows: number("LINES").unwrap_or(24),
        columns: number("COLUMNS").unwrap_or(80),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn commands() {
        let release = crate::tests::release(3, &["web", "worker"]);
        for (text, expected) in [
            ("bash", Ok("bash")),
            ("  ls -l ", Ok("ls -l ")),
            ("worker", Ok("run worker")),
            ("worker --once ; echo x", Ok("run worker --once ; echo x")),
            ("workers", Ok("workers")),
            (" ", Err("`command` is empty.")),
        ] {
            let got = command(text, &release);
            let got = got.as_deref().map_err(Failure::message);
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn environments_and_windows() {
        let env = json!({"TERM": "xterm", "COLUMNS": 120, "LINES": 40, "X": null});
        let overlay = overlay(env.as_object()).unwrap();
        assert_eq!(overlay.len(), 3);
        let expected = Window {
            rows: 40,
            columns: 120,
        };
        assert_eq!(window(&overlay), expected);
        assert_eq!(
            window(&BTreeMap::new()),
            Window {
                rows: 24,
                columns: 80
            }
        );
        assert!(super::overlay(json!({"A B": "x"}).as_object()).is_err());
        assert!(super::overlay(json!({"A": []}).as_object()).is_err());
    }
}
