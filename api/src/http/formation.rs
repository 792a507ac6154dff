//! `/apps/APP/formation`: how many dynos of which size each process type has.

use super::auth::Need;
use super::body::Given;
use super::failure::Failure;
use super::releases;
use super::shape::{Ctx, Ref, stable_id};
use crate::accounts::Caller;
use crate::clock::{Stamp, now_us};
use crate::deploy::act;
use crate::placement;
use crate::platform::Platform;
use crate::records::{App, Scaled};
use axum::Json;
use axum::extract::{Path, State};
use model::formation::{Entry, Formation, Quantity};
use model::process::Type;
use model::release::Release;
use model::size::Size;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    id: Uuid,
    #[serde(rename = "type")]
    process_type: String,
    quantity: u32,
    size: &'static str,
    dyno_size: Ref,
    command: String,
    app: Ref,
    created_at: Stamp,
    updated_at: Stamp,
}

/// Every type of the release that serves; `release` stands there, too, with 0: `releases:retry`
/// looks for it.
fn answers(platform: &Platform, app: &App) -> Result<Vec<Answer>, Failure> {
    let Some(release) = platform.records.release(app.id, app.current)? else {
        return Ok(Vec::new());
    };
    let scaled: BTreeMap<Type, Scaled> = platform.records.scaled(app.id)?.into_iter().collect();
    let answer = |(process_type, command): (&Type, &String)| {
        let known = scaled
            .get(process_type)
            .filter(|_| process_type.is_scalable());
        let size = known.map_or_else(Size::default, |scaled| scaled.entry.size);
        Answer {
            id: known.map_or_else(
                || stable_id(&format!("formation/{}/{process_type}", app.id)),
                |scaled| scaled.id,
            ),
            process_type: process_type.to_string(),
            quantity: known.map_or(0, |scaled| scaled.entry.quantity),
            size: size.name(),
            dyno_size: Ref::of("dyno-size", size.name()),
            command: command.clone(),
            app: Ref::app(app),
            created_at: Stamp(known.map_or(release.created_at_us, |s| s.created_at_us)),
            updated_at: Stamp(known.map_or(release.updated_at_us, |s| s.updated_at_us)),
        }
    };
    Ok(release.process_types.iter().map(answer).collect())
}

fn one(answers: Vec<Answer>, text: &str) -> Result<Answer, Failure> {
    let is_it = |answer: &Answer| answer.process_type == text || answer.id.to_string() == text;
    answers
        .into_iter()
        .find(is_it)
        .ok_or_else(|| Failure::no_such("process type"))
}

/// `GET /apps/APP/formation`
pub(super) async fn list(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<Vec<Answer>>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    answers(&platform, &app).map(Json)
}

/// `GET /apps/APP/formation/TYPE`
pub(super) async fn info(
    State(platform): Ctx,
    caller: Caller,
    Path((app, process_type)): Path<(String, String)>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    one(answers(&platform, &app)?, &process_type).map(Json)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Updates {
    updates: Vec<Update>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    #[serde(rename = "type")]
    process_type: String,
    quantity: Option<Value>,
    size: Option<Value>,
    dyno_size: Option<Value>,
    docker_image: Option<Value>,
}

impl Update {
    fn into_wish(self) -> (String, Wish) {
        let wish = Wish {
            quantity: self.quantity,
            size: self.size,
            dyno_size: self.dyno_size,
            docker_image: self.docker_image,
        };
        (self.process_type, wish)
    }
}

/// A quantity may be a number or a text (`"+1"`), a size a name or `{name}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wish {
    quantity: Option<Value>,
    size: Option<Value>,
    dyno_size: Option<Value>,
    docker_image: Option<Value>,
}

/// `PATCH /apps/APP/formation`
pub(super) async fn update(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    Given(wish): Given<Updates>,
) -> Result<Json<Vec<Answer>>, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let updates = wish.updates.into_iter();
    let updates: Vec<_> = updates.map(Update::into_wish).collect();
    let named = scale(&platform, &caller, &app, &updates).await?;
    let mut answers = answers(&platform, &app)?;
    answers.retain(|answer| {
        named
            .iter()
            .any(|name| name.as_str() == answer.process_type)
    });
    Ok(Json(answers))
}

/// `PATCH /apps/APP/formation/TYPE`
pub(super) async fn update_one(
    State(platform): Ctx,
    caller: Caller,
    Path((app, process_type)): Path<(String, String)>,
    Given(wish): Given<Wish>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let known = one(answers(&platform, &app)?, &process_type)?;
    scale(
        &platform,
        &caller,
        &app,
        &[(known.process_type.clone(), wish)],
    )
    .await?;
    one(answers(&platform, &app)?, &known.process_type).map(Json)
}

/// Changes all that is named, or nothing.
async fn scale(
    platform: &Arc<Platform>,
    caller: &Caller,
    app: &App,
    updates: &[(String, Wish)],
) -> Result<Vec<Type>, Failure> {
    let turn = releases::turn(platform, app, "it is being scaled").await?;
    let mut change = platform
        .begin()
        .await
        .by(caller.account.id, "scale", app.name.as_str());
    let app = platform
        .records
        .app(app.id)?
        .ok_or_else(Failure::no_such_app)?;
    let release = platform.records.release(app.id, app.current)?;
    let release = release.ok_or_else(|| Failure::no_such("process type"))?;
    let mut formation = platform.records.formation(app.id)?;
    let named = plan(&mut formation, &release, updates)?;
    let known: BTreeMap<Type, Scaled> = platform.records.scaled(app.id)?.into_iter().collect();
    for name in &named {
        let Some(entry) = formation.get(name).copied() else {
            continue;
        };
        let now_us = now_us();
        let before = known.get(name);
        if before.is_some_and(|before| before.entry == entry) {
            continue;
        }
        let scaled = Scaled {
            id: before.map_or_else(Uuid::new_v4, |before| before.id),
            entry,
            created_at_us: before.map_or(now_us, |before| before.created_at_us),
            updated_at_us: now_us,
        };
        change.put_scaled(app.id, name, &scaled);
    }
    let existing = platform.fleet.look(|view| view.existing(app.id));
    let types = &release.process_types;
    let actions = placement::plan(&formation, release.number, types, &existing);
    act(platform, &mut change, (app.id, &release), &actions)?;
    change.commit().await?;
    let who = &caller.account.email;
    let text = format!("Scaled to {} by user {who}", shown(&formation, &release));
    platform.log.line(app.id, &text);
    drop(turn);
    Ok(named)
}

