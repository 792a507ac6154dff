//! The API as the commands see it: JSON in, JSON out, a [`Failure`] for every status above 399.

use crate::account::Account;
use crate::failure::{FAILED, Failure};
use http::Method;
use link::http::Body;
use serde_json::Value;

/// A signed-in client.
#[derive(Debug)]
pub(crate) struct Client {
    http: link::http::Client,
    /// Who is signed in.
    pub(crate) account: Account,
}

impl Client {
    /// A client for whoever is signed in.
    pub(crate) fn signed_in() -> Result<Self, Failure> {
        Self::of(Account::load()?)
    }

    /// A client for an account that need not be saved.
    pub(crate) fn of(account: Account) -> Result<Self, Failure> {
        let http = link::http::Client::new(&account.api_url)?.with_bearer(&account.token);
        Ok(Self { http, account })
    }

    /// Asks and takes the answer's JSON.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let answer = self.http.ask(method, path, body).await?;
        if answer.status.is_client_error() || answer.status.is_server_error() {
            return Err(self.refused(answer.status.as_u16(), &answer.body));
        }
        Ok(serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await
    }

    /// GET of a list with a Range, as Heroku's API pages.
    pub(crate) async fn range(&self, path: &str, range: &str) -> Result<Value, Failure> {
        let request = self
            .http
            .request(Method::GET, path)
            .header(http::header::RANGE, range)
            .body(Body::empty());
        let request = request.map_err(|error| Failure::usage(error.to_string()))?;
        let (head, body) = self.http.send(request).await?.into_parts();
        let bytes = read(body).await?;
        if head.status.is_client_error() || head.status.is_server_error() {
            return Err(self.refused(head.status.as_u16(), &bytes));
        }
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// A stream that needs no token: its URL is the secret.
    pub(crate) async fn stream(&self, url: &str) -> Result<hyper::body::Incoming, Failure> {
        let (http, path) = split(url)?;
        let request = http
            .request(Method::GET, &path)
            .header(http::header::ACCEPT, "text/plain")
            .body(Body::empty());
        let request = request.map_err(|error| Failure::usage(error.to_string()))?;
        let (head, body) = http.send(request).await?.into_parts();
        if head.status.is_success() {
            Ok(body)
        } else {
            Err(Failure::new(format!(
                "the stream was refused ({})",
                head.status
            )))
        }
    }

    /// A GET whose answer is no JSON and has no end that is known.
    pub(crate) async fn download(&self, path: &str) -> Result<hyper::body::Incoming, Failure> {
        let request = self.http.request(Method::GET, path).body(Body::empty());
        let request = request.map_err(|error| Failure::usage(error.to_string()))?;
        let (head, body) = self.http.send(request).await?.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        Err(self.refused(head.status.as_u16(), &read(body).await?))
    }

    /// What a status above 399 means.
    pub(crate) fn refused(&self, status: u16, body: &[u8]) -> Failure {
        let error: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let text = |key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
        let message = text("message")
            .unwrap_or_else(|| format!("the platform answered {status} without a reason"));
        if status == 401 {
            return Failure::signed_out(format!(
                "{} does not take this token: {message}",
                self.account.api_url
            ));
        }
        Failure {
            exit: FAILED,
            id: text("id").unwrap_or_else(|| "failed".to_owned()),
            message,
            hint: None,
        }
    }
}

/// The server and the path of a whole URL.
pub(crate) fn split(url: &str) -> Result<(link::http::Client, String), Failure> {
    let bad = || {
        Failure::new(format!(
            "the platform gave a URL that cannot be used: {url}"
        ))
    };
    let rest = url.strip_prefix("http://").ok_or_else(bad)?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    Ok((
        link::http::Client::new(&format!("http://{host}"))?,
        path.to_owned(),
    ))
}

/// A body that is no stream.
pub(crate) async fn read(body: hyper::body::Incoming) -> Result<bytes::Bytes, Failure> {
    use http_body_util::BodyExt as _;
    let limited = http_body_util::Limited::new(body, model::limits::API_BODY_MAX_BYTES * 16);
    let collected = limited
        .collect()
        .await
        .map_err(|error| Failure::new(format!("the answer was cut: {error}")))?;
    Ok(collected.to_bytes())
}
