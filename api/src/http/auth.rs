//! Who calls: `Bearer TOKEN`, or `Basic` with the token as password and any user name.

use super::failure::Failure;
use crate::accounts::{self, Caller};
use crate::clock::now_us;
use crate::platform::Platform;
use crate::records::{App, Scope};
use axum::extract::FromRequestParts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap};
use http::request::Parts;
use model::app;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// How many requests the caller may still make, for the answer's header; set once the caller is
/// known.
#[derive(Clone, Debug, Default)]
pub(super) struct Remaining(Arc<OnceLock<u64>>);

impl Remaining {
    pub(super) fn get(&self) -> Option<u64> {
        self.0.get().copied()
    }
}

/// What a request needs of its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Read,
    Write,
    ReadVars,
    WriteVars,
    /// Tokens and the like.
    Global,
}

impl Caller {
    /// Refuses when the token does not reach that far.
    pub(super) fn needs(&self, need: Need) -> Result<(), Failure> {
        let (may, what) = match need {
            Need::Read => (self.may_read(), "read apps"),
            Need::Write => (self.may_write(), "change apps"),
            Need::ReadVars => (self.may_read_vars(), "see config vars"),
            Need::WriteVars => (self.may_write_vars(), "change config vars"),
            Need::Global => (self.is_global(), "do this"),
        };
        if may {
            return Ok(());
        }
        let has: Vec<_> = self
            .token
            .scope
            .iter()
            .map(|scope| Scope::word(*scope))
            .collect();
        Err(Failure::forbidden(format!(
            "This token may not {what}: its scope is {}.",
            has.join(", ")
        )))
    }

    /// The app of this name or id, when the caller may see it; any other is not there.
    pub(super) fn app(
        &self,
        platform: &Platform,
        name_or_id: &str,
        need: Need,
    ) -> Result<App, Failure> {
        let found = match app::Id::parse(name_or_id) {
            Some(id) => platform.records.app(id)?,
            None => match app::Name::parse(name_or_id) {
                Ok(name) => platform.records.app_named(&name)?,
                Err(_) => None,
            },
        };
        let mine = found.filter(|app| app.owner == self.account.id);
        let app = mine.ok_or_else(Failure::no_such_app)?;
        self.needs(need)?;
        Ok(app)
    }
}

impl FromRequestParts<Arc<Platform>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        platform: &Arc<Platform>,
    ) -> Result<Self, Failure> {
        let token = token(&parts.headers).ok_or_else(Failure::unauthorized)?;
        let caller = accounts::caller(platform, &token)?.ok_or_else(Failure::unauthorized)?;
        let now_ms = now_us() / 1000;
        let left = if is_local(&parts.headers) {
            platform.rates.left(caller.account.id, now_ms)
        } else {
            let left = platform.rates.take(caller.account.id, now_ms);
            left.ok_or_else(Failure::rate_limit)?
        };
        if let Some(remaining) = parts.extensions.get::<Remaining>() {
            remaining.0.get_or_init(|| left);
        }
        Ok(caller)
    }
}

/// The token of a request, whatever it is worth.
pub(super) fn token(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (kind, value) = text.split_once(' ')?;
    let value = value.trim();
    if kind.eq_ignore_ascii_case("bearer") {
        return Some(value.to_owned());
    }
    if !kind.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    pair.split_once(':').map(|(_, token)| token.to_owned())
}

/// Whether the request came to the router from this machine. The router writes the header itself.
fn is_local(headers: &HeaderMap) -> bool {
    headers
        .get("x-forwarded-for")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.rsplit(',').next())
        .and_then(|last| last.trim().parse::<IpAddr>().ok())
        .is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (header, expected) in [
            ("Bearer abc".to_owned(), Some("abc")),
            ("bearer abc".to_owned(), Some("abc")),
            (basic(":abc"), Some("abc")),
            (basic("heroku:abc"), Some("abc")),
            (basic("abc"), None),
            ("Basic !".to_owned(), None),
            ("abc".to_owned(), None),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, header.parse().unwrap())]);
            assert_eq!(token(&headers).as_deref(), expected, "{header}");
        }
    }
}
