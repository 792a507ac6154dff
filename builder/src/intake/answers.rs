//! Answers that are not git's: text that git shows to its user.

use crate::api::ApiError;
use crate::jobs::JobError;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

/// No token, or one that is not good.
pub(crate) fn unauthorized() -> Response {
    let mut response = text(
        StatusCode::UNAUTHORIZED,
        "sign in first: paas login (the token is the password, the user name is ignored)",
    );
    let challenge = HeaderValue::from_static("Basic realm=\"paas\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// There is no such thing, and the message says what to do.
pub(crate) fn not_found(message: &str) -> Response {
    text(StatusCode::NOT_FOUND, message)
}

/// The request cannot be understood.
pub(crate) fn bad_request(message: &str) -> Response {
    text(StatusCode::BAD_REQUEST, message)
}

/// The api does not answer, or refused.
pub(crate) fn unavailable(error: &ApiError) -> Response {
    match error {
        ApiError::Refused(message) => text(StatusCode::FORBIDDEN, message),
        error => {
            tracing::error!(%error, "the api does not answer");
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the platform's api does not answer; try again",
            )
        }
    }
}

/// There is no room for what would be pushed.
pub(crate) fn full_disk() -> Response {
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        "the platform's disk is full; push again when its keeper has made room",
    )
}

/// A job could not be started.
pub(crate) fn failed(error: &JobError) -> Response {
    tracing::error!(error = %crate::chain(error), "git could not be started");
    text(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the platform could not start git; its log says why (on the server: paas doctor)",
    )
}

/// Something of ours, for the log, and a text for the client.
pub(crate) fn broken(error: &(dyn std::error::Error + 'static)) -> Response {
    tracing::error!(error = %crate::chain(error), "a push could not begin");
    text(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the platform could not open the repository; its log says why (on the server: paas doctor)",
    )
}

/// git's own answer.
pub(crate) fn git(content_type: String, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, max-age=0, must-revalidate"),
    );
    response
}

fn text(status: StatusCode, message: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{message}\n")));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
