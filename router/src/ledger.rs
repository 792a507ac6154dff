//! The books of one request: its log line, and what it holds until it is over.
//!
//! A [`Record`] writes its line when it is closed, or, when it is dropped open, as the client's
//! departure (hyper drops what nobody waits for). A [`Ledger`] is a record whose response is under
//! way, with the dyno and the connection it occupies; it is the one place where a connection goes
//! back to the pool.

use crate::access::Line;
use crate::activity::Activity;
use crate::body::Flow;
use crate::error::Failure;
use crate::route::{Dyno, Entered, Using};
use crate::wire::{Ending, Wire};
use crate::worker::Worker;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode};
use model::app;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What the log line of a request will say.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) worker: Rc<Worker>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) app: app::Id,
    pub(crate) method: Method,
    pub(crate) path: Option<PathAndQuery>,
    pub(crate) host: Box<str>,
    pub(crate) request_id: HeaderValue,
    pub(crate) fwd: HeaderValue,
    /// The request counts for its app as long as it has a record.
    pub(crate) entered: Option<Entered>,
    pub(crate) state: Progress,
}

/// How far a request got.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) dyno: Option<Arc<Dyno>>,
    pub(crate) connect: Option<Duration>,
    pub(crate) connected_at: Option<Instant>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) bytes: u64,
    is_closed: bool,
}

impl Record {
    /// Writes the line.
    pub(crate) fn close(&mut self, ended: Result<(), Failure>) {
        if std::mem::replace(&mut self.state.is_closed, true) {
            return;
        }
        let state = &self.state;
        let failure = ended.err().map(Failure::facts);
        let status = match failure {
            Some(facts) => facts.status,
            None => state.status,
        };
        let path = self.path.as_ref().map_or("/", PathAndQuery::as_str);
        self.worker.log.line(
            self.app,
            &Line {
                failure,
                method: self.method.as_str(),
                path,
                host: &self.host,
                request_id: self.request_id.as_bytes(),
                fwd: self.fwd.as_bytes(),
                dyno: state.dyno.as_ref().map(|dyno| dyno.name.as_str()),
                connect: state.connect,
                service: state.connected_at.map(|at| at.elapsed()),
                status: status.map(|status| status.as_u16()),
                bytes: state.connected_at.map(|_| state.bytes),
            },
        );
        self.entered = None;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let why = if std::thread::panicking() {
            Failure::Platform
        } else if self.worker.shared.is_forced.load(Ordering::Relaxed) {
            Failure::ForcedClose
        } else if self.activity.has_stalled() {
            Failure::ClientIdle
        } else {
            Failure::ClientCut
        };
        self.close(Err(why));
    }
}

/// A request whose response is on its way.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) flow: Rc<Flow>,
    /// Requests of the platform's own hosts have none.
    pub(crate) record: Option<Record>,
    /// None once it went back to the pool, or when its bytes became a tunnel's.
    pub(crate) wire: Option<Wire>,
    pub(crate) using: Option<Using>,
    /// The response said that its connection stays open.
    pub(crate) is_persistent: bool,
}

impl Ledger {
    /// Bytes of the body went on to the client.
    pub(crate) fn count(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.state.bytes += bytes as u64;
        }
    }

    /// The response is over. A whole one leaves its connection to the next request.
    pub(crate) fn close(&mut self, ended: Result<(), Failure>) {
        let Some(record) = &mut self.record else {
            self.wire = None;
            return;
        };
        record.close(ended);
        let ending = Ending {
            request_was_sent: self.flow.was_sent(),
            is_persistent: self.is_persistent,
        };
        if let (Ok(()), Some(wire), Some(using)) = (ended, self.wire.take(), &self.using)
            && let Some(wire) = wire.reusable(ending)
        {
            record.worker.pool.keep(&using.dyno, using.address, wire);
        }
        self.using = None;
    }
}
