//! A connection to a dyno or to a role of the platform: connecting, one exchange, and the proof
//! that it may be used again.
//!
//! hyper's client speaks on it; its task dies with the [`Wire`]. Called by `exchange` and
//! `platform`; idle ones wait in `pool`.

use crate::body::RequestBody;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::limits;
use std::cell::Cell;
use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;

/// A connection that carries one exchange at a time.
#[derive(Debug)]
pub(crate) struct Wire {
    sender: http1::SendRequest<RequestBody>,
    task: AbortHandle,
    heard: Arc<AtomicBool>,
    /// It carried an exchange before, so the peer may have closed it meanwhile.
    pub(crate) is_reused: bool,
    /// Set when hyper's task ended by handing the bytes over: then there is nothing to abort.
    is_switched: Rc<Cell<bool>>,
}

/// A wire whose last exchange ended whole: the only kind that a pool takes.
#[derive(Debug)]
pub(crate) struct Reusable(Wire);

/// What has to be true of an exchange for its wire to live on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// The request was written to its end.
    pub(crate) request_was_sent: bool,
    /// Both sides speak HTTP/1.1 and neither wants to close.
    pub(crate) is_persistent: bool,
}

impl Wire {
    /// Connects to a dyno.
    pub(crate) async fn tcp(address: SocketAddrV4) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::over(stream).await
    }

    /// Connects to a role of the platform.
    pub(crate) async fn unix(socket: &Path) -> io::Result<Self> {
        Self::over(UnixStream::connect(socket).await?).await
    }

    async fn over<S>(stream: S) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let heard = Arc::new(AtomicBool::new(false));
        let tap = Tap {
            stream,
            heard: Arc::clone(&heard),
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(limits::RESPONSE_BUFFER_MAX_BYTES)
            .max_headers(limits::FIELDS_MAX)
            .handshake(TokioIo::new(tap))
            .await
            .map_err(io::Error::other)?;
        let is_switched = Rc::new(Cell::new(false));
        let done = tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                // The exchange hears of it through its response or body.
                tracing::trace!(%error, "a connection to a dyno ended");
            }
        });
        Ok(Self {
            sender,
            task: done.abort_handle(),
            heard,
            is_reused: false,
            is_switched,
        })
    }

    /// Sends a request and waits for the head of its response. Cancel: drop the wire.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> hyper::Result<Response<Incoming>> {
        self.heard.store(false, Ordering::Relaxed);
        self.sender.send_request(request).await
    }

    /// Whether any byte came since the last request.
    pub(crate) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// The bytes belong to a tunnel from now on.
    pub(crate) fn switch(&self) {
        self.is_switched.set(true);
    }

    /// The proof that it may be used again. Stray bytes after a response end hyper's task, which
    /// `is_ready` and `is_closed` tell.
    pub(crate) fn reusable(self, ending: Ending) -> Option<Reusable> {
        let is_whole = ending.request_was_sent && ending.is_persistent;
        (is_whole && self.sender.is_ready() && !self.sender.is_closed()).then_some(Reusable(self))
    }
}

impl Reusable {
    /// Takes it for another exchange, unless the peer closed it or sent something unasked.
    pub(crate) fn take(self) -> Option<Wire> {
        let Self(mut wire) = self;
        wire.is_reused = true;
        (wire.sender.is_ready() && !wire.sender.is_closed()).then_some(wire)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if !self.is_switched.get() {
            self.task.abort();
        }
    }
}

/// Notes that bytes came: a connection that was closed without any may be tried again.
struct Tap<S> {
    stream: S,
    heard: Arc<AtomicBool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
