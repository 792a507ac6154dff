//! Judgement of requests and responses: pure rules over a line and `(name, value)` fields.
//!
//! Input is what any parser of HTTP shows; the parser itself (hyper today) has already refused what
//! is no HTTP. Source: docs/router.md, "Decisions", whose numbers stand beside the tests. Called by
//! `exchange` for every request before a dyno is chosen, and for every response before it is passed
//! on. What hyper hides from us is not judged here: bare LF, fragments, and a Content-Length beside
//! a Transfer-Encoding (hyper drops the length and closes after the answer, as Heroku does).

use crate::error::{Failure, Restriction};
use http::StatusCode;
use model::limits;
use std::borrow::Cow;

/// The request line, in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The method as it was sent.
    pub method: &'a str,
    /// Of an absolute target.
    pub scheme: Option<&'a str>,
    /// Of an absolute target; alone it is the form that only CONNECT has.
    pub authority: Option<&'a str>,
    /// Path and query, or `*`.
    pub path: &'a str,
    /// HTTP/1.1, else 1.0.
    pub is_http_11: bool,
    /// Whether a body follows.
    pub has_body: bool,
}

/// A request that may be passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged<'a> {
    /// The host to look up: lower case, without port and trailing dot.
    pub host: Cow<'a, str>,
    /// The value of the Host field for the dyno.
    pub authority: &'a str,
    /// The protocols it asks to switch to, if it may have a tunnel.
    pub upgrade: Option<&'a str>,
}

/// A request that is refused before its app is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 405 or 501.
    pub status: StatusCode,
    /// One sentence for the person.
    pub reason: &'static str,
}

const fn bad(reason: &'static str) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        reason,
    }
}

/// Judges a request; fields in the order they came.
pub fn request<'a, I>(line: &Line<'a>, fields: I) -> Result<Judged<'a>, Refusal>
where
    I: Iterator<Item = (&'a str, &'a [u8])>,
{
    request_line(line)?;
    let fields = Fields::gather(fields)?;
    fields.framing()?;
    let own = fields.host.ok_or(bad("The Host field is missing."))?;
    host(own)?;
    let authority = line.authority.unwrap_or(own);
    let host = host(authority)?;
    let may_switch = line.is_http_11 && !line.has_body && fields.connection_upgrade;
    Ok(Judged {
        host,
        authority,
        upgrade: fields.upgrade.filter(|_| may_switch),
    })
}

fn request_line(line: &Line<'_>) -> Result<(), Refusal> {
    if line.method == "CONNECT" {
        return Err(Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            reason: "CONNECT is not offered.",
        });
    }
    if line.method.len() > limits::METHOD_MAX_BYTES {
        return Err(bad("The method is too long."));
    }
    let target = line.path.len()
        + line.authority.map_or(0, str::len)
        + line.scheme.map_or(0, |scheme| scheme.len() + 3);
    if line.method.len() + target + " ".len() + " HTTP/1.1".len() > limits::HEAD_LINE_MAX_BYTES {
        return Err(bad("The request line is longer than 8192 bytes."));
    }
    match (line.scheme, line.authority) {
        (None, None) if line.path.starts_with('/') => {}
        (None, None) if line.path == "*" && line.method == "OPTIONS" => {}
        (Some("http" | "https"), Some(_)) => {}
        (Some(_), _) => return Err(bad("The target has a scheme other than http.")),
        (None, _) => return Err(bad("The target does not start with a slash.")),
    }
    if line.path.contains('#') {
        return Err(bad("The target has a fragment."));
    }
    Ok(())
}

/// The fields that decide, gathered in one pass.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a str>,
    length: Option<&'a [u8]>,
    coding: Option<&'a [u8]>,
    coding_lines: u32,
    upgrade: Option<&'a str>,
    connection_upgrade: bool,
}

