//! One connection after the other to the control socket.

use super::outbox::Outbox;
use super::queries::Desk;
use super::state::{Change, Chunk, GapError, Merge, State};
use crate::frame::{self, FrameError};
use model::feed::{Down, Hello, Purpose, Role, Up};
use model::limits::CONTROL_CONNECT_TIMEOUT_MS;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Whom to talk to, and as whom.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) socket: PathBuf,
    pub(super) node: String,
    pub(super) role: Role,
}

/// Why a connection ended or did not come to be.
#[derive(Debug, thiserror::Error)]
pub(super) enum LostError {
    #[error("reach the api at {}", socket.display())]
    Unreachable {
        socket: PathBuf,
        source: std::io::Error,
    },
    #[error("reach the api: it closed the connection")]
    Closed,
    #[error("be served by the api: {message}")]
    Refused { message: String },
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Gap(#[from] GapError),
    #[error("understand the api: a message that does not belong here")]
    Unexpected,
}

impl Peer {
    /// Connects and says hello.
    pub(super) async fn hello(&self, purpose: Purpose) -> Result<UnixStream, LostError> {
        let connect = UnixStream::connect(&self.socket);
        let limit = Duration::from_millis(CONTROL_CONNECT_TIMEOUT_MS);
        let connected = tokio::time::timeout(limit, connect)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let mut stream = connected.map_err(|source| LostError::Unreachable {
            socket: self.socket.clone(),
            source,
        })?;
        let hello = Up::Hello(Hello {
            role: self.role,
            node: self.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            purpose,
        });
        frame::write(&mut stream, &hello).await?;
        Ok(stream)
    }
}

/// Holds the feed until it is aborted. Says once that it is lost and once that it is back.
pub(super) async fn hold(peer: Peer, outbox: Arc<Outbox>, desk: Desk, state: watch::Sender<State>) {
    let mut wait = BACK_OFF_FIRST;
    loop {
        let was_served = match serve(&peer, &outbox, &desk, &state).await {
            Ok(never) => match never {},
            Err(error) => report(&error, &state, wait),
        };
        wait = if was_served { BACK_OFF_FIRST } else { wait };
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACK_OFF_MAX);
    }
}

/// Marks the state as no longer live; says whether it had been.
fn report(error: &LostError, state: &watch::Sender<State>, wait: Duration) -> bool {
    let was_live = state.send_if_modified(|state| std::mem::take(&mut state.is_live));
    if was_live || wait == BACK_OFF_FIRST {
        let reason = chain(error);
        tracing::info!(reason, "the feed is down, connecting until it is back");
    }
    was_live
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let lines: Vec<String> = causes.map(ToString::to_string).collect();
    lines.join(": ")
}

async fn serve(
    peer: &Peer,
    outbox: &Arc<Outbox>,
    desk: &Desk,
    state: &watch::Sender<State>,
) -> Result<std::convert::Infallible, LostError> {
    let stream = peer.hello(Purpose::Feed).await?;
    let (reader, writer) = stream.into_split();
    outbox.restart();
    // Whichever fails first ends the connection, so neither is used after it was dropped half-way.
    tokio::select! {
        result = read(reader, outbox, desk, state) => result,
        result = write(writer, outbox) => result,
    }
}

async fn write(
    mut writer: OwnedWriteHalf,
    outbox: &Outbox,
) -> Result<std::convert::Infallible, LostError> {
    loop {
        for message in outbox.take_unsent() {
            frame::write(&mut writer, &message).await?;
        }
        outbox.wait().await;
    }
}

async fn read(
    mut reader: OwnedReadHalf,
    outbox: &Arc<Outbox>,
    desk: &Desk,
    state: &watch::Sender<State>,
) -> Result<std::convert::Infallible, LostError> {
    let mut merge = Merge::default();
    loop {
        let message = frame::read::<Down>(&mut reader).await?;
        match message.ok_or(LostError::Closed)? {
            Down::Acknowledge { n } => outbox.acknowledge(n),
            Down::Progress { n, line } => outbox.progress(n, line).await,
            Down::Answer { n, answer } => outbox.answer(n, answer).await,
            Down::Query { n, query } => desk.take(n, query, outbox),
            Down::Refused { message } => return Err(LostError::Refused { message }),
            Down::Ready => return Err(LostError::Unexpected),
            told @ (Down::Snapshot { .. } | Down::Change { .. }) => {
                tell(&mut merge, state, told)?;
            }
        }
    }
}

fn tell(merge: &mut Merge, state: &watch::Sender<State>, told: Down) -> Result<(), GapError> {
    let mut result = Ok(());
    state.send_if_modified(|state| match told {
        Down::Snapshot {
            revision,
            last,
            items,
        } => {
            let chunk = Chunk {
                revision,
                is_last: last,
                items,
            };
            merge.snapshot(state, chunk)
        }
        Down::Change {
            revision,
            epoch,
            set,
            remove,
        } => {
            let change = Change {
                revision,
                epoch,
                set,
                remove,
            };
            merge.change(state, change).unwrap_or_else(|error| {
                result = Err(error);
                false
            })
        }
        _ => false,
    });
    result
}
