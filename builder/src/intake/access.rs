//! Who may reach what: the token of a request, and what the api says to it.

use super::answers;
use crate::site::Site;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::app;
use model::feed::Access;

/// Bytes of a token; the api's are far shorter.
const TOKEN_MAX_BYTES: usize = 1_024;

/// The app's name and token of a request that the api knows. Else the answer.
pub(crate) async fn check(
    site: &Site,
    repo: &str,
    headers: &HeaderMap,
) -> Result<(Access, app::Name, String), Response> {
    let name = repo.strip_suffix(".git").ok_or_else(|| {
        answers::not_found(&format!(
            "{repo} is no repository; the address ends with APP.git"
        ))
    })?;
    let name = app::Name::parse(name).map_err(|error| {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        answers::not_found(&format!("{shown} can be no app: {error}"))
    })?;
    let token = token(headers).ok_or_else(answers::unauthorized)?;
    let asked = site
        .api
        .access(token.clone(), name.as_str().to_owned())
        .await;
    match asked {
        Ok(Access::BadToken) => Err(answers::unauthorized()),
        Ok(Access::NoApp { message }) => Err(answers::not_found(&message)),
        Ok(access) => Ok((access, name, token)),
        Err(error) => Err(answers::unavailable(&error)),
    }
}

/// `Basic` (the user is ignored) or `Bearer`.
fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    let token = if scheme.eq_ignore_ascii_case("bearer") {
        rest.trim().to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let pair = STANDARD.decode(rest.trim()).ok()?;
        let pair = String::from_utf8(pair).ok()?;
        pair.split_once(':')?.1.to_owned()
    } else {
        return None;
    };
    let is_plain = token.bytes().all(|b| b.is_ascii_graphic());
    let fits = (1..=TOKEN_MAX_BYTES).contains(&token.len());
    (is_plain && fits).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        for (value, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            // heroku:abc, :abc, a:b:c
            ("Basic aGVyb2t1OmFiYw==", Some("abc")),
            ("basic OmFiYw==", Some("abc")),
            ("Basic YTpiOmM=", Some("b:c")),
            ("Basic YWJj", None),
            ("Basic !", None),
            ("Digest abc", None),
            ("abc", None),
            ("Bearer ", None),
            ("Bearer a b", None),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(token(&headers).as_deref(), expected, "{value}");
        }
        assert_eq!(token(&HeaderMap::new()), None);
    }
}
