//! One request: judged, brought to a dyno (or a role of the platform), answered.
//!
//! The story of docs/router.md, with hyper on both sides: rules decide, this file acts. Called by
//! `client` for every request of a connection; dropped by it when the client leaves.

use crate::activity::Turn;
use crate::body::{Flow, RequestBody, ResponseBody};
use crate::client::{Conn, Door};
use crate::error::{Failure, Restriction};
use crate::headers::{self, Arrival};
use crate::ledger::{Progress, Record};
use crate::page::Page;
use crate::route::{Route, Using};
use crate::rules::{self, Judged};
use crate::timers::{Timers, unix_us};
use crate::wire::Wire;
use crate::{answer, deliver, platform};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use model::limits;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// A request that passed the rules.
pub(crate) struct Visit<'a> {
    pub(crate) conn: &'a Rc<Conn>,
    pub(crate) parts: &'a Parts,
    pub(crate) judged: &'a Judged<'a>,
    pub(crate) flow: Rc<Flow>,
    pub(crate) has_body: bool,
    pub(crate) request_id: HeaderValue,
    pub(crate) at_ms: u64,
    /// The client's bytes, if it asked for a tunnel.
    pub(crate) upgrade: Option<OnUpgrade>,
}

/// Answers a request.
pub(crate) async fn answer(conn: Rc<Conn>, request: Request<Incoming>) -> Response<ResponseBody> {
    let turn = conn.activity.begin();
    let (mut parts, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    let flow = Rc::new(Flow::new(body));
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let judged = match rules::request(&line(&parts, has_body), fields(&parts.headers)) {
        Ok(judged) => judged,
        Err(refusal) => {
            let page = Page::refused(refusal.status, refusal.reason);
            return answer::closing(answer::page(&page, turn));
        }
    };
    let id = || answer::value(&conn.worker.request_id().to_string());
    let visit = Visit {
        conn: &conn,
        parts: &parts,
        judged: &judged,
        flow,
        has_body,
        request_id: headers::request_id(&parts.headers)
            .cloned()
            .unwrap_or_else(id),
        at_ms: unix_us() / 1000,
        upgrade,
    };
    let shared = &conn.worker.shared;
    if conn.door == Door::Loopback || shared.platform.has(&judged.host) {
        return platform::answer(visit, turn).await;
    }
    let Some(route) = shared.table.lookup(&judged.host) else {
        let page = answer::page(&Page::no_such_app(&judged.host), turn);
        return answer::closing_if(has_body, page);
    };
    app(visit, route, turn).await
}

/// Answers a request of an app, whatever happens to it.
async fn app(mut visit: Visit<'_>, route: Arc<Route>, turn: Turn) -> Response<ResponseBody> {
    let mut record = visit.record(&route);
    match ask(&mut visit, &route, &mut record).await {
        Ok(answered) => deliver::pass_on(visit, answered, record, turn),
        Err(failure) => {
            record.close(Err(failure));
            let app = route.shape().app_name.to_string();
            let id = record.request_id.to_str().unwrap_or_default();
            let page = answer::page(&Page::of_failure(failure, &app, id), turn);
            answer::closing_if(!visit.flow.was_sent() && visit.has_body, page)
        }
    }
}

/// A dyno's answer, judged, with what it came over.
pub(crate) struct Answered {
    pub(crate) response: Response<Incoming>,
    pub(crate) wire: Wire,
    pub(crate) using: Using,
}

/// Finds a dyno, connects, sends, and waits for the response's head; tries again where that is
/// safe.
async fn ask(
    visit: &mut Visit<'_>,
    route: &Arc<Route>,
    record: &mut Record,
) -> Result<Answered, Failure> {
    let expectations = visit.parts.headers.get_all(header::EXPECT);
    rules::expect(expectations.iter().map(HeaderValue::as_bytes))?;
    record.entered = Some(route.enter()?);
    let worker = Rc::clone(&record.worker);
    let timers = &worker.shared.timers;
    let deadline = Instant::now() + timers.boot;
    let (mut attempts, mut trusts_pool) = (0, true);
    loop {
        let held = &worker.shared.held;
        let using = route.dyno(deadline, held, || worker.random()).await?;
        record.state.dyno = Some(Arc::clone(&using.dyno));
        let begun = Instant::now();
        let pooled = worker
            .pool
            .take(&using.dyno, using.address)
            .filter(|_| trusts_pool);
        let connected = match pooled {
            Some(wire) => Ok(wire),
            None => connect(&using, timers).await,
        };
        record.state.connect = Some(begun.elapsed());
        let mut wire = match connected {
            Ok(wire) => wire,
            Err(failure) => {
                using.dyno.quarantine(timers.quarantine);
                attempts += 1;
                let most = route.dynos().clamp(1, limits::CONNECT_ATTEMPTS_MAX);
                if attempts >= most || Instant::now() >= deadline {
                    return Err(failure);
                }
                continue;
            }
        };
        record.state.connected_at = Some(Instant::now());
        match visit.send(&mut wire, timers).await {
            Ok(response) => {
                judge(visit, &response)?;
                return Ok(Answered {
                    response,
                    wire,
                    using,
                });
            }
            Err(failure) if failure == Failure::NoResponse && visit.may_repeat(&wire) => {
                // The dyno closed an idle connection while we took it: others may be as stale.
                trusts_pool = false;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Connects to a dyno; an error is one more attempt used up.
async fn connect(using: &Using, timers: &Timers) -> Result<Wire, Failure> {
    match tokio::time::timeout(timers.connect, Wire::tcp(using.address)).await {
        Ok(Ok(wire)) => Ok(wire),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
            Err(Failure::ConnectTimeout)
        }
        Ok(Err(_)) => Err(Failure::ConnectRefused),
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

fn judge(visit: &Visit<'_>, response: &Response<Incoming>) -> Result<(), Failure> {
    let line = rules::StatusLine {
        status: response.status(),
        reason: response
            .extensions()
            .get::<ReasonPhrase>()
            .map(AsRef::as_ref),
        asked: visit.judged.upgrade,
    };
    rules::response(&line, fields(response.headers()))
}

impl Visit<'_> {
    fn record(&self, route: &Arc<Route>) -> Record {
        Record {
            worker: Rc::clone(&self.conn.worker),
            activity: Arc::clone(&self.conn.activity),
            app: route.app,
            method: self.parts.method.clone(),
            path: self.parts.uri.path_and_query().cloned(),
            host: self.judged.host.as_ref().into(),
            request_id: self.request_id.clone(),
            fwd: headers::forwarded_for(&self.parts.headers, self.conn.peer),
            entered: None,
            state: Progress::default(),
        }
    }

    /// The request as the other side gets it.
    pub(crate) fn outgoing(&self) -> Request<RequestBody> {
        let arrival = Arrival {
            authority: self.judged.authority,
            peer: self.conn.peer,
            port: self.conn.port,
            at_ms: self.at_ms,
            request_id: &self.request_id,
            upgrade: self.judged.upgrade,
        };
        let mut request = Request::new(RequestBody(Rc::clone(&self.flow)));
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = origin_form(&self.parts.uri);
        *request.headers_mut() = headers::to_dyno(&self.parts.headers, &arrival);
        if self.has_body && !request.headers().contains_key(header::CONTENT_LENGTH) {
            // Said aloud, since hyper takes a GET without a length for one without a body.
            let chunked = HeaderValue::from_static("chunked");
            request
                .headers_mut()
                .insert(header::TRANSFER_ENCODING, chunked);
        }
        request
    }

    /// Sends the request over a wire and waits for the head of the response.
    async fn send(&self, wire: &mut Wire, timers: &Timers) -> Result<Response<Incoming>, Failure> {
        self.flow.begin();
        let request = self.outgoing();
        let sent = tokio::select! {
            biased;
            sent = wire.send(request) => sent,
            failure = self.flow.overdue(timers) => return Err(failure),
        };
        sent.map_err(|error| self.failure_of(&error, wire))
    }

    /// Why there is no response.
    pub(crate) fn failure_of(&self, error: &hyper::Error, wire: &Wire) -> Failure {
        if let Some(fault) = self.flow.fault() {
            return fault;
        }
        if error.is_parse_too_large() {
            return Failure::Restriction(Restriction::Header);
        }
        if error.is_parse() {
            // hyper has no question for this one; an end-to-end test holds the text.
            let is_length = error.to_string().contains("content-length");
            return if is_length {
                Failure::Restriction(Restriction::ContentLength)
            } else {
                Failure::BadResponse
            };
        }
        if wire.has_heard() {
            Failure::DynoCut
        } else {
            Failure::NoResponse
        }
    }

    /// Whether the request may be sent again after its connection closed without a byte: only where
    /// that is what idle connections do, and nothing is lost or done twice (docs/router.md, "Pool
    /// and retry").
    pub(crate) fn may_repeat(&self, wire: &Wire) -> bool {
        let is_safe = !self.has_body || rules::is_idempotent(&self.parts.method);
        wire.is_reused && !wire.has_heard() && is_safe && self.flow.is_untouched()
    }
}

fn line(parts: &Parts, has_body: bool) -> rules::Line<'_> {
    rules::Line {
        method: parts.method.as_str(),
        scheme: parts.uri.scheme_str(),
        authority: parts.uri.authority().map(http::uri::Authority::as_str),
        path: parts.uri.path_and_query().map_or("", PathAndQuery::as_str),
        is_http_11: parts.version == Version::HTTP_11,
        has_body,
    }
}

fn fields(map: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    map.iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// Path and query alone, byte for byte.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned();
    path.map_or_else(Uri::default, Uri::from)
}
