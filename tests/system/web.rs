//! HTTP as a browser would speak it, by hand, so that every byte is the test's own.

use crate::platform::Platform;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Platform {
    /// GET of a path of an app through the router.
    pub(crate) fn get(&self, app: &str, path: &str) -> Reply {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {app}.paas.localhost:{}\r\nConnection: close\r\n\r\n",
            self.http_port
        ))
    }

    /// Any bytes to the router, and what it answers until it closes.
    pub(crate) fn ask(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http_port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(90)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
        let is_chunked = head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked");
        let body = if is_chunked {
            unchunked(body)
        } else {
            body.to_owned()
        };
        Reply { status, body }
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        let (chunk, rest) = rest.split_at(size);
        whole.push_str(chunk);
        body = rest.strip_prefix("\r\n").unwrap();
    }
    whole
}

impl Platform {
    /// GET of a path of the API with the signed-in token.
    pub(crate) fn api(&self, path: &str) -> serde_json::Value {
        let token = self.paas(&["auth:token"]).ok().stdout;
        let reply = self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: api.paas.localhost\r\nAuthorization: Bearer {}\r\nAccept: application/vnd.heroku+json; version=3\r\nConnection: close\r\n\r\n",
            token.trim()
        ));
        serde_json::from_str(&reply.body).unwrap_or_else(|_| panic!("{path}: {reply:?}"))
    }
}
