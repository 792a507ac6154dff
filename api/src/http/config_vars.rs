//! `/apps/APP/config-vars`: one PATCH, one release.

use super::auth::Need;
use super::body::Given;
use super::failure::Failure;
use super::releases;
use super::shape::Ctx;
use crate::accounts::Caller;
use crate::records::App;
use crate::releases::{Config, Draft};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use model::config_vars::{self, Key, Vars};
use serde_json::{Map, Value};
use std::sync::Arc;

/// `GET /apps/APP/config-vars`
pub(super) async fn list(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<Vars>, Failure> {
    let app = caller.app(&platform, &app, Need::ReadVars)?;
    Ok(Json(platform.vars(app.id, &app.config)?))
}

/// `GET /apps/APP/releases/N/config-vars`
pub(super) async fn of_release(
    State(platform): Ctx,
    caller: Caller,
    Path((app, release)): Path<(String, String)>,
) -> Result<Json<Vars>, Failure> {
    let app = caller.app(&platform, &app, Need::ReadVars)?;
    let release = releases::find(&platform, &app, &release)?;
    Ok(Json(platform.vars(app.id, &release.config)?))
}

/// What a PATCH does to the vars there are.
#[derive(Debug, PartialEq, Eq)]
struct Edit {
    vars: Vars,
    set: Vec<String>,
    removed: Vec<String>,
}

/// `PATCH /apps/APP/config-vars`
pub(super) async fn update(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    Given(wish): Given<Map<String, Value>>,
) -> Result<Response, Failure> {
    let app = caller.app(&platform, &app, Need::WriteVars)?;
    let turn = releases::turn(&platform, &app, "its config vars are being changed").await?;
    let app: App = platform
        .records
        .app(app.id)?
        .ok_or_else(Failure::no_such_app)?;
    let edit = edit(platform.vars(app.id, &app.config)?, wish)?;
    if edit.set.is_empty() && edit.removed.is_empty() {
        return Ok(Json(edit.vars).into_response());
    }
    let draft = Draft {
        description: description(&edit),
        slug: releases::current_slug(&platform, &app)?,
        config: Config::Set(edit.vars.clone()),
        by: caller.account,
        build: None,
    };
    let (release, running) = crate::releases::make(&platform, turn, app.id, draft).await?;
    let mut response = Json(edit.vars).into_response();
    releases::settle(&Arc::clone(&platform), &app, &release, running)
        .await
        .warn(response.headers_mut());
    Ok(response)
}

fn edit(mut vars: Vars, wish: Map<String, Value>) -> Result<Edit, Failure> {
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for (name, value) in wish {
        let value = match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Array(_) | Value::Object(_) => {
                let name = name.escape_debug();
                return Err(Failure::invalid(format!("The value of {name} is no text.")));
            }
        };
        let Ok(key) = Key::parse(&name) else {
            if value.is_none() {
                continue;
            }
            let name: String = name.escape_debug().take(80).collect();
            let rule = config_vars::KeyError;
            return Err(Failure::invalid(format!("`{name}` is no name: {rule}.")));
        };
        match value {
            None => removed.extend(vars.remove(&key).map(|_| name)),
            Some(value) if vars.get(&key) == Some(&value) => {}
            Some(value) => {
                vars.insert(key, value);
                set.push(name);
            }
        }
    }
    config_vars::check(&vars)
        .map_err(|error| Failure::invalid(format!("Nothing was changed: {error}.")))?;
    Ok(Edit { vars, set, removed })
}

fn description(edit: &Edit) -> String {
    let (set, removed) = (edit.set.join(", "), edit.removed.join(", "));
    match (set.is_empty(), removed.is_empty()) {
        (false, true) => format!("Set {set} config vars"),
        (true, _) => format!("Remove {removed} config vars"),
        (false, false) => format!("Set {set} config vars, remove {removed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(wish: Value, expected: Result<(&str, Value), &str>) {
        let key = Key::parse("A").unwrap();
        let Value::Object(wish) = wish else {
            panic!("{wish}")
        };
        match (edit(Vars::from([(key, "1".to_owned())]), wish), expected) {
            (Ok(edit), Ok((text, vars))) => {
                let said = if edit.set.is_empty() && edit.removed.is_empty() {
                    "nothing".to_owned()
                } else {
                    description(&edit)
                };
                assert_eq!((said.as_str(), json!(edit.vars)), (text, vars));
            }
            (Err(failure), Err(text)) => {
                assert!(failure.message().contains(text), "{}", failure.message());
            }
            (got, expected) => panic!("{got:?} {expected:?}"),
        }
    }

    #[test]
    fn edits() {
        check(json!({"A": "1"}), Ok(("nothing", json!({"A": "1"}))));
        check(
            json!({"A": 1, "X": null, "not a name": null}),
            Ok(("nothing", json!({"A": "1"}))),
        );
        check(
            json!({"B": "x\ny", "C": true}),
            Ok((
                "Set B, C config vars",
                json!({"A": "1", "B": "x\ny", "C": "true"}),
            )),
        );
        check(json!({"A": null}), Ok(("Remove A config vars", json!({}))));
        check(
            json!({"A": null, "B": "2"}),
            Ok(("Set B config vars, remove A", json!({"B": "2"}))),
        );
        check(json!({"1B": "2"}), Err("`1B` is no name"));
        check(json!({"B": [1]}), Err("The value of B is no text"));
        check(json!({"B": "a\u{0}b"}), Err("NUL"));
        check(json!({"B": "x".repeat(70_000)}), Err("the limit is 65536"));
    }
}