impl<'a> Fields<'a> {
    fn gather(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Self, Refusal> {
        let mut found = Self::default();
        let (mut count, mut bytes) = (0, 0);
        for (name, value) in fields {
            count += 1;
            let line = name.len() + ": ".len() + value.len();
            bytes += line + "\r\n".len();
            if name.len() > limits::FIELD_NAME_MAX_BYTES {
                return Err(bad("A field name is longer than 1000 bytes."));
            }
            if line > limits::HEAD_LINE_MAX_BYTES {
                return Err(bad("A field is longer than 8192 bytes."));
            }
            if count > limits::FIELDS_MAX || bytes > limits::REQUEST_HEAD_MAX_BYTES {
                return Err(bad("The request has too many fields."));
            }
            found.note(name, value)?;
        }
        Ok(found)
    }

    fn note(&mut self, name: &str, value: &'a [u8]) -> Result<(), Refusal> {
        if name.eq_ignore_ascii_case("host") {
            let text = std::str::from_utf8(value).map_err(|_| bad(HOST))?;
            if self.host.replace(text).is_some() {
                return Err(bad("There are two Host fields."));
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            if self.length.replace(value).is_some_and(|old| old != value) {
                return Err(bad("There are two different lengths."));
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.coding_lines += 1;
            self.coding = Some(value);
        } else if name.eq_ignore_ascii_case("connection") {
            self.connection_upgrade |= tokens(value).any(|t| t.eq_ignore_ascii_case(b"upgrade"));
        } else if name.eq_ignore_ascii_case("upgrade") {
            // HTTP/2 without TLS by upgrade is never offered (docs/router.md, 159 to 162).
            let text = std::str::from_utf8(value).ok();
            self.upgrade = text.filter(|text| !has_token(text.as_bytes(), b"h2c"));
        }
        Ok(())
    }

    fn framing(&self) -> Result<(), Refusal> {
        if let Some(length) = self.length
            && (length.is_empty() || length.len() > 19 || !length.iter().all(u8::is_ascii_digit))
        {
            return Err(bad("The Content-Length is no number."));
        }
        let Some(coding) = self.coding else {
            return Ok(());
        };
        if self.length.is_some() {
            return Err(bad(
                "There are both a Content-Length and a Transfer-Encoding.",
            ));
        }
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        if self.coding_lines == 1 && is_chunked(coding) {
            return Ok(());
        }
        // More than one time `chunked`, or an empty element, is an attempt to confuse.
        if self.coding_lines > 1 || raw_tokens(coding).all(|t| t.is_empty() || is_chunked(t)) {
            return Err(bad("The Transfer-Encoding cannot be read."));
        }
        Err(Refusal {
            status: StatusCode::NOT_IMPLEMENTED,
            reason: "The only transfer coding that is understood is chunked.",
        })
    }
}

/// Judges the Expect fields of a request whose app is known: 417 unless `100-continue`.
pub fn expect<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<(), Failure> {
    if values.all(|value| value.eq_ignore_ascii_case(b"100-continue")) {
        Ok(())
    } else {
        Err(Failure::BadExpect)
    }
}

const HOST: &str = "The host name cannot be read.";

/// The host of an authority, as the route table has it.
fn host(authority: &str) -> Result<Cow<'_, str>, Refusal> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inner, port) = rest.split_once(']').ok_or(bad(HOST))?;
            inner.parse::<std::net::Ipv6Addr>().map_err(|_| bad(HOST))?;
            let name = authority.get(..inner.len() + 2).ok_or(bad(HOST))?;
            (name, port)
        }
        None => match authority.find(':') {
            Some(at) => authority.split_at(at),
            None => (authority, ""),
        },
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let port_is_good = port.is_empty()
        || (port.starts_with(':')
            && digits.bytes().all(|b| b.is_ascii_digit())
            && (digits.is_empty() || digits.parse::<u16>().is_ok()));
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let name_is_good =
        name.starts_with('[') || (name.len() <= 253 && name.bytes().all(plain) && name != ".");
    if name.is_empty() || !name_is_good || !port_is_good {
        return Err(bad(HOST));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(Cow::Owned(name.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(name))
}

/// The first line of a response.
#[derive(Clone, Copy, Debug)]
pub struct StatusLine<'a> {
    /// The status, never one of the interim ones but 101.
    pub status: StatusCode,
    /// The reason phrase, when it is not the usual one of the status.
    pub reason: Option<&'a [u8]>,
    /// What the request asked to switch to.
    pub asked: Option<&'a str>,
}

/// Judges a response's head; the dyno is as hostile as a client.
pub fn response<'a, I>(line: &StatusLine<'_>, fields: I) -> Result<(), Failure>
where
    I: Iterator<Item = (&'a str, &'a [u8])>,
{
    match line.reason {
        Some(b"") => return Err(Failure::BadResponse),
        Some(reason) if reason.len() > limits::HEAD_LINE_MAX_BYTES - "HTTP/1.1 200 ".len() => {
            return Err(Failure::Restriction(Restriction::StatusLine));
        }
        _ => {}
    }
    let (mut lengths, mut codings, mut coding_is_chunked) = (0, 0, false);
    let mut switched_to: Option<&[u8]> = None;
    for (name, value) in fields {
        let size = name.len() + ": ".len() + value.len();
        if name.eq_ignore_ascii_case("set-cookie") && size > limits::HEAD_LINE_MAX_BYTES {
            return Err(Failure::Restriction(Restriction::Cookie));
        }
        if size > limits::RESPONSE_LINE_MAX_BYTES {
            return Err(Failure::Restriction(Restriction::Header));
        }
        if name.eq_ignore_ascii_case("content-length") {
            lengths += 1;
            let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            if !is_number || value.len() > 19 {
                return Err(Failure::Restriction(Restriction::ContentLength));
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            codings += 1;
            coding_is_chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case("upgrade") {
            switched_to = Some(value);
        }
    }
    if lengths > 1 || (lengths > 0 && codings > 0) {
        return Err(Failure::Restriction(Restriction::ContentLength));
    }
    if codings > 1 || (codings == 1 && !coding_is_chunked) {
        return Err(Failure::UnknownFraming);
    }
    if line.status == StatusCode::SWITCHING_PROTOCOLS {
        let asked = line.asked.unwrap_or_default();
        return match switched_to {
            Some(to) if has_token(asked.as_bytes(), to) => Ok(()),
            _ => Err(Failure::UnknownFraming),
        };
    }
    Ok(())
}

/// The elements of a comma list, without the white space around them; empty ones too.
fn raw_tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

/// The elements of a comma list.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw_tokens(value).filter(|token| !token.is_empty())
}

fn has_token(value: &[u8], wanted: &[u8]) -> bool {
    tokens(value).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// Whether a request may be sent a second time (RFC 9110, 9.2.2).
pub fn is_idempotent(method: &http::Method) -> bool {
    matches!(
        method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE"
    )
}

#[cfg(test)]
mod tests;
