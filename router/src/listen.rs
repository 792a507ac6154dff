//! Accepting: a bounded number of clients, each a task of this thread.

use crate::client::{self, Door};
use crate::worker::Worker;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// How long accepting rests when the process is out of file descriptors.
const OUT_OF_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the stop, then lets the connections end, at most until the drain's deadline.
pub(crate) async fn run(worker: Rc<Worker>, listener: TcpListener, door: Door) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener cannot be used");
            return;
        }
    };
    let mut clients = JoinSet::new();
    loop {
        let permits = Arc::clone(&worker.shared.connections);
        tokio::select! {
            biased;
            () = worker.shared.stop.requested() => break,
            Some(ended) = clients.join_next() => report(ended),
            accepted = accept(&worker, &listener, permits) => {
                let Some((permit, stream, peer)) = accepted else { break };
                let worker = Rc::clone(&worker);
                clients.spawn_local(async move {
                    client::serve(worker, stream, peer, door).await;
                    drop(permit);
                });
            }
        }
    }
    drop(listener);
    drain(&worker, clients).await;
}

/// Waits for room and then for a client; none: the router's semaphore was closed.
async fn accept(
    worker: &Worker,
    listener: &tokio::net::TcpListener,
    permits: Arc<tokio::sync::Semaphore>,
) -> Option<(
    tokio::sync::OwnedSemaphorePermit,
    tokio::net::TcpStream,
    std::net::SocketAddr,
)> {
    let permit = permits.acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Some((permit, stream, peer)),
            Err(error) if is_out_of_descriptors(&error) => {
                // Accepting again at once would spin: idle connections to dynos make room first.
                tracing::warn!(%error, "out of file descriptors");
                worker.pool.clear();
                tokio::time::sleep(OUT_OF_DESCRIPTORS_PAUSE).await;
            }
            // The client left between its connect and our accept.
            Err(error) => tracing::debug!(%error, "accept failed"),
        }
    }
}

fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    /// accept(2): ENFILE, EMFILE, ENOBUFS, ENOMEM.
    const SHORTAGES: [i32; 4] = [23, 24, 105, 12];
    error
        .raw_os_error()
        .is_some_and(|code| SHORTAGES.contains(&code))
}

async fn drain(worker: &Worker, mut clients: JoinSet<()>) {
    let deadline = Instant::now() + worker.shared.timers.drain;
    while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, clients.join_next()).await {
        report(ended);
    }
    if !clients.is_empty() {
        tracing::warn!(connections = clients.len(), "cut at the end of the drain");
        worker.shared.is_forced.store(true, Ordering::Relaxed);
        clients.shutdown().await;
    }
}

/// A panic costs one connection.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "serving a connection panicked");
    }
}
