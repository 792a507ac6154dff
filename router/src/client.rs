//! One connection of a client, from accept to close.

use crate::activity::{Activity, Verdict};
use crate::exchange;
use crate::timers::{Timers, now_ms};
use crate::tunnel::Tunnel;
use crate::worker::{Shared, Worker};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::limits;
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Bytes that are read and thrown away after an answer that closes.
const LINGER_MAX_BYTES: usize = 64 * 1024;

/// Silence after which the kernel asks the client's kernel whether it is there.
const PROBE_AFTER: Duration = Duration::from_mins(1);

/// By which listener a client came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The port for everybody: the host decides.
    Public,
    /// The port on 127.0.0.1 that is the platform's, whatever the host.
    Loopback,
}

/// What the requests of a connection share.
pub(crate) struct Conn {
    pub(crate) worker: Rc<Worker>,
    pub(crate) peer: IpAddr,
    pub(crate) port: u16,
    pub(crate) door: Door,
    pub(crate) activity: Arc<Activity>,
    /// What the connection becomes when its last answer was a 101.
    pub(crate) tunnel: RefCell<Option<Tunnel>>,
}

/// Serves a connection until it closes. Dropped before, it cuts what is under way.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, door: Door) {
    let prepared = prepare(&stream).and_then(|()| stream.local_addr());
    let Ok(local) = prepared else {
        return; // It is gone already.
    };
    let shared = Arc::clone(&worker.shared);
    let activity = Activity::new();
    let client = Client {
        stream,
        activity: Arc::clone(&activity),
        linger: shared.timers.linger,
        closing: None,
    };
    let conn = Rc::new(Conn {
        worker,
        peer: peer.ip().to_canonical(),
        port: local.port(),
        door,
        activity: Arc::clone(&activity),
        tunnel: RefCell::new(None),
    });
    let service = service_fn(|request| {
        let conn = Rc::clone(&conn);
        async move { Ok::<_, Infallible>(exchange::answer(conn, request).await) }
    });
    let http = http1::Builder::new()
        .auto_date_header(false)
        .max_headers(limits::FIELDS_MAX)
        .max_buf_size(limits::REQUEST_HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(client), service)
        .with_upgrades();
    {
        let mut http = pin!(http);
        let mut expired = pin!(expired(&activity, &shared.timers));
        let mut farewell = pin!(farewell(&shared, &activity));
        let mut is_leaving = false;
        loop {
            tokio::select! {
                biased;
                ended = http.as_mut() => {
                    if let Err(error) = ended {
                        tracing::trace!(%error, "a client's connection ended");
                    }
                    break;
                }
                () = &mut expired => break,
                () = &mut farewell, if !is_leaving => {
                    is_leaving = true;
                    http.as_mut().graceful_shutdown();
                }
            }
        }
    }
    let tunnel = conn.tunnel.take();
    if let Some(tunnel) = tunnel {
        tunnel.run().await;
    }
}

/// A client that vanished without a word (a laptop that was closed) is found out by the kernel,
/// also where no timer of ours runs: in log sessions and pushes.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = socket2::TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_AFTER / 4);
    socket2::SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// Ends when the router stops and the client's next answer, if any, shall be its last. Who has just
/// connected may have a request on its way: hyper would close at once, without an answer.
async fn farewell(shared: &Shared, activity: &Activity) {
    shared.stop.requested().await;
    let spoke = poll_fn(|_| {
        if activity.is_fresh() {
            // What ends that is a read of this very task, which polls this afterwards.
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    });
    // Elapsed: it had its time.
    drop(tokio::time::timeout(shared.timers.linger, spoke).await);
}

/// Ends when the client was silent for longer than it may be.
async fn expired(activity: &Activity, timers: &Timers) {
    while let Verdict::LookAt(at_ms) = activity.look(timers) {
        let pause = Duration::from_millis(at_ms.saturating_sub(now_ms()).saturating_add(1));
        tokio::time::sleep(pause).await;
    }
}

/// The client's stream: notes what moves, and closes in a way that lets the last answer arrive.
struct Client {
    stream: TcpStream,
    activity: Arc<Activity>,
    linger: Duration,
    closing: Option<Closing>,
}

/// After our end was sent: what the client still sends is thrown away, for a while.
struct Closing {
    thrown_away: usize,
    sleep: Pin<Box<Sleep>>,
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.activity.has_read();
        Poll::Ready(Ok(()))
    }
}

impl Client {
    fn written(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.has_written(poll.is_ready());
        poll
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closing a socket that holds unread bytes resets it, and the client loses the answer that it
    /// has not read yet: so the end is sent, and the rest read for a while (docs/router.md, "After a
    /// refusal").
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let linger = this.linger;
        let closing = this.closing.get_or_insert_with(|| Closing {
            thrown_away: 0,
            sleep: Box::pin(tokio::time::sleep(linger)),
        });
        let mut scratch = [0; 4096];
        while closing.thrown_away < LINGER_MAX_BYTES {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    closing.thrown_away += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return closing.sleep.as_mut().poll(cx).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}