/// Applies the updates to the formation; returns the types that they name.
fn plan(
    formation: &mut Formation,
    release: &Release,
    updates: &[(String, Wish)],
) -> Result<Vec<Type>, Failure> {
    let mut named = Vec::new();
    for (name, wish) in updates {
        let process_type = Type::parse(name)
            .ok()
            .filter(|name| release.process_types.contains_key(name))
            .ok_or_else(|| Failure::no_such("process type"))?;
        let entry = formation.get(&process_type).copied().unwrap_or(Entry {
            quantity: 0,
            size: Size::default(),
        });
        let entry = wish.applied(entry, &process_type)?;
        formation.insert(process_type.clone(), entry);
        named.push(process_type);
    }
    Ok(named)
}

impl Wish {
    fn applied(&self, now: Entry, process_type: &Type) -> Result<Entry, Failure> {
        if self
            .docker_image
            .as_ref()
            .is_some_and(|image| !image.is_null())
        {
            return Err(Failure::invalid("`docker_image` is not available yet."));
        }
        let quantity = match &self.quantity {
            None | Some(Value::Null) => now.quantity,
            Some(value) => {
                let text = match value {
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                };
                Quantity::parse(&text)
                    .and_then(|quantity| quantity.apply(now.quantity))
                    .map_err(|error| Failure::invalid(format!("{process_type}: {error}.")))?
            }
        };
        let is_given = |value: &&Value| !value.is_null();
        let size = self.size.as_ref().filter(is_given);
        let size = size.or(self.dyno_size.as_ref().filter(is_given));
        let size = size.map_or(Ok(now.size), parse_size)?;
        if !process_type.is_scalable() && quantity > 0 {
            return Err(Failure::invalid(
                "`release` runs before each release and cannot be scaled.",
            ));
        }
        Ok(Entry { quantity, size })
    }
}

/// `basic`, `{name}` or `{id}`.
pub(super) fn parse_size(value: &Value) -> Result<Size, Failure> {
    let field = |name| value.get(name).and_then(Value::as_str);
    let text = value
        .as_str()
        .or_else(|| field("name"))
        .or_else(|| field("id"));
    let text = text.ok_or_else(|| Failure::invalid("`size` is the name of a dyno size."))?;
    let by_id = model::size::FACTS
        .iter()
        .find(|facts| stable_id(&format!("dyno-size/{}", facts.name)).to_string() == text);
    match by_id {
        Some(facts) => Ok(facts.size),
        None => Size::parse(text).map_err(|error| Failure::invalid(format!("{error}."))),
    }
}

/// `web@2:Standard-1X worker@0:Standard-1X`: the whole formation.
fn shown(formation: &Formation, release: &Release) -> String {
    let is_there = |name: &&Type| release.process_types.contains_key(name);
    let entries = formation.iter().filter(|(name, _)| is_there(name));
    let shown = entries.map(|(name, entry)| format!("{name}@{}:{}", entry.quantity, entry.size));
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(wish: &Value, expected: Result<&str, &str>) {
        let release = crate::tests::release(3, &["web", "worker", "release"]);
        let wishes: Updates = serde_json::from_value(json!({ "updates": wish })).unwrap();
        let updates: Vec<_> = wishes.updates.into_iter().map(Update::into_wish).collect();
        let web = Entry {
            quantity: 2,
            size: Size::Basic,
        };
        let mut formation = Formation::from([(Type::web(), web)]);
        let planned = plan(&mut formation, &release, &updates);
        match (planned, expected) {
            (Ok(_), Ok(text)) => assert_eq!(shown(&formation, &release), text),
            (Err(failure), Err(text)) => assert_eq!(failure.message(), text),
            (got, expected) => panic!("{got:?} {expected:?}"),
        }
    }

    #[test]
    fn wishes() {
        check(&json!([{"type": "web", "quantity": 3}]), Ok("web@3:Basic"));
        check(
            &json!([{"type": "web", "quantity": "+1", "size": null}]),
            Ok("web@3:Basic"),
        );
        check(
            &json!([{"type": "web", "size": "standard-2x"}, {"type": "worker", "quantity": "1"}]),
            Ok("web@2:Standard-2X worker@1:Standard-1X"),
        );
        check(
            &json!([{"type": "web", "dyno_size": {"name": "Eco"}}]),
            Ok("web@2:Eco"),
        );
        check(
            &json!([{"type": "web", "quantity": "-3"}]),
            Err("web: quantity must be between 0 and 100."),
        );
        check(
            &json!([{"type": "web", "quantity": 1.5}]),
            Err("web: quantity is a number, or +N or -N."),
        );
        check(
            &json!([{"type": "gone", "quantity": 1}]),
            Err("Couldn't find that process type."),
        );
        check(
            &json!([{"type": "release", "quantity": 1}]),
            Err("`release` runs before each release and cannot be scaled."),
        );
    }
}
