//! Attached one-offs: a person's TLS connection and the dyno's stream meet here.
//!
//! `POST dynos` with `attach` makes a place and gives out its secret; the dynod opens a stream for
//! the dyno on the control socket; the person connects to the TLS port and says the secret. Whoever
//! comes first waits. A secret works once, within 30 s (R13).

mod marker;
mod splice;

use crate::platform::Platform;
use crate::records::RecordsError;
use crate::seal::SealError;
use link::frame;
use model::dyno::{Id, Purpose};
use model::feed::Down;
use model::limits::{ATTACH_TIMEOUT_MS, RENDEZVOUS_SECRET_TIMEOUT_MS, RENDEZVOUS_WAITING_MAX};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Characters of a secret: 238 random bits, and a length that is known without an end of line.
const SECRET_CHARACTERS: usize = 40;
const ATTACH_TIMEOUT: Duration = Duration::from_millis(ATTACH_TIMEOUT_MS);

/// People and dynos that wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    /// By secret: the way to the one who waits for the person.
    secrets: HashMap<String, (Id, oneshot::Sender<Client>)>,
    /// By dyno: where the person will come from.
    dynos: HashMap<Id, oneshot::Receiver<Client>>,
}

/// A person who has said the secret.
type Client = TlsStream<TcpStream>;

impl Waiting {
    /// Makes a place for a dyno; returns its secret.
    pub(crate) fn add(&self, dyno: Id) -> Result<String, SealError> {
        let secret = crate::accounts::base62(SECRET_CHARACTERS)?;
        let (sender, receiver) = oneshot::channel();
        let mut places = self.lock();
        places.secrets.insert(secret.clone(), (dyno, sender));
        places.dynos.insert(dyno, receiver);
        Ok(secret)
    }

    /// Whether the person or the dyno has not come yet.
    fn is_open(&self, dyno: Id) -> bool {
        let places = self.lock();
        places.dynos.contains_key(&dyno) || places.secrets.values().any(|(waits, _)| *waits == dyno)
    }

    fn remove(&self, dyno: Id) {
        let mut places = self.lock();
        places.secrets.retain(|_, (waits, _)| *waits != dyno);
        places.dynos.remove(&dyno);
    }

    fn take_dyno(&self, dyno: Id) -> Option<oneshot::Receiver<Client>> {
        self.lock().dynos.remove(&dyno)
    }

    fn take_secret(&self, secret: &str) -> Option<oneshot::Sender<Client>> {
        self.lock().secrets.remove(secret).map(|(_, sender)| sender)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives up on a dyno that nobody attaches to in time.
pub(crate) fn expire(platform: &Arc<Platform>, dyno: Id) {
    let later = Arc::clone(platform);
    platform.tasks.spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(ATTACH_TIMEOUT) => {}
            () = later.stop.requested() => return,
        }
        if later.waiting.is_open(dyno) {
            later.waiting.remove(dyno);
            if let Err(error) = remove(&later, dyno).await {
                crate::say::failed("stop a one-off that nobody attached to", &error);
            }
        }
    });
}

async fn remove(platform: &Arc<Platform>, dyno: Id) -> Result<(), RecordsError> {
    let mut change = platform.begin().await;
    if let Some(want) = platform.fleet.look(|view| view.want(dyno).cloned()) {
        change.remove_want(&want);
    }
    change.commit().await
}

/// Removes the attached one-offs of an api before this one: their connections died with it.
pub(crate) async fn clear(platform: &Arc<Platform>) -> Result<(), RecordsError> {
    let mut change = platform.begin().await;
    for want in platform
        .fleet
        .look(|view| view.all().cloned().collect::<Vec<_>>())
    {
        if matches!(want.purpose, Purpose::Attached { .. }) {
            change.remove_want(&want);
        }
    }
    change.commit().await
}

