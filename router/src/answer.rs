//! Answers of the router's own: pages for people, JSON for the platform's clients.

use crate::activity::Turn;
use crate::body::ResponseBody;
use crate::headers::VIA;
use crate::page::Page;
use http::{HeaderValue, Response, StatusCode, header};

/// A page as a response.
pub(crate) fn page(page: &Page, turn: Turn) -> Response<ResponseBody> {
    own(page.status, "text/html; charset=utf-8", page.html(), turn)
}

/// An error body in the form of the Platform API.
pub(crate) fn json(
    status: StatusCode,
    id: &str,
    message: &str,
    turn: Turn,
) -> Response<ResponseBody> {
    let body = serde_json::json!({ "id": id, "message": message }).to_string();
    own(status, "application/json", body, turn)
}

/// The client's connection ends after this answer.
pub(crate) fn closing(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// The same, under a condition: bytes of the request may still be on their way.
pub(crate) fn closing_if(
    condition: bool,
    response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    if condition {
        closing(response)
    } else {
        response
    }
}

/// A field's value out of a text of ours.
pub(crate) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("ids and numbers are printable")
}

fn own(
    status: StatusCode,
    media_type: &'static str,
    body: String,
    turn: Turn,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::page(body, turn));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    let no_cache = HeaderValue::from_static("no-cache, no-store");
    fields.insert(header::CACHE_CONTROL, no_cache);
    fields.insert(header::VIA, VIA);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        fields.insert(header::ALLOW, allow);
    }
    response
}
