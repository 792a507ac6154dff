//! Connections for one thing: an operator's question, the stream of an attached one-off.

use super::connection::{LostError, Peer};
use crate::config::Config;
use crate::frame;
use model::dyno;
use model::feed::{Answer, Ask, Down, Purpose, Role, Up};
use model::limits::ASK_TIMEOUT_MS;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// Why a single question has no answer.
#[derive(Debug, thiserror::Error)]
#[error("ask the api")]
pub struct AskOnceError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
#[error("open the stream of a one-off")]
pub struct StreamError(#[source] Box<dyn std::error::Error + Send + Sync>);

#[derive(Debug, thiserror::Error)]
#[error("hear from the api within {} s", ASK_TIMEOUT_MS / 1000)]
struct TooLate;

/// Asks one question over a connection of its own, within [`ASK_TIMEOUT_MS`].
///
/// # Errors
/// When the socket cannot be reached, the api refuses the role, or the time is over.
pub async fn ask_once(socket: &Path, role: Role, ask: Ask) -> Result<Answer, AskOnceError> {
    let peer = Peer {
        socket: socket.to_owned(),
        node: String::new(),
        role,
    };
    within(asked(&peer, ask)).await.map_err(AskOnceError)
}

/// Opens the byte stream of an attached one-off: what is written goes to the person, what they
/// type can be read.
///
/// # Errors
/// When the socket cannot be reached, nobody waits for this dyno, or the time is over.
pub async fn stream(config: &Config, dyno: dyno::Id) -> Result<UnixStream, StreamError> {
    let peer = Peer {
        socket: config.control_socket(),
        node: config.node.clone(),
        role: Role::Dynod,
    };
    within(opened(&peer, dyno)).await.map_err(StreamError)
}

async fn within<T>(
    work: impl Future<Output = Result<T, LostError>>,
) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    match tokio::time::timeout(Duration::from_millis(ASK_TIMEOUT_MS), work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(TooLate.into()),
    }
}

async fn asked(peer: &Peer, ask: Ask) -> Result<Answer, LostError> {
    let mut stream = peer.hello(Purpose::Ask).await?;
    frame::write(&mut stream, &Up::Ask { n: 1, ask }).await?;
    loop {
        match frame::read(&mut stream).await?.ok_or(LostError::Closed)? {
            Down::Answer { n: 1, answer } => return Ok(answer),
            Down::Progress { .. } => {}
            Down::Refused { message } => return Err(LostError::Refused { message }),
            _ => return Err(LostError::Unexpected),
        }
    }
}

async fn opened(peer: &Peer, dyno: dyno::Id) -> Result<UnixStream, LostError> {
    let mut stream = peer.hello(Purpose::Stream { dyno }).await?;
    match frame::read(&mut stream).await?.ok_or(LostError::Closed)? {
        Down::Ready => Ok(stream),
        Down::Refused { message } => Err(LostError::Refused { message }),
        _ => Err(LostError::Unexpected),
    }
}
