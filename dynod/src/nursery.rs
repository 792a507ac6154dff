//! The nursery from async code: blocking calls on threads of their own, and a new connection when
//! the nursery was replaced.

use sandbox::{Client, Error, Facts, PortReport, Secrets, Spec, Started};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a call is tried again while the nursery is away, and the pause between.
const TRIES_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// A way to the nursery; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Nursery {
    socket: PathBuf,
    idle: Arc<Mutex<Vec<Client>>>,
}

impl Nursery {
    /// Names the socket; connects at the first call.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            idle: Arc::default(),
        }
    }

    /// Starts a command. Not tried again once it was asked: it may run. So a question before it
    /// waits for a nursery that is being replaced.
    pub(crate) async fn start(
        &self,
        spec: Spec,
        secrets: Secrets,
        files: Vec<OwnedFd>,
    ) -> Result<Started, Error> {
        self.facts().await?;
        self.once(move |client| {
            let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
            client.start(&spec, &secrets, &files)
        })
        .await
    }

    /// Sends a signal to all processes but the keeper.
    pub(crate) async fn signal(&self, id: &str, signal: i32) -> Result<(), Error> {
        let id = id.to_owned();
        self.again(move |client| client.signal(&id, signal)).await
    }

    /// Removes what is left of a dyno.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), Error> {
        let id = id.to_owned();
        self.again(move |client| client.remove(&id)).await
    }

    /// What can be had on this machine now.
    pub(crate) async fn facts(&self) -> Result<Facts, Error> {
        self.again(Client::facts).await
    }

    /// What the network of a dyno lets in, and what it refused.
    pub(crate) async fn port(&self, id: &str) -> Result<PortReport, Error> {
        let id = id.to_owned();
        self.again(move |client| client.port(&id)).await
    }

    /// What each step of a dyno's start took, microseconds.
    pub(crate) async fn start_steps(&self, id: &str) -> Result<Vec<(String, u32)>, Error> {
        let id = id.to_owned();
        self.again(move |client| client.start_steps(&id)).await
    }

    async fn again<T: Send + 'static>(
        &self,
        call: impl Fn(&mut Client) -> Result<T, Error> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            match self.once(call.clone()).await {
                Err(Error::Gone(source)) if tries < TRIES_MAX => {
                    tries += 1;
                    tracing::debug!(%source, "the nursery is away");
                    tokio::time::sleep(PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn once<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Client) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let kept = this
                .idle
                .lock()
                .expect("nobody panics while holding it")
                .pop();
            let mut client = match kept {
                Some(client) => client,
                None => Client::connect(&this.socket)?,
            };
            let result = call(&mut client);
            if !matches!(result, Err(Error::Gone(_))) {
                this.idle
                    .lock()
                    .expect("nobody panics while holding it")
                    .push(client);
            }
            result
        })
        .await
        .expect("the closures given here do not panic")
    }
}
