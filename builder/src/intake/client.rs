//! Whether the client of a push or fetch is still there.
//!
//! The answer's body holds a [`Client`]: hyper drops the body when the connection closes, however
//! that comes about. Whoever works for the client holds [`Gone`].

use link::stop::{Stop, Trigger};
use tokio::sync::oneshot;

/// The client, as its answer knows it. Dropped, the client is gone.
#[derive(Debug)]
pub(crate) struct Client {
    trigger: Trigger,
    answered: oneshot::Sender<Trigger>,
}

/// Tells when a client is gone.
#[derive(Debug)]
pub(crate) struct Gone {
    stop: Stop,
    /// Keeps the trigger from being dropped once the client has its whole answer.
    _answered: oneshot::Receiver<Trigger>,
}

impl Client {
    /// A client that is there.
    pub(crate) fn new() -> (Self, Gone) {
        let (stop, trigger) = Stop::by_hand();
        let (answered, kept) = oneshot::channel();
        let gone = Gone {
            stop,
            _answered: kept,
        };
        (Self { trigger, answered }, gone)
    }

    /// Everything was sent: from here on nobody has to hurry.
    pub(crate) fn has_all(self) {
        // Without a receiver the work is done already.
        drop(self.answered.send(self.trigger));
    }
}

impl Gone {
    /// Waits until the client is gone; for ever when it has its answer. Cancel-safe.
    pub(crate) async fn wait(&self) {
        self.stop.requested().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_is_gone_only_before_its_end() {
        let (client, gone) = Client::new();
        drop(client);
        gone.wait().await;
        let (client, gone) = Client::new();
        client.has_all();
        assert!(!gone.stop.is_requested());
        let (client, gone) = Client::new();
        drop(gone);
        client.has_all();
    }
}
