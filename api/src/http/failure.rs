//! What the API answers when it does not do what was asked: a status and a body with `id` and
//! `message`, always both (the official command line prints a stack trace without them).

use crate::seal::SealError;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    id: &'static str,
    message: String,
    resource: Option<&'static str>,
}

impl Failure {
    fn new(status: StatusCode, id: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            id,
            message: message.into(),
            resource: None,
        }
    }

    /// 400: the body is no JSON.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 401: the token is missing, unknown, revoked or expired. Never for "not allowed".
    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Invalid credentials provided.",
        )
    }

    /// 403: the token is good and may not do this.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404 of a thing: `Couldn't find that app.`
    pub(crate) fn no_such(thing: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("Couldn't find that {thing}."),
        )
    }

    /// 404 with `resource`, which the command line tells kinds of absence apart by.
    pub(crate) fn no_such_resource(thing: &str, resource: &'static str) -> Self {
        Self {
            resource: Some(resource),
            ..Self::no_such(thing)
        }
    }

    /// 404 with a message of its own.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 404 of an app: also the answer for an app that the caller may not see.
    pub(crate) fn no_such_app() -> Self {
        Self::no_such_resource("app", "app")
    }

    /// 404 of a path.
    pub(crate) fn no_such_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "The requested API endpoint was not found. Are you using the right HTTP verb (i.e. \
             `GET` vs. `POST`), and did you specify your intended version with the `Accept` header?",
        )
    }

    /// 406: a version that is not 3.
    pub(crate) fn not_acceptable() -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "The `Accept` header asks for a version that is not served. Ask for \
             `application/vnd.heroku+json; version=3`.",
        )
    }

    /// 408: the body did not come in time.
    pub(crate) fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "The body of the request did not arrive in time.",
        )
    }

    /// 409: not now.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// 413: the body is larger than the limit.
    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_entity_too_large",
            format!("The body of a request may have {limit_bytes} bytes at most."),
        )
    }

    /// 416: the `Range` header cannot be read.
    pub(crate) fn bad_range(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "requested_range_not_satisfiable",
            message,
        )
    }

    /// 422: a field breaks a rule; the message names both.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_params", message)
    }

    /// 429: too many requests.
    pub(crate) fn rate_limit() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit",
            "Your account reached the API rate limit. Please wait a few minutes before making new \
             requests",
        )
    }

    /// 503: it works again without anybody's doing.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable",
            message,
        )
    }

    /// 500 without inner text: the request's id finds the cause in our log.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_server_error",
            "Something on our side failed. The Request-Id of this answer finds the cause in the \
             platform's log.",
        )
    }

    /// The body that belongs to a status that some layer below us gave.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Self::no_such_route(),
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(model::limits::API_BODY_MAX_BYTES),
            status if status.is_client_error() => Self {
                status,
                ..Self::bad_request("The request cannot be read.")
            },
            _ => Self::internal(),
        }
    }

    /// The message, for those who print it.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = json!({"id": self.id, "message": self.message});
        if let (Some(resource), Some(body)) = (self.resource, body.as_object_mut()) {
            body.insert("resource".to_owned(), resource.into());
        }
        (self.status, axum::Json(body)).into_response()
    }
}

impl From<SealError> for Failure {
    fn from(error: SealError) -> Self {
        crate::say::failed("seal or open a secret", &error);
        Self::internal()
    }
}
