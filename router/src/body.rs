//! Bodies on their way through the router, a frame at a time: nothing is read from one side that
//! the other has not room for.
//!
//! [`Flow`] is what both directions of one exchange know of each other: when the request was sent
//! whole, when a byte moved last, which side is at fault. It belongs to one thread.

use crate::activity::Turn;
use crate::error::Failure;
use crate::ledger::Ledger;
use crate::timers::Timers;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// The state that request and response of one exchange share.
#[derive(Debug)]
pub(crate) struct Flow {
    /// The client's body; none once it was read to its end.
    incoming: RefCell<Option<Incoming>>,
    sent_at: Cell<Option<Instant>>,
    moved_at: Cell<Instant>,
    has_begun: Cell<bool>,
    waits_for_client: Cell<bool>,
    fault: Cell<Option<Failure>>,
}

impl Flow {
    /// Takes a client's body over.
    pub(crate) fn new(incoming: Incoming) -> Self {
        let incoming = Some(incoming).filter(|body| !body.is_end_stream());
        Self {
            incoming: RefCell::new(incoming),
            sent_at: Cell::new(None),
            moved_at: Cell::new(Instant::now()),
            has_begun: Cell::new(false),
            waits_for_client: Cell::new(false),
            fault: Cell::new(None),
        }
    }

    /// Whether there is nothing to read, or no more.
    pub(crate) fn is_at_end(&self) -> bool {
        self.incoming.borrow().is_none()
    }

    /// Whether nothing of the body was taken from the client yet, so that it may be sent anew.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.has_begun.get()
    }

    /// Whether the request went out to its end.
    pub(crate) fn was_sent(&self) -> bool {
        self.sent_at.get().is_some()
    }

    /// What the client's side of the exchange did wrong.
    pub(crate) fn fault(&self) -> Option<Failure> {
        self.fault.get()
    }

    /// A request is about to be written; the first of its bodiless kind ends here.
    pub(crate) fn begin(&self) {
        self.moved();
        let sent = self.is_at_end().then(Instant::now);
        self.sent_at.set(sent);
    }

    fn moved(&self) {
        self.moved_at.set(Instant::now());
        self.waits_for_client.set(false);
    }

    fn ended(&self) {
        self.waits_for_client.set(false);
        self.incoming.borrow_mut().take();
        self.sent_at.set(Some(Instant::now()));
    }

    /// When the wait for the response's head is over, and why.
    fn head_deadline(&self, timers: &Timers) -> (Instant, Failure) {
        match self.sent_at.get() {
            Some(at) => (at + timers.first_byte, Failure::FirstByte),
            None => (self.moved_at.get() + timers.idle, self.silent()),
        }
    }

    /// Who is to blame for silence.
    fn silent(&self) -> Failure {
        if self.waits_for_client.get() {
            Failure::ClientIdle
        } else {
            Failure::DynoIdle
        }
    }

    /// Ends when the response's head is overdue.
    pub(crate) async fn overdue(&self, timers: &Timers) -> Failure {
        let step = timers.first_byte.min(timers.idle);
        loop {
            let now = Instant::now();
            let (deadline, failure) = self.head_deadline(timers);
            if now >= deadline {
                return failure;
            }
            // The deadline may come nearer when the request is sent: look again after a step.
            tokio::time::sleep_until(deadline.min(now + step).into()).await;
        }
    }
}

