//! After a 101: bytes both ways, whatever they are, until both sides are done or nothing moves.

use crate::error::Failure;
use crate::ledger::Ledger;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

/// Bytes that a direction holds at most.
const BUFFER_BYTES: usize = 16 * 1024;

/// A tunnel that begins when both connections let go of their bytes.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) client: OnUpgrade,
    pub(crate) dyno: OnUpgrade,
    pub(crate) ledger: Ledger,
    /// Silence in both directions for so long ends it: H15.
    pub(crate) idle: Option<Duration>,
}

impl Tunnel {
    /// Carries bytes to the end. Dropped before it, it closes as the router's doing or the
    /// client's.
    pub(crate) async fn run(mut self) {
        let (client, dyno) = match tokio::try_join!(self.client, self.dyno) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "a tunnel did not begin");
                return self.ledger.close(Err(Failure::DynoCut));
            }
        };
        let bytes = Cell::new(0);
        let ended = relay(client, dyno, &bytes, self.idle).await;
        self.ledger.count(bytes.get());
        self.ledger.close(ended);
    }
}

async fn relay(
    client: Upgraded,
    dyno: Upgraded,
    bytes: &Cell<usize>,
    idle: Option<Duration>,
) -> Result<(), Failure> {
    let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
    let (from_dyno, to_dyno) = tokio::io::split(TokioIo::new(dyno));
    let moved_at = Cell::new(Instant::now());
    let up = pump(from_client, to_dyno, |_| moved_at.set(Instant::now()));
    let down = pump(from_dyno, to_client, |count| {
        moved_at.set(Instant::now());
        bytes.set(bytes.get() + count);
    });
    let silence = async {
        let Some(idle) = idle else {
            return std::future::pending().await;
        };
        loop {
            let deadline = moved_at.get() + idle;
            if Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep_until(deadline.into()).await;
        }
    };
    tokio::select! {
        // A broken connection is how most tunnels end: no failure of anybody.
        _ = async { tokio::try_join!(up, down) } => Ok(()),
        () = silence => Err(Failure::DynoIdle),
    }
}

/// One direction; its end is passed on, and the other direction may go on.
async fn pump(
    mut from: ReadHalf<TokioIo<Upgraded>>,
    mut to: WriteHalf<TokioIo<Upgraded>>,
    moved: impl Fn(usize),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        moved(count);
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..count).unwrap_or_default())
            .await?;
        to.flush().await?;
    }
}
