//! The feed from the api, as a role sees it: the state it shall bring about, events it reports,
//! questions it asks, questions it answers. Messages: [`model::feed`].
//!
//! One background task holds the connection and makes it again for ever. What was reported and not
//! yet acknowledged, and what was asked and not yet answered, is sent again over the next one. The
//! server's side is the api's own, with [`crate::frame`].

mod connection;
mod once;
mod outbox;
mod queries;
mod state;

use crate::config::Config;
use connection::Peer;
use model::feed::{Answer, Ask, Event, Role};
use outbox::{Outbox, Reply};
use queries::Desk;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use once::{AskOnceError, StreamError, ask_once, stream};
pub use queries::{Asked, Queries};
pub use state::State;

/// A role's end of the feed. Clones share one connection; it closes with the last.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The state at the newest revision. Changes at every snapshot and change, and when the
    /// connection comes or goes.
    pub state: watch::Receiver<State>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    outbox: Arc<Outbox>,
    task: JoinHandle<()>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Not within the deadline; the api was told that nobody waits any more.
    #[error("hear from the api in time")]
    TimedOut,
}

/// Begins to hold a feed. Inside a tokio runtime; returns at once, the connection follows.
pub fn connect(config: &Config, role: Role) -> Feed {
    connect_to(peer(config, role), Desk::closed())
}

/// The same for a role that the api asks questions.
pub fn connect_and_answer(config: &Config, role: Role) -> (Feed, Queries) {
    let (desk, queries) = Desk::open();
    (connect_to(peer(config, role), desk), queries)
}

fn peer(config: &Config, role: Role) -> Peer {
    Peer {
        socket: config.control_socket(),
        node: config.node.clone(),
        role,
    }
}

fn connect_to(peer: Peer, desk: Desk) -> Feed {
    let outbox = Arc::new(Outbox::default());
    let (sender, state) = watch::channel(State::default());
    let task = tokio::spawn(connection::hold(peer, Arc::clone(&outbox), desk, sender));
    Feed {
        state,
        shared: Arc::new(Shared { outbox, task }),
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    /// Reports an event: it is sent until the api has acknowledged it.
    ///
    /// Waits while [`model::limits::FEED_QUEUE_MAX`] events are not acknowledged. Dropped before it
    /// is done, it has reported nothing.
    pub async fn event(&self, event: Event) {
        self.shared.outbox.event(event).await;
    }

    /// Asks the api and waits for the answer, at most for `deadline`; lines on the way to it go to
    /// `progress`. Dropped before it is done, it tells the api that nobody waits.
    ///
    /// A question whose connection breaks is asked again over the next one: each is safe to repeat.
    ///
    /// # Errors
    /// [`AskError::TimedOut`].
    pub async fn ask(
        &self,
        ask: Ask,
        deadline: Duration,
        mut progress: impl FnMut(String),
    ) -> Result<Answer, AskError> {
        let answer = async {
            let mut question = self.shared.outbox.ask(ask).await;
            loop {
                match question.reply().await {
                    Reply::Progress(line) => progress(line),
                    Reply::Answer(answer) => return *answer,
                }
            }
        };
        tokio::time::timeout(deadline, answer)
            .await
            .map_err(|_| AskError::TimedOut)
    }
}

#[cfg(test)]
mod tests;
