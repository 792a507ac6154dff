//! `/account`, `/users`: who the caller is.

use super::failure::Failure;
use super::shape::Ctx;
use crate::accounts::Caller;
use crate::clock::{Stamp, now_us};
use crate::records::Account;
use axum::Json;
use axum::extract::{Path, State};
use model::account::Id;
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the fields are Heroku's")]
pub(super) struct Answer {
    id: Id,
    email: String,
    name: Option<String>,
    verified: bool,
    two_factor_authentication: bool,
    created_at: Stamp,
    updated_at: Stamp,
    last_login: Option<Stamp>,
    suspended_at: Option<Stamp>,
    delinquent_at: Option<Stamp>,
    allow_tracking: bool,
    beta: bool,
    federated: bool,
    identity_provider: Option<Value>,
    sms_number: Option<String>,
    country_of_residence: Option<String>,
    default_organization: Option<Value>,
    default_team: Option<Value>,
}

impl Answer {
    fn of(account: &Account) -> Self {
        Self {
            id: account.id,
            email: account.email.to_string(),
            name: account.name.clone(),
            verified: true,
            two_factor_authentication: false,
            created_at: Stamp(account.created_at_us),
            updated_at: Stamp(account.updated_at_us),
            last_login: None,
            suspended_at: None,
            delinquent_at: None,
            allow_tracking: false,
            beta: false,
            federated: false,
            identity_provider: None,
            sms_number: None,
            country_of_residence: None,
            default_organization: None,
            default_team: None,
        }
    }
}

/// `GET /account`
pub(super) async fn info(caller: Caller) -> Json<Answer> {
    Json(Answer::of(&caller.account))
}

/// `GET /users/~`, by id or email: the caller alone is there.
pub(super) async fn user(
    caller: Caller,
    Path(user): Path<String>,
) -> Result<Json<Answer>, Failure> {
    is_caller(&caller, &user)?;
    Ok(Json(Answer::of(&caller.account)))
}

/// Refuses every other account.
pub(super) fn is_caller(caller: &Caller, user: &str) -> Result<(), Failure> {
    let account = &caller.account;
    let is_mine = user == "~"
        || user.eq_ignore_ascii_case(account.email.as_str())
        || user == account.id.to_string();
    if is_mine {
        Ok(())
    } else {
        Err(Failure::no_such("user"))
    }
}

/// `GET /account/rate-limits`: free of charge.
pub(super) async fn rate_limits(State(platform): Ctx, caller: Caller) -> Json<Value> {
    let remaining = platform.rates.left(caller.account.id, now_us() / 1000);
    Json(json!({"remaining": remaining}))
}
