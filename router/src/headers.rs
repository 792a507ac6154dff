//! Which fields go on and which are added, both ways: pure functions over fields.
//!
//! Names come in lower case, as every parser that we use gives them. Called by `exchange`. Source:
//! docs/heroku.md, "Request headers", and docs/router.md, 89, 156 to 165, 189.

use crate::rules;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;

/// What this router calls itself in Via, both ways.
pub const VIA: HeaderValue = HeaderValue::from_static("1.1 heroku-router");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
/// The name under which dyno and log line know a request.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the router knows of a request beside its fields.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The host as the dyno shall see it.
    pub authority: &'a str,
    /// The client's address.
    pub peer: IpAddr,
    /// The port the client connected to.
    pub port: u16,
    /// When the head was read, Unix milliseconds.
    pub at_ms: u64,
    /// The id, already judged.
    pub request_id: &'a HeaderValue,
    /// Protocols to switch to, if the dyno may.
    pub upgrade: Option<&'a str>,
}

/// The fields of the request that a dyno gets.
pub fn to_dyno(fields: &HeaderMap, arrival: &Arrival<'_>) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(fields.len() + 8);
    let named = NamedByConnection::of(fields);
    out.insert(header::HOST, value(arrival.authority));
    for (name, value) in fields {
        if passes_to_dyno(name.as_str()) && !named.strips(name.as_str()) {
            out.append(name.clone(), value.clone());
        }
    }
    out.insert(X_FORWARDED_FOR, forwarded_for(fields, arrival.peer));
    out.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    out.insert(X_FORWARDED_PORT, HeaderValue::from(arrival.port));
    out.insert(X_REQUEST_START, HeaderValue::from(arrival.at_ms));
    out.insert(X_REQUEST_ID, arrival.request_id.clone());
    out.append(header::VIA, VIA);
    if let Some(protocols) = arrival.upgrade {
        out.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        out.insert(header::UPGRADE, value(protocols));
    }
    out
}

/// Strips a dyno's response in place for the client. `switching`: it is a 101, which keeps Upgrade.
pub fn to_client(fields: &mut HeaderMap, has_no_length: bool) {
    let named = NamedByConnection::of(fields);
    if let NamedByConnection::Some(names) = &named {
        for name in names {
            fields.remove(name.as_str());
        }
    }
    for name in HOP_BY_HOP {
        fields.remove(name);
    }
    if has_no_length {
        fields.remove(header::CONTENT_LENGTH);
    }
    fields.append(header::VIA, VIA);
}

/// The client's own request id if its alphabet and length make it harmless in a log line.
pub fn request_id(fields: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = fields.get_all(X_REQUEST_ID).iter();
    let first = values.next()?;
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-');
    let fits = (20..=200).contains(&first.len()) && first.as_bytes().iter().all(plain);
    (fits && values.next().is_none()).then_some(first)
}

/// Clients in the order of their hops, our own peer last, which alone can be trusted.
pub fn forwarded_for(fields: &HeaderMap, peer: IpAddr) -> HeaderValue {
    let peer = peer.to_canonical();
    let mut list = Vec::new();
    for value in fields.get_all(X_FORWARDED_FOR) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(peer.to_string().as_bytes());
    HeaderValue::from_maybe_shared(list).unwrap_or_else(|_| value(&peer.to_string()))
}

/// A value from a text that was a field's value or an address before.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("it was read from a field, or made of digits")
}

/// Fields of one hop; a proxy ends them (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a client may not tell a dyno, since dynos trust the router to have said it.
const OURS: [&str; 10] = [
    "expect",
    "forwarded",
    "host",
    "x-forwarded-by",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

/// Whether a request's field of this name goes on as it is.
fn passes_to_dyno(name: &str) -> bool {
    let is_special = |name: &str| HOP_BY_HOP.contains(&name) || OURS.contains(&name);
    if is_special(name) || name == "x-request-start" {
        return false;
    }
    // CGI-like servers fold `_` and `-` into one name, so `Content_Length` would become a second
    // Content-Length there (CVE-2015-0219 and its kin).
    if name.contains('_') {
        let folded = name.replace('_', "-");
        return !is_special(&folded)
            && !folded.starts_with("x-forwarded-")
            && !matches!(folded.as_str(), "content-length" | "x-request-start");
    }
    true
}

/// The fields that Connection names.
enum NamedByConnection {
    None,
    Some(Vec<String>),
}

impl NamedByConnection {
    fn of(fields: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for value in fields.get_all(header::CONNECTION) {
            for token in rules::tokens(value.as_bytes()) {
                let token = String::from_utf8_lossy(token).to_ascii_lowercase();
                if !is_kept_though_named(&token) {
                    names.push(token);
                }
            }
        }
        if names.is_empty() {
            Self::None
        } else {
            Self::Some(names)
        }
    }

    fn strips(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::Some(names) => names.iter().any(|named| named == name),
        }
    }
}