/// The dynod's side: waits for the person, greets, and carries bytes to the end.
pub(crate) async fn meet(platform: &Arc<Platform>, dyno: Id, mut stream: UnixStream) {
    let want = platform.fleet.look(|view| view.want(dyno).cloned());
    let place = platform.waiting.take_dyno(dyno);
    let (Some(want), Some(place)) = (want, place) else {
        return refuse(stream, "nobody waits for this dyno").await;
    };
    let Ok(Ok(mut client)) = tokio::time::timeout(ATTACH_TIMEOUT, place).await else {
        return refuse(stream, "nobody attached in time (R13)").await;
    };
    let has_terminal = matches!(
        want.purpose,
        Purpose::Attached {
            window: Some(_),
            ..
        }
    );
    if let Err(error) = frame::write(&mut stream, &Down::Ready).await {
        return crate::say::failed("begin the stream of a one-off", &error);
    }
    // A record of its own, flushed before anything else: the official command line throws away
    // the whole first data event.
    let greeted = async {
        client.write_all(b"rendezvous\r\n").await?;
        client.flush().await
    };
    if let Err(error) = greeted.await {
        tracing::info!(%error, dyno.name = %want.name, "a client went before it was greeted");
        return;
    }
    tracing::info!(dyno.name = %want.name, "a client is attached");
    splice::run(client, stream, has_terminal).await;
}

async fn refuse(mut stream: UnixStream, message: &str) {
    let message = message.to_owned();
    if let Err(error) = frame::write(&mut stream, &Down::Refused { message }).await {
        tracing::debug!(%error, "a dynod went before its stream was refused");
    }
}

/// Serves the TLS port until the platform stops.
pub(crate) async fn serve(platform: Arc<Platform>, listener: TcpListener, tls: TlsAcceptor) {
    let places = Arc::new(Semaphore::new(RENDEZVOUS_WAITING_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = tokio::select! {
            () = platform.stop.requested() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    crate::say::failed("serve a client of a one-off", &error);
                }
                continue;
            }
            accepted = async { (place.await, listener.accept().await) } => accepted,
        };
        match accepted {
            (Ok(place), Ok((stream, _))) => {
                let (platform, tls) = (Arc::clone(&platform), tls.clone());
                connections.spawn(async move {
                    hear(&platform, stream, &tls).await;
                    drop(place);
                });
            }
            (_, Err(error)) => {
                crate::say::failed("accept a client of a one-off", &error);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (Err(_), _) => break,
        }
    }
    connections.shutdown().await;
}

/// Hears the secret and hands the person over to the dyno that waits; unknown secrets are closed.
async fn hear(platform: &Platform, stream: TcpStream, tls: &TlsAcceptor) {
    let limit = Duration::from_millis(RENDEZVOUS_SECRET_TIMEOUT_MS);
    let heard = tokio::time::timeout(limit, secret(stream, tls)).await;
    let (secret, client) = match heard {
        Ok(Ok(heard)) => heard,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a client of a one-off went");
            return;
        }
        Err(_) => {
            tracing::debug!("a client of a one-off did not say its secret in time");
            return;
        }
    };
    let Some(waits) = platform.waiting.take_secret(&secret) else {
        tracing::info!("a client said an unknown secret");
        return;
    };
    if waits.send(client).is_err() {
        tracing::info!("a client came for a one-off that was given up");
    }
}

async fn secret(stream: TcpStream, tls: &TlsAcceptor) -> std::io::Result<(String, Client)> {
    stream.set_nodelay(true)?;
    let mut stream = tls.accept(stream).await?;
    let mut bytes = [0; SECRET_CHARACTERS];
    stream.read_exact(&mut bytes).await?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), stream))
}

/// Where a person attaches with a secret. Names below `.localhost` are this machine, but not every
/// resolver knows that: the address does.
pub(crate) fn url(config: &link::config::Config, secret: &str) -> String {
    format!(
        "rendezvous://{}:{}/{secret}",
        host(config),
        config.rendezvous_port
    )
}

/// The names and addresses that the port's certificate is made for.
pub(crate) fn certificate_names(config: &link::config::Config) -> Vec<String> {
    let mut names = vec![
        config.domain.clone(),
        format!("api.{}", config.domain),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    names.dedup();
    names
}

fn host(config: &link::config::Config) -> &str {
    if config.domain == "localhost" || config.domain.ends_with(".localhost") {
        "127.0.0.1"
    } else {
        &config.domain
    }
}
