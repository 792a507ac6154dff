//! Bodies of requests: bounded in bytes, time and depth; JSON whatever the content type says;
//! unknown fields are refused by name.

use super::failure::Failure;
use axum::body::Body;
use axum::extract::FromRequest;
use http::Request;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use model::limits::{API_BODY_MAX_BYTES, API_BODY_TIMEOUT_MS};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How deep arrays and objects may lie in each other. docs/platform-api.md, "Protocol".
const DEPTH_MAX: usize = 16;

/// A body that was read as `T`; a missing one is `{}`.
#[derive(Debug)]
pub(super) struct Given<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = Failure;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Failure> {
        let body = Limited::new(request.into_body(), API_BODY_MAX_BYTES);
        let limit = Duration::from_millis(API_BODY_TIMEOUT_MS);
        let read = tokio::time::timeout(limit, body.collect()).await;
        let bytes = match read.map_err(|_| Failure::too_slow())? {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(Failure::too_large(API_BODY_MAX_BYTES));
            }
            Err(_) => return Err(Failure::bad_request("The body did not arrive whole.")),
        };
        parse(&bytes).map(Self)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let bytes = if bytes.trim_ascii().is_empty() {
        b"{}"
    } else {
        bytes
    };
    if depth(bytes) > DEPTH_MAX {
        return Err(Failure::bad_request(format!(
            "The JSON in the body is nested more than {DEPTH_MAX} levels deep."
        )));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        if error.is_data() {
            let end = text.rfind(" at line ").unwrap_or(text.len());
            let what = text.get(..end).unwrap_or(&text);
            Failure::invalid(format!("The body of the request is refused: {what}."))
        } else {
            Failure::bad_request(format!("The body of the request is no JSON: {text}."))
        }
    })
}

/// How deep the brackets outside of texts go. Right for JSON; what is none is refused anyway.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut is_text, mut is_escaped) = (0usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: Option<String>,
    }

    #[test]
    fn bodies() {
        for empty in ["", "  \n", "{}", r#"{"name":null}"#] {
            assert_eq!(parse::<Sample>(empty.as_bytes()).unwrap().name, None);
        }
        for (body, status, message) in [
            (r#"{"nam":"x"}"#, 422, "unknown field `nam`"),
            (r#"{"name":3}"#, 422, "invalid type: integer `3`"),
            ("{", 400, "no JSON"),
            (
                "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]",
                400,
                "nested more than 16",
            ),
        ] {
            let failure = parse::<Sample>(body.as_bytes()).unwrap_err();
            assert_eq!(failure.status.as_u16(), status, "{body}");
            assert!(failure.message().contains(message), "{}", failure.message());
        }
    }

    #[test]
    fn depths() {
        for (json, expected) in [
            ("1", 0),
            ("{}", 1),
            (r#"{"a":["[[["]}"#, 2),
            (r#""\"[""#, 0),
        ] {
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
    }
}
