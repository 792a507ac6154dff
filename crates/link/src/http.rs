//! A small HTTP/1.1 client for `paas` and what else speaks to the platform over HTTP.
//!
//! Names below `.localhost` are loopback by RFC 6761, whatever the resolver says: plain glibc does
//! not know that. One connection a request, no redirects, no proxies, bodies streamed both ways.

mod body;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::limits::{CONNECT_TIMEOUT_MS, HTTP_ANSWER_MAX_BYTES};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

pub use body::Body;

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Client {
    place: Place,
    /// `http://api.paas.localhost:8080`, without a slash at the end.
    base: String,
    bearer: Option<String>,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: http::HeaderMap,
    /// Its body, at most [`HTTP_ANSWER_MAX_BYTES`].
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base URL is no `http://HOST[:PORT]`.
    #[error("use the address {url}: it has the form http://HOST or http://HOST:PORT")]
    BadUrl {
        /// As given.
        url: String,
    },
    /// The request cannot be sent: its path or a header is none.
    #[error("make a request")]
    BadRequest(#[from] http::Error),
    /// Nothing answers there.
    #[error("reach {url}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("hear from {url}")]
    Broken {
        /// Where.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The body is no such JSON.
    #[error("understand the answer")]
    Json(#[from] serde_json::Error),
}

impl Client {
    /// A client of the server at `http://HOST[:PORT]`.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`]; https, too, is refused.
    pub fn new(base: &str) -> Result<Self, ClientError> {
        let bad = || ClientError::BadUrl {
            url: base.to_owned(),
        };
        let uri: Uri = base.parse().map_err(|_| bad())?;
        let is_plain = uri.scheme_str() == Some("http")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none();
        let authority = uri.authority().filter(|_| is_plain).ok_or_else(bad)?;
        if authority.as_str().contains('@') {
            return Err(bad());
        }
        Ok(Self {
            place: Place::Tcp {
                host: authority.host().to_owned(),
                port: authority.port_u16().unwrap_or(80),
            },
            base: format!("http://{authority}"),
            bearer: None,
        })
    }

    /// A client of a server on a Unix socket; `host` goes into the requests' Host header.
    pub fn unix(socket: &Path, host: &str) -> Self {
        Self {
            place: Place::Unix(socket.to_owned()),
            base: format!("http://{host}"),
            bearer: None,
        }
    }

    /// The same client with a token for every request.
    #[must_use]
    pub fn with_bearer(mut self, token: &str) -> Self {
        self.bearer = Some(token.to_owned());
        self
    }

    /// The base URL, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Starts a request for a path that begins with a slash; Host, Accept and the token are set.
    pub fn request(&self, method: http::Method, path: &str) -> http::request::Builder {
        let host = self.base.trim_start_matches("http://");
        let builder = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/vnd.heroku+json; version=3")
            .header(
                header::USER_AGENT,
                concat!("paas/", env!("CARGO_PKG_VERSION")),
            );
        match &self.bearer {
            Some(token) => builder.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => builder,
        }
    }

    /// Sends a request and gives the answer as soon as its head is there; its body is read by the
    /// caller, without any time limit but the caller's.
    ///
    /// # Errors
    /// When the server cannot be reached or does not speak HTTP. A status is no error.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, ClientError> {
        let connect = Duration::from_millis(CONNECT_TIMEOUT_MS);
        let stream = tokio::time::timeout(connect, self.connect())
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(|source| ClientError::Unreachable {
                url: self.base.clone(),
                source,
            })?;
        match stream {
            Stream::Tcp(stream) => self.exchange(stream, request).await,
            Stream::Unix(stream) => self.exchange(stream, request).await,
        }
    }

    /// Sends a request with a body of JSON, or with none, and reads the whole answer.
    ///
    /// # Errors
    /// As [`Client::send`], and when the answer is over [`HTTP_ANSWER_MAX_BYTES`].
    pub async fn ask(
        &self,
        method: http::Method,
        path: &str,
        json: Option<&serde_json::Value>,
    ) -> Result<Answer, ClientError> {
        let builder = self.request(method, path);
        let request = match json {
            Some(value) => builder
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::whole(value.to_string()))?,
            None => builder.body(Body::empty())?,
        };
        let (head, body) = self.send(request).await?.into_parts();
        let body = http_body_util::Limited::new(body, HTTP_ANSWER_MAX_BYTES)
            .collect()
            .await
            .map_err(|source| self.broken(source))?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    async fn connect(&self) -> std::io::Result<Stream> {
        match &self.place {
            Place::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
            Place::Tcp { host, port } if is_local(host) => {
                let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
                Ok(Stream::Tcp(TcpStream::connect((loopback, *port)).await?))
            }
            Place::Tcp { host, port } => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                Ok(Stream::Tcp(TcpStream::connect((host, *port)).await?))
            }
        }
    }

    async fn exchange<S>(
        &self,
        stream: S,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, ClientError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| self.broken(source))?;
        // It ends with the answer's body, or when that is dropped.
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
        sender
            .send_request(request)
            .await
            .map_err(|source| self.broken(source))
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken {
            url: self.base.clone(),
            source: source.into(),
        }
    }
}

impl Answer {
    /// Reads the body as JSON.
    ///
    /// # Errors
    /// [`ClientError::Json`].
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ClientError> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

fn is_local(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
