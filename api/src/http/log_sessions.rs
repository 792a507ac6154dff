//! `/apps/APP/log-sessions`, and the streams that they open: docs/platform-api.md, "Streams".
//!
//! A session is its address: what it shows stands in it, signed. So it needs no record, and a
//! reader that comes back after a start of the api goes on where it was.

mod line;
mod stream;

use super::auth::Need;
use super::body::Given;
use super::failure::Failure;
use super::shape::{Ctx, created};
use crate::accounts::Caller;
use crate::clock::{Stamp, now_us};
use axum::extract::{Path, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use journal::{Line, Source};
use model::limits::{LOG_LINES_DEFAULT, LOG_LINES_MAX, LOG_SESSION_OPEN_MS};
use model::{account, app};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A stream ends after a day, microseconds.
const LIFE_US: u64 = 86_400_000_000;
/// Characters of the filters.
const FILTER_MAX: usize = 80;

/// What a session shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    app: app::Id,
    account: account::Id,
    /// The authorization that made it: the stream ends with it.
    authorization: Uuid,
    /// `web` or `web.1`
    dyno: Option<String>,
    /// `app` or `heroku`
    source: Option<String>,
    lines: usize,
    tail: bool,
    made_at_us: u64,
}

impl Session {
    /// Whether it shows a line.
    fn shows(&self, line: &Line) -> bool {
        let is_source = match self.source.as_deref() {
            Some("app") => line.source == Source::App,
            Some("heroku") => line.source == Source::Heroku,
            _ => true,
        };
        let is_dyno = self.dyno.as_deref().is_none_or(|dyno| {
            let rest = line.process.strip_prefix(dyno);
            rest.is_some_and(|rest| {
                rest.is_empty() || (rest.starts_with('.') && !dyno.contains('.'))
            })
        });
        is_source && is_dyno
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Create {
    dyno: Option<String>,
    dyno_name: Option<String>,
    #[serde(rename = "type")]
    process_type: Option<String>,
    ps: Option<String>,
    source: Option<String>,
    lines: Option<u64>,
    tail: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Answer {
    id: Uuid,
    logplex_url: String,
    created_at: Stamp,
    updated_at: Stamp,
}

/// `POST /apps/APP/log-sessions`
pub(super) async fn create(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    Given(wish): Given<Create>,
) -> Result<Response, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let session = session(wish, app.id, &caller)?;
    let json = serde_json::to_vec(&session).map_err(|error| {
        crate::say::failed("write a log session's address", &error);
        Failure::internal()
    })?;
    let claims = URL_SAFE_NO_PAD.encode(json);
    let signature = platform.keyring.sign(&format!("logs/{claims}"));
    let base = platform.config.api_url();
    Ok(created(Answer {
        id: Uuid::new_v4(),
        logplex_url: format!("{base}/streams/logs/{claims}/{signature}"),
        created_at: Stamp(session.made_at_us),
        updated_at: Stamp(session.made_at_us),
    }))
}

fn session(wish: Create, app: app::Id, caller: &Caller) -> Result<Session, Failure> {
    let first = [wish.dyno, wish.dyno_name, wish.ps, wish.process_type];
    let dyno = first.into_iter().flatten().find(|text| !text.is_empty());
    let source = wish.source.filter(|text| !text.is_empty());
    for (field, value) in [("dyno", &dyno), ("source", &source)] {
        let fits = |text: &String| text.chars().count() <= FILTER_MAX;
        if !value.as_ref().is_none_or(fits) {
            return Err(Failure::invalid(format!(
                "`{field}` has {FILTER_MAX} characters at most."
            )));
        }
    }
    if !matches!(source.as_deref(), None | Some("app" | "heroku")) {
        return Err(Failure::invalid("`source` is app or heroku."));
    }
    let lines = match wish.lines.map(usize::try_from) {
        None => LOG_LINES_DEFAULT,
        Some(Ok(lines)) if (1..=LOG_LINES_MAX).contains(&lines) => lines,
        Some(_) => {
            return Err(Failure::invalid(format!(
                "`lines` is 1 to {LOG_LINES_MAX}."
            )));
        }
    };
    Ok(Session {
        app,
        account: caller.account.id,
        authorization: caller.token.id,
        dyno,
        source,
        lines,
        tail: wish.tail.unwrap_or(false),
        made_at_us: now_us(),
    })
}

/// `GET /streams/logs/CLAIMS/SIGNATURE`
pub(super) async fn read(
    State(platform): Ctx,
    Path((claims, signature)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let gone = || Failure::not_found("This log session has ended. Ask for a new one.");
    if !platform
        .keyring
        .is_signed(&format!("logs/{claims}"), &signature)
    {
        return Err(gone());
    }
    let session: Session = URL_SAFE_NO_PAD
        .decode(&claims)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or_else(gone)?;
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let age_us = now_us().saturating_sub(session.made_at_us);
    let limit_us = match last_id {
        Some(_) => LIFE_US,
        None => LOG_SESSION_OPEN_MS * 1000,
    };
    if age_us > limit_us || !stream::is_allowed(&platform, &session)? {
        return Err(gone());
    }
    let is_events = headers.get_all(http::header::ACCEPT).iter().any(|accept| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.contains("text/event-stream"))
    });
    stream::open(platform, session, last_id, is_events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let session = |dyno: Option<&str>, source: Option<&str>| Session {
            app: crate::tests::app().id,
            account: crate::tests::app().owner,
            authorization: Uuid::nil(),
            dyno: dyno.map(str::to_owned),
            source: source.map(str::to_owned),
            lines: 10,
            tail: false,
            made_at_us: 0,
        };
        let line = |source, process: &str| Line {
            at_us: 0,
            source,
            process: process.to_owned(),
            text: Vec::new(),
        };
        for (dyno, source, process, expected) in [
            (None, None, "web.1", true),
            (Some("web"), None, "web.1", true),
            (Some("web"), None, "website.1", false),
            (Some("web.1"), None, "web.1", true),
            (Some("web.1"), None, "web.1.2", false),
            (Some("web.1"), None, "web.10", false),
            (Some("router"), None, "router", true),
            (None, Some("app"), "web.1", true),
            (None, Some("heroku"), "web.1", false),
        ] {
            let shows = session(dyno, source).shows(&line(Source::App, process));
            assert_eq!(shows, expected, "{dyno:?} {source:?} {process}");
        }
    }
}
