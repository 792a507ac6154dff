//! The control socket: roles and the operator meet the api here. Messages: [`model::feed`].
//!
//! Whoever connects is judged by the user that the kernel says it is (`SO_PEERCRED`, unix(7)), not
//! by what it says of itself.

mod asks;
mod builder;
pub(crate) mod builds;
mod feed;

pub(crate) use builder::{Builder, await_builder};

use crate::platform::Platform;
use link::frame::{self, FrameError};
use model::feed::{Down, Hello, Purpose, Role, Up};
use model::limits::CONTROL_CONNECTIONS_MAX;
use nix::unistd::User;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long a peer may take to say who it is, and to take one message.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// Which user may speak as which role.
#[derive(Clone, Debug)]
pub(crate) struct Allowed(pub(crate) Vec<(u32, Role)>);

impl Allowed {
    /// The roles' system users, and root as the operator.
    pub(crate) fn of_system() -> Self {
        let users = [
            ("paas-builder", Role::Builder),
            ("paas-dynod", Role::Dynod),
            ("paas-router", Role::Router),
        ];
        let mut allowed = vec![(0, Role::Operator)];
        for (name, role) in users {
            match User::from_name(name) {
                Ok(Some(user)) => allowed.push((user.uid.as_raw(), role)),
                Ok(None) => {
                    tracing::error!("no user {name}: its role cannot connect; `paas up` makes it");
                }
                Err(error) => crate::say::failed("look up a system user", &error),
            }
        }
        Self(allowed)
    }

    fn holds(&self, uid: u32, role: Role) -> bool {
        self.0.contains(&(uid, role))
    }
}

/// A peer that was let in.
struct Peer {
    platform: Arc<Platform>,
    hello: Hello,
    pid: Option<i32>,
    /// Its number among those that are fed.
    subscription: OnceLock<u64>,
}

/// Why a connection ended before its end.
#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("hear from a peer in time")]
    TooSlow,
    #[error("understand a peer: {0}")]
    Protocol(&'static str),
    #[error("look who a peer is")]
    Credentials(#[source] std::io::Error),
}

/// Serves the socket until the platform stops.
pub(crate) async fn serve(platform: Arc<Platform>, listener: UnixListener, allowed: Allowed) {
    let places = Arc::new(Semaphore::new(CONTROL_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = tokio::select! {
            () = platform.stop.requested() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    crate::say::failed("serve a peer", &error);
                }
                continue;
            }
            accepted = async { (place.await, listener.accept().await) } => accepted,
        };
        match accepted {
            (Ok(place), Ok((stream, _))) => {
                let (platform, allowed) = (Arc::clone(&platform), allowed.clone());
                connections.spawn(async move {
                    connection(platform, stream, allowed).await;
                    drop(place);
                });
            }
            (_, Err(error)) => {
                crate::say::failed("accept a peer", &error);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (Err(_), _) => break,
        }
    }
    connections.shutdown().await;
}

async fn connection(platform: Arc<Platform>, mut stream: UnixStream, allowed: Allowed) {
    let peer = match greet(platform, &mut stream, &allowed).await {
        Ok(Some(peer)) => peer,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(cause = crate::say::chain(&error), "a peer was not let in");
            return;
        }
    };
    let role = peer.hello.role;
    let ended = match peer.hello.purpose {
        Purpose::Feed => feed::serve(peer, stream, true).await,
        Purpose::Ask => feed::serve(peer, stream, false).await,
        Purpose::Stream { dyno } => {
            crate::rendezvous::meet(&peer.platform, dyno, stream).await;
            Ok(())
        }
    };
    if let Err(error) = ended {
        tracing::info!(
            ?role,
            cause = crate::say::chain(&error),
            "a peer's connection ended"
        );
    }
}

/// Hears who it is; none when it went away or was refused.
async fn greet(
    platform: Arc<Platform>,
    stream: &mut UnixStream,
    allowed: &Allowed,
) -> Result<Option<Peer>, PeerError> {
    let who = stream.peer_cred().map_err(PeerError::Credentials)?;
    let first = tokio::time::timeout(PEER_TIMEOUT, frame::read::<Up>(stream))
        .await
        .map_err(|_| PeerError::TooSlow)??;
    let hello = match first {
        None => return Ok(None),
        Some(Up::Hello(hello)) => hello,
        Some(_) => return Err(PeerError::Protocol("the first message has to be hello")),
    };
    let is_operator = hello.role == Role::Operator;
    let fits = match hello.purpose {
        Purpose::Feed => !is_operator,
        Purpose::Ask => true,
        Purpose::Stream { .. } => hello.role == Role::Dynod,
    };
    if !fits || !allowed.holds(who.uid(), hello.role) {
        tracing::warn!(uid = who.uid(), role = ?hello.role, "a peer is not who it says");
        let message = if is_operator {
            "only root on the server may ask this: run it with sudo".to_owned()
        } else {
            format!("the user {} is not the one of this role", who.uid())
        };
        frame::write(stream, &Down::Refused { message }).await?;
        return Ok(None);
    }
    tracing::debug!(role = ?hello.role, node = hello.node, version = hello.version, "a peer connected");
    let pid = who.pid();
    Ok(Some(Peer {
        platform,
        hello,
        pid,
        subscription: OnceLock::new(),
    }))
}

/// Writes one message; a peer that does not take it in time is given up.
async fn send(
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    message: &Down,
) -> Result<(), PeerError> {
    let written = tokio::time::timeout(PEER_TIMEOUT, frame::write(stream, message)).await;
    Ok(written.map_err(|_| PeerError::TooSlow)??)
}
