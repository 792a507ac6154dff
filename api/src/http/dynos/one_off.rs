//! `POST /apps/APP/dynos`: one-offs.

use super::Answer;
use crate::accounts::Caller;
use crate::http::auth::Need;
use crate::http::body::Given;
use crate::http::failure::Failure;
use crate::http::formation::parse_size;
use crate::http::shape::{Ctx, created};
use crate::platform::Platform;
use crate::records::{App, Want};
use crate::releases::{new_want, one_off_name};
use crate::rendezvous;
use axum::extract::{Path, State};
use axum::response::Response;
use model::config_vars::Key;
use model::dyno::{Purpose, Window};
use model::limits::ONE_OFF_TIME_TO_LIVE_S;
use model::process::Type;
use model::release::Release;
use model::size::Size;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Bytes of a command. Linux: one argument of execve(2) has 128 KiB at most.
const COMMAND_MAX_BYTES: usize = 64 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Create {
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
pub(in crate::http) async fn create(
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
        model::process::shown(&want.command)
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