/// A peer that names these wants to change what a message means, not to end a field (156 to 158).
fn is_kept_though_named(name: &str) -> bool {
    matches!(
        name,
        "host" | "content-length" | "close" | "keep-alive" | "upgrade" | "via" | "set-cookie"
    ) || name.starts_with("x-forwarded-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        map
    }

    fn lines(map: &HeaderMap) -> Vec<String> {
        let line = |(n, v): (&HeaderName, &HeaderValue)| format!("{n}: {}", v.to_str().unwrap());
        let mut lines: Vec<String> = map.iter().map(line).collect();
        lines.sort();
        lines
    }

    fn check_request(fields: &[(&'static str, &'static str)], upgrade: Option<&str>, own: &[&str]) {
        let arrival = Arrival {
            authority: "a.b:8080",
            peer: "::ffff:1.2.3.4".parse().unwrap(),
            port: 8080,
            at_ms: 17,
            request_id: &HeaderValue::from_static("id"),
            upgrade,
        };
        let mut wanted: Vec<String> = own.iter().map(|line| (*line).to_owned()).collect();
        for line in [
            "host: a.b:8080",
            "x-forwarded-proto: http",
            "x-forwarded-port: 8080",
            "x-request-start: 17",
            "x-request-id: id",
        ] {
            wanted.push(line.to_owned());
        }
        for (name, line) in [
            ("x-forwarded-for", "x-forwarded-for: 1.2.3.4"),
            ("via", "via: 1.1 heroku-router"),
        ] {
            if !own.iter().any(|own| own.starts_with(name)) {
                wanted.push(line.to_owned());
            }
        }
        wanted.sort();
        assert_eq!(
            lines(&to_dyno(&map(fields), &arrival)),
            wanted,
            "{fields:?}"
        );
    }

    #[test]
    fn requests() {
        check_request(&[("host", "x"), ("accept", "*/*")], None, &["accept: */*"]);
        check_request(
            &[
                ("x-forwarded-for", "9.9.9.9"),
                ("x-forwarded-for", "8.8.8.8"),
            ],
            None,
            &["x-forwarded-for: 9.9.9.9, 8.8.8.8, 1.2.3.4"],
        );
        check_request(
            &[
                ("x-forwarded-proto", "https"),
                ("x-forwarded-port", "1"),
                ("x-request-start", "1"),
                ("x-request-id", "client"),
                ("forwarded", "for=1"),
                ("x-real-ip", "1"),
                ("x-forwarded-host", "h"),
            ],
            None,
            &[],
        );
        // 89, 90, 165
        check_request(
            &[
                ("content_length", "5"),
                ("transfer_encoding", "chunked"),
                ("x_forwarded_for", "1"),
                ("x_forwarded-host", "1"),
                ("my_field", "kept"),
            ],
            None,
            &["my_field: kept"],
        );
        // 156 to 162
        check_request(
            &[
                ("connection", "close, X-Mine, host, content-length"),
                ("x-mine", "1"),
                ("content-length", "5"),
                ("te", "trailers"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "x"),
                ("upgrade", "h2c"),
                ("expect", "100-continue"),
            ],
            None,
            &["content-length: 5"],
        );
        check_request(
            &[
                ("connection", "keep-alive, upgrade"),
                ("upgrade", "websocket"),
            ],
            Some("websocket"),
            &["connection: upgrade", "upgrade: websocket"],
        );
    }

    #[test]
    fn responses() {
        let mut fields = map(&[
            ("connection", "close, x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("date", "d"),
            ("server", "s"),
            ("content-length", "3"),
        ]);
        let mut bodiless = fields.clone();
        to_client(&mut fields, false);
        let mut wanted = vec![
            "content-length: 3",
            "date: d",
            "server: s",
            "set-cookie: a=1",
            "set-cookie: b=2",
            "via: 1.1 heroku-router",
        ];
        assert_eq!(lines(&fields), wanted);
        to_client(&mut bodiless, true);
        wanted.remove(0);
        assert_eq!(lines(&bodiless), wanted);
    }

    #[test]
    fn request_ids() {
        for (id, kept) in [
            ("0123456789abcdefghij", true),
            ("0123456789+/=-ABCDEFGHIJ", true),
            ("0123456789abcdefghi", false),
            ("0123456789abcdefghij\"", false),
            ("0123456789 abcdefghij", false),
        ] {
            let fields = map(&[("x-request-id", id)]);
            assert_eq!(request_id(&fields).is_some(), kept, "{id}");
        }
        let id = "0123456789abcdefghij";
        let twice = map(&[("x-request-id", id), ("x-request-id", id)]);
        assert_eq!(request_id(&twice), None);
    }
}
