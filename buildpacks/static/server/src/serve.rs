//! Serving a site on 0.0.0.0:PORT until SIGTERM: one thread, one task per connection.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::{Body, Site};
use crate::output;

/// Connections at a time; the router keeps a pool far below this. More wait in the backlog.
const CONNECTIONS_MAX: usize = 1024;
/// Bytes of a file read and sent at a time: what one connection holds in memory.
const CHUNK_BYTES: u64 = 64 << 10;
/// A client that does not finish its request head is dropped after this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers under way at SIGTERM may take this long; the platform kills after 30 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);

/// Why the server ended, or never began.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("start its runtime: {0}")]
    Runtime(io::Error),
    #[error("listen on port {port}: {source}")]
    Listen { port: u16, source: io::Error },
    #[error("wait for SIGTERM: {0}")]
    Signal(io::Error),
}

/// Serves until SIGTERM or SIGINT, then lets the answers under way finish.
pub(crate) fn run(site: Site, port: u16) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    runtime.block_on(serve(Arc::new(site), port))
}

async fn serve(site: Arc<Site>, port: u16) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Signal)?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        .await
        .map_err(|source| Failure::Listen { port, source })?;
    output::listening(port);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        // Both arms are cancel-safe: a connection that was not accepted stays in the backlog.
        tokio::select! {
            (connection, permit) = accept(&listener, &permits) => {
                tokio::spawn(speak(connection, permit, &site, &graceful));
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    drop(listener);
    // Whoever is still not done after the time-out is cut when the process ends.
    let drained = tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await;
    if drained.is_err() {
        output::cut();
    }
    Ok(())
}

/// A permit first, so that no connection is accepted that nobody may serve.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let permit = Arc::clone(permits)
            .acquire_owned()
            .await
            .expect("it is never closed");
        // A failed accept is one client's (gone already) or passes (no file handles left: the
        // next permit comes back with a closed connection).
        if let Ok((connection, _)) = listener.accept().await {
            return (connection, permit);
        }
        tokio::task::yield_now().await;
    }
}

fn speak(
    connection: TcpStream,
    permit: OwnedSemaphorePermit,
    site: &Arc<Site>,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let site = Arc::clone(site);
    let service = service_fn(move |request| {
        let response = respond(&site, request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(connection), service);
    let watched = graceful.watch(connection);
    async move {
        // An error here is a client that broke off or spoke no HTTP; there is nobody to tell.
        drop(watched.await);
        drop(permit);
    }
}

type Sent = UnsyncBoxBody<Bytes, io::Error>;

fn respond(site: &Site, request: Request<Incoming>) -> Response<Sent> {
    let (head, _) = request.into_parts();
    match site.answer(&head) {
        Ok(response) => response.map(send),
        Err(error) => {
            output::no_answer(head.uri.path(), &error);
            let mut response =
                Response::new(send(Body::Text("The server is short of something.\n")));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
}

fn send(body: Body) -> Sent {
    let text = match body {
        Body::File {
            content,
            from,
            count,
        } => {
            return StreamBody::new(chunks(content.file, from, count)).boxed_unsync();
        }
        Body::Text(text) => text,
        Body::Nothing => "",
    };
    Full::new(Bytes::from_static(text.as_bytes()))
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The bytes of a file, piece by piece. Read on the one thread: files of a site lie in the page
/// cache, and handing each piece to another thread costs more than reading it.
fn chunks(file: File, from: u64, count: u64) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    let end = from.saturating_add(count);
    stream::try_unfold((file, from), move |(file, at)| async move {
        let wanted = end.saturating_sub(at).min(CHUNK_BYTES);
        if wanted == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; usize::try_from(wanted).unwrap_or(0)];
        file.read_exact_at(&mut piece, at)?;
        Ok(Some((Frame::data(Bytes::from(piece)), (file, at + wanted))))
    })
}