/// The client's body on its way to the dyno.
#[derive(Debug)]
pub(crate) struct RequestBody(pub(crate) Rc<Flow>);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let flow = &self.0;
        let polled = match flow.incoming.borrow_mut().as_mut() {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => return Poll::Ready(None),
        };
        match polled {
            Poll::Pending => {
                // Silence counts from here: until now the dyno may have kept us busy.
                if !flow.waits_for_client.replace(true) {
                    flow.moved_at.set(Instant::now());
                }
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                flow.moved();
                flow.has_begun.set(true);
                let is_last = flow
                    .incoming
                    .borrow()
                    .as_ref()
                    .is_none_or(Incoming::is_end_stream);
                if is_last {
                    flow.ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            // Trailers are of one hop unless both sides agreed on them.
            Poll::Ready(Some(Ok(_)) | None) => {
                flow.ended();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                flow.fault.set(Some(fault_of(&error)));
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_at_end()
    }

    fn size_hint(&self) -> SizeHint {
        let incoming = self.0.incoming.borrow();
        incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// A client that leaves inside its body, or one whose chunks are none (docs/router.md, 100 to 125).
fn fault_of(error: &hyper::Error) -> Failure {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Failure::BadChunk,
        _ => Failure::ClientCut,
    }
}

/// The answer on its way to the client.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    kind: Kind,
    /// Tells the client's connection that its request is over.
    _turn: Turn,
}

#[derive(Debug)]
enum Kind {
    Page(Option<Bytes>),
    Relay(Box<Relay>),
    /// No bytes, and no word about their count, so that hyper leaves the Content-Length alone that
    /// tells how long the answer to a GET would be (304).
    Withheld,
}

#[derive(Debug)]
struct Relay {
    incoming: Incoming,
    ledger: Option<Ledger>,
    idle: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    waits_for_dyno: bool,
}

/// Why a response is cut on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut")]
pub(crate) struct CutError;

impl ResponseBody {
    /// A whole body of ours.
    pub(crate) fn page(bytes: impl Into<Bytes>, turn: Turn) -> Self {
        Self {
            kind: Kind::Page(Some(bytes.into())),
            _turn: turn,
        }
    }

    /// Nothing, where the fields speak of a body that is not sent.
    pub(crate) fn withheld(turn: Turn) -> Self {
        Self {
            kind: Kind::Withheld,
            _turn: turn,
        }
    }

    /// A dyno's or role's body; without `idle` it may be silent for ever.
    pub(crate) fn relay(
        incoming: Incoming,
        mut ledger: Ledger,
        idle: Option<Duration>,
        turn: Turn,
    ) -> Self {
        let ledger = if incoming.is_end_stream() {
            ledger.close(Ok(()));
            None
        } else {
            Some(ledger)
        };
        Self {
            kind: Kind::Relay(Box::new(Relay {
                incoming,
                ledger,
                idle,
                sleep: None,
                waits_for_dyno: false,
            })),
            _turn: turn,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = CutError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutError>>> {
        match &mut self.get_mut().kind {
            Kind::Page(bytes) => {
                let bytes = bytes.take().filter(|bytes| !bytes.is_empty());
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Kind::Relay(relay) => relay.poll_frame(cx),
            Kind::Withheld => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Page(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Kind::Relay(relay) => relay.incoming.is_end_stream(),
            Kind::Withheld => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Page(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Relay(relay) => relay.incoming.size_hint(),
            Kind::Withheld => SizeHint::default(),
        }
    }
}

impl Relay {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutError>>> {
        let Some(ledger) = self.ledger.as_mut() else {
            return Poll::Ready(None);
        };
        let ended = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    self.waits_for_dyno = false;
                    ledger.flow.moved();
                    ledger.count(data.len());
                    if self.incoming.is_end_stream() {
                        ledger.close(Ok(()));
                        self.ledger = None;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Err(_trailers) => Ok(()),
            },
            Poll::Ready(None) => Ok(()),
            Poll::Ready(Some(Err(_))) => Err(ledger.flow.fault().unwrap_or(Failure::DynoCut)),
            Poll::Pending => Err(ready!(self.poll_idle(cx))),
        };
        if let Some(mut ledger) = self.ledger.take() {
            ledger.close(ended);
        }
        Poll::Ready(ended.err().map(|_| Err(CutError)))
    }

    /// Ready when no byte moved in either direction for too long. The sleep is armed at the first
    /// wait and moved only when it fires.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let (Some(idle), Some(ledger)) = (self.idle, &self.ledger) else {
            return Poll::Pending;
        };
        // Silence counts from here: until now the client may have had enough to read.
        if !std::mem::replace(&mut self.waits_for_dyno, true) {
            ledger.flow.moved_at.set(Instant::now());
        }
        loop {
            let deadline = ledger.flow.moved_at.get() + idle;
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(ledger.flow.silent());
            }
            sleep.as_mut().reset(deadline.into());
        }
    }
}
