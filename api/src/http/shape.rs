//! Small pieces that answers share.

use crate::clock::Stamp;
use crate::platform::Platform;
use crate::records::{Account, App};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use model::account;
use model::digest::Digest;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use std::sync::Arc;
use uuid::Uuid;

/// What every handler gets.
pub(super) type Ctx = State<Arc<Platform>>;

/// `{id, name}`
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ref {
    id: Uuid,
    name: String,
}

impl Ref {
    /// A thing that has no record: its id is made of its kind and name.
    pub(super) fn of(kind: &str, name: &str) -> Self {
        Self {
            id: stable_id(&format!("{kind}/{name}")),
            name: name.to_owned(),
        }
    }

    /// An app.
    pub(super) fn app(app: &App) -> Self {
        Self {
            id: uuid(&app.id),
            name: app.name.to_string(),
        }
    }
}

/// `{id, email}`
#[derive(Clone, Debug, Serialize)]
pub(super) struct User {
    pub(super) id: account::Id,
    pub(super) email: String,
}

impl User {
    pub(super) fn of(account: &Account) -> Self {
        Self {
            id: account.id,
            email: account.email.to_string(),
        }
    }

    /// The account of an id; one that is gone keeps its id.
    pub(super) fn find(platform: &Platform, id: account::Id) -> Self {
        match platform.records.account(id) {
            Ok(Some(account)) => Self::of(&account),
            _ => Self {
                id,
                email: String::new(),
            },
        }
    }
}

/// A thing of which nothing but its id is said.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct IdOnly {
    pub(super) id: Uuid,
}

/// The UUID inside an id.
pub(super) fn uuid(id: &impl std::fmt::Display) -> Uuid {
    Uuid::parse_str(&id.to_string()).expect("an id shows itself as a UUID")
}

/// The same id for the same text, always.
pub(super) fn stable_id(text: &str) -> Uuid {
    let bytes: [u8; 32] = digest(&SHA256, text.as_bytes())
        .as_ref()
        .try_into()
        .expect("a sha256 has 32 bytes");
    crate::records::Slug::id(Digest::new(bytes))
}

/// 201 with what was made.
pub(super) fn created(made: impl Serialize) -> Response {
    (StatusCode::CREATED, Json(made)).into_response()
}

/// 202 with `{}`.
pub(super) fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(serde_json::json!({}))).into_response()
}

/// What a thing without a record of its own says of its age: since the platform's first release.
pub(super) const ALWAYS: Stamp = Stamp(1_767_225_600_000_000);
