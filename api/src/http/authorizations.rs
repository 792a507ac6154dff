//! `/oauth`: tokens and what is known of them.

use super::auth::{Need, token};
use super::body::Given;
use super::failure::Failure;
use super::range::{Kind, Page, Range};
use super::shape::{Ctx, User, created};
use crate::accounts::{self, Caller, NewToken};
use crate::clock::{Stamp, now_us};
use crate::platform::Platform;
use crate::records::{Scope, Token, hash};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Characters of a description.
const DESCRIPTION_MAX: usize = 255;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    id: Uuid,
    description: String,
    scope: Vec<&'static str>,
    access_token: AccessToken,
    refresh_token: Option<Value>,
    grant: Option<Value>,
    client: Option<Value>,
    session: Option<Value>,
    user: User,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Debug, Serialize)]
struct AccessToken {
    id: Uuid,
    token: String,
    expires_in: Option<u64>,
}

impl Answer {
    /// `text`: the whole token, for the one who has it.
    fn of(caller: &Caller, token: &Token, text: Option<String>) -> Self {
        let left = |end: u64| end.saturating_sub(now_us()) / 1_000_000;
        Self {
            id: token.id,
            description: token.description.clone(),
            scope: token.scope.iter().map(|scope| scope.word()).collect(),
            access_token: AccessToken {
                id: token.id,
                token: text.unwrap_or_else(|| token.shortened()),
                expires_in: token.expires_at_us.map(left),
            },
            refresh_token: None,
            grant: None,
            client: None,
            session: None,
            user: User::of(&caller.account),
            created_at: Stamp(token.created_at_us),
            updated_at: Stamp(token.created_at_us),
        }
    }
}

const TOKENS: Kind<Token> = Kind {
    attributes: &["id", "created_at"],
    key: |token, attribute| match attribute {
        "created_at" => format!("{:020}", token.created_at_us),
        _ => token.id.to_string(),
    },
    id: |token| token.id.to_string(),
};

/// The text of the caller's own token when it is this one: `auth:token` looks for it by equality.
fn own_text(headers: &HeaderMap, shown: &Token) -> Option<String> {
    token(headers).filter(|text| hash(text) == shown.hash)
}

/// `GET /oauth/authorizations`
pub(super) async fn list(
    State(platform): Ctx,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Page<Answer>, Failure> {
    let now_us = now_us();
    let mut tokens = platform.records.tokens_of(caller.account.id)?;
    tokens.retain(|token| !token.is_expired(now_us));
    let page = Range::of(&headers)?.cut(tokens, &TOKENS);
    page.try_map(|token| Ok(Answer::of(&caller, &token, own_text(&headers, &token))))
}

fn find(platform: &Platform, caller: &Caller, id: &str) -> Result<Token, Failure> {
    let tokens = platform.records.tokens_of(caller.account.id)?;
    let found = if id == "~" {
        tokens.into_iter().next()
    } else {
        tokens.into_iter().find(|token| token.id.to_string() == id)
    };
    found.ok_or_else(|| Failure::no_such_resource("authorization", "authorization"))
}

/// `GET /oauth/authorizations/ID`; `~` is the account's first one.
pub(super) async fn info(
    State(platform): Ctx,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Answer>, Failure> {
    let token = find(&platform, &caller, &id)?;
    let text = own_text(&headers, &token);
    Ok(Json(Answer::of(&caller, &token, text)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    description: Option<String>,
    scope: Option<Vec<Scope>>,
    expires_in: Option<u64>,
    #[expect(dead_code, reason = "accepted: clients of one's own come later")]
    client: Option<Value>,
}

/// `POST /oauth/authorizations`. A password in place of a token is no good: there are none yet.
pub(super) async fn create(
    State(platform): Ctx,
    caller: Caller,
    Given(wish): Given<Create>,
) -> Result<Response, Failure> {
    caller.needs(Need::Global)?;
    let description = wish.description.unwrap_or_default();
    if description.chars().count() > DESCRIPTION_MAX || description.chars().any(char::is_control) {
        return Err(Failure::invalid(format!(
            "`description` is one line of {DESCRIPTION_MAX} characters at most."
        )));
    }
    if wish.expires_in == Some(0) {
        return Err(Failure::invalid(
            "`expires_in` is a number of seconds above 0.",
        ));
    }
    let scope = wish.scope.unwrap_or_else(|| vec![Scope::Global]);
    if scope.is_empty() {
        return Err(Failure::invalid("`scope` names at least one scope."));
    }
    let new = NewToken {
        description,
        scope,
        expires_in_s: wish.expires_in,
    };
    let (token, text) = accounts::make_token(&platform, &caller.account, new).await?;
    Ok(created(Answer::of(&caller, &token, Some(text))))
}

/// `DELETE /oauth/authorizations/ID`; here `~` is the token of the request itself, so that whoever
/// signs out ends no other of the account's tokens.
pub(super) async fn revoke(
    State(platform): Ctx,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Answer>, Failure> {
    let mut change = platform
        .begin()
        .await
        .by(caller.account.id, "revoke authorization", &id);
    let id = match id.as_str() {
        "~" => caller.token.id.to_string(),
        _ => id,
    };
    let token = find(&platform, &caller, &id)?;
    // Whoever has a token may end it; ending others takes all rights.
    if token.hash != caller.token.hash {
        caller.needs(Need::Global)?;
    }
    change.remove_token(&token);
    change.commit().await?;
    Ok(Json(Answer::of(&caller, &token, None)))
}

/// `DELETE /oauth/sessions/ID`: there are none.
pub(super) async fn no_session(_: Caller) -> Failure {
    Failure::no_such_resource("session", "session")
}
