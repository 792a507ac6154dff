//! `/apps/APP/buildpack-installations`, and the registry that turns names into addresses.

use super::auth::Need;
use super::body::Given;
use super::failure::Failure;
use super::shape::{ALWAYS, Ctx, stable_id};
use crate::accounts::Caller;
use crate::clock::now_us;
use crate::records::App;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Buildpacks of one app.
const BUILDPACKS_MAX: usize = 20;
/// Bytes of one buildpack's name or address.
const BUILDPACK_MAX_BYTES: usize = 2_000;
/// Where Heroku's registry keeps its archives: this very form is shown as `NS/NAME` again.
const REGISTRY: &str = "https://buildpack-registry.s3.amazonaws.com/buildpacks/";

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    ordinal: usize,
    buildpack: Buildpack,
}

#[derive(Debug, Serialize)]
struct Buildpack {
    url: String,
    name: String,
}

impl Buildpack {
    fn of(given: &str) -> Self {
        let archive = given
            .strip_prefix(REGISTRY)
            .and_then(|rest| rest.strip_suffix(".tgz"));
        let name = archive.unwrap_or(given).to_owned();
        let url = if archive.is_none() && is_name(given) {
            format!("urn:buildpack:{given}")
        } else {
            given.to_owned()
        };
        Self { url, name }
    }
}

/// `heroku/python`
fn is_name(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(ns, name)| is_word(ns) && is_word(name))
}

fn is_word(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

fn answers(app: &App) -> Json<Vec<Answer>> {
    let answer = |(ordinal, given): (usize, &String)| Answer {
        ordinal,
        buildpack: Buildpack::of(given),
    };
    Json(app.buildpacks.iter().enumerate().map(answer).collect())
}

/// `GET /apps/APP/buildpack-installations`
pub(super) async fn list(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<Vec<Answer>>, Failure> {
    Ok(answers(&caller.app(&platform, &app, Need::Read)?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Updates {
    updates: Vec<Update>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    buildpack: String,
}

/// `PUT /apps/APP/buildpack-installations`: acts at the next build.
pub(super) async fn replace(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    Given(wish): Given<Updates>,
) -> Result<Json<Vec<Answer>>, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let given = wish.updates.into_iter().map(|update| update.buildpack);
    let buildpacks = checked(given.collect())?;
    let mut change = platform
        .begin()
        .await
        .by(caller.account.id, "buildpacks", app.name.as_str());
    let mut app = platform
        .records
        .app(app.id)?
        .ok_or_else(Failure::no_such_app)?;
    app.buildpacks = buildpacks;
    app.updated_at_us = now_us();
    change.put_app(&app);
    change.commit().await?;
    Ok(answers(&app))
}

/// A list as an app keeps it.
pub(super) fn checked(given: Vec<String>) -> Result<Vec<String>, Failure> {
    if given.len() > BUILDPACKS_MAX {
        return Err(Failure::invalid(format!(
            "An app has {BUILDPACKS_MAX} buildpacks at most."
        )));
    }
    let one = |buildpack: String| {
        let is_text = (1..=BUILDPACK_MAX_BYTES).contains(&buildpack.len())
            && !buildpack
                .chars()
                .any(|c| c.is_control() || c.is_whitespace());
        if !is_text {
            return Err(Failure::invalid(
                "`buildpack` is a name, a folder of the app, or the address of a git repository or \
                 archive, without blanks.",
            ));
        }
        let plain = buildpack.strip_prefix("urn:buildpack:").map(str::to_owned);
        Ok(plain.unwrap_or(buildpack))
    };
    given.into_iter().map(one).collect()
}

/// `GET /buildpacks/NS%2FNAME`: the built-in ones, without a token.
pub(super) async fn registry(
    State(platform): Ctx,
    Path(name): Path<String>,
) -> Result<Json<Value>, Failure> {
    let missing = || Failure::no_such("buildpack");
    let (namespace, short) = name.split_once('/').ok_or_else(missing)?;
    let folder = platform.config.program_dir.join("buildpacks").join(short);
    let is_there = matches!(namespace, "heroku" | "paas")
        && is_word(short)
        && folder.join("bin/compile").exists();
    if !is_there {
        return Err(missing());
    }
    Ok(Json(json!({
        "id": stable_id(&format!("buildpack/{name}")),
        "name": short,
        "namespace": namespace,
        "description": format!("the built-in buildpack {short}"),
        "blob_url": format!("{REGISTRY}{namespace}/{short}.tgz"),
        "created_at": ALWAYS,
        "updated_at": ALWAYS,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (given, url, name) in [
            (
                "heroku/python",
                "urn:buildpack:heroku/python",
                "heroku/python",
            ),
            ("python", "python", "python"),
            (
                "https://h/x.git#main",
                "https://h/x.git#main",
                "https://h/x.git#main",
            ),
            (
                "https://buildpack-registry.s3.amazonaws.com/buildpacks/heroku/python.tgz",
                "https://buildpack-registry.s3.amazonaws.com/buildpacks/heroku/python.tgz",
                "heroku/python",
            ),
        ] {
            let buildpack = Buildpack::of(given);
            assert_eq!(
                (buildpack.url.as_str(), buildpack.name.as_str()),
                (url, name)
            );
        }
    }
}
