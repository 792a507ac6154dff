//! What every answer has: a `Request-Id`, an `ETag`, the version, a JSON body for each error. HEAD
//! is GET without the body.

use super::auth::Remaining;
use super::failure::Failure;
use crate::platform::Platform;
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use ring::digest::{SHA256, digest};
use std::sync::Arc;
use tower_service::Service as _;
use uuid::Uuid;

/// Answers one request.
pub(super) async fn answer(
    platform: &Arc<Platform>,
    router: &Router,
    mut request: Request<Body>,
) -> Response<Body> {
    let id = Uuid::new_v4();
    let is_head = request.method() == Method::HEAD;
    if is_head {
        *request.method_mut() = Method::GET;
    }
    let method = request.method().clone();
    let path = shown_path(request.uri().path());
    let asked = request.headers().get(header::IF_NONE_MATCH).cloned();
    let remaining = Remaining::default();
    request.extensions_mut().insert(remaining.clone());
    let response = if is_acceptable(request.headers()) {
        let Ok(response) = router.clone().call(request).await;
        // What the answer says is so for the next request to an app, too.
        platform.feeds.all_routed().await;
        response
    } else {
        Failure::not_acceptable().into_response()
    };
    let mut response = finish(with_error_body(response), &method, asked.as_ref()).await;
    let status = response.status();
    if status.is_server_error() {
        tracing::error!(request.id = %id, %method, path, status = status.as_u16(), "a request failed");
    } else {
        tracing::debug!(request.id = %id, %method, path, status = status.as_u16(), "request");
    }
    add_headers(response.headers_mut(), id, remaining.get());
    if is_head {
        *response.body_mut() = Body::empty();
    }
    // Whoever waits on a stop is told nothing new: the connection ends with the answer.
    if platform.stop.is_requested() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// A path for the log: the secrets in the addresses of streams are none.
fn shown_path(path: &str) -> String {
    if path.starts_with("/streams/") {
        "/streams/...".to_owned()
    } else {
        path.chars().take(200).collect()
    }
}

/// Version 3 with any suffix, or no version at all.
fn is_acceptable(headers: &HeaderMap) -> bool {
    let mut asks_for_another = false;
    for value in headers.get_all(header::ACCEPT) {
        let text = value.to_str().unwrap_or_default();
        for range in text.split(',') {
            match version(range) {
                Some(version) if version != "3" && !version.starts_with("3.") => {
                    asks_for_another = true;
                }
                Some(_) => return true,
                None => {}
            }
        }
    }
    !asks_for_another
}

/// The version in `application/vnd.heroku+json; version=3.sdk`.
fn version(range: &str) -> Option<&str> {
    let mut parts = range.split(';').map(str::trim);
    if parts.next()? != "application/vnd.heroku+json" {
        return None;
    }
    parts.find_map(|part| part.strip_prefix("version="))
}

/// An error that some layer below the handlers gave gets the body that every error has.
fn with_error_body(response: Response<Body>) -> Response<Body> {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if is_error && !is_json(response.headers()) {
        return Failure::of_status(status).into_response();
    }
    response
}

/// Gives a JSON answer its `ETag`, and 304 to whoever has it already.
async fn finish(
    response: Response<Body>,
    method: &Method,
    asked: Option<&HeaderValue>,
) -> Response<Body> {
    if !is_json(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
    else {
        return Failure::internal().into_response();
    };
    let tag = etag(&body);
    let is_known = asked
        .and_then(|asked| asked.to_str().ok())
        .is_some_and(|asked| asked.split(',').any(|known| known.trim() == tag));
    let is_read = method == Method::GET && parts.status == StatusCode::OK;
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    if is_read && is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    parts
        .headers
        .insert(header::CONTENT_LENGTH, body.len().into());
    Response::from_parts(parts, Body::from(body))
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"))
}

fn etag(body: &[u8]) -> String {
    let bytes: [u8; 32] = digest(&SHA256, body)
        .as_ref()
        .try_into()
        .expect("a sha256 has 32 bytes");
    let hex: String = model::digest::Digest::new(bytes)
        .hex()
        .chars()
        .take(32)
        .collect();
    format!("W/\"{hex}\"")
}

fn add_headers(headers: &mut HeaderMap, id: Uuid, remaining: Option<u64>) {
    let text = |text: String| HeaderValue::from_str(&text).ok();
    let fixed = |text| Some(HeaderValue::from_static(text));
    let is_stream = !is_json(headers) && headers.contains_key(header::CONTENT_TYPE);
    let cache = if is_stream {
        "no-cache"
    } else {
        "private, no-cache"
    };
    let named = [
        ("request-id", text(id.to_string())),
        (
            "ratelimit-remaining",
            remaining.and_then(|left| text(left.to_string())),
        ),
        ("ratelimit-multiplier", fixed("1")),
        ("oauth-scope-accepted", fixed("global write")),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    let vary = HeaderValue::from_static("Accept-Encoding, Authorization");
    headers.insert(header::VARY, vary);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (accept, expected) in [
            ("", true),
            ("*/*", true),
            ("application/json", true),
            ("application/vnd.heroku+json; version=3", true),
            ("application/vnd.heroku+json; version=3.cedar-acm", true),
            ("application/vnd.heroku+json;version=3.sdk", true),
            ("application/vnd.heroku+json", true),
            ("application/vnd.heroku+json; version=2", false),
            ("application/vnd.heroku+json; version=33", false),
            (
                "application/vnd.heroku+json; version=2, application/vnd.heroku+json; version=3",
                true,
            ),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(is_acceptable(&headers), expected, "{accept}");
        }
    }
}
