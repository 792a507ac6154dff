//! Questions of the api to a node, on their way to whoever answers them there.

use super::outbox::Outbox;
use model::limits::QUERIES_MAX;
use model::query::{Query, Reply};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The questions of a feed, one after the other. Who holds it answers them, each in a task of its
/// own: the api waits [`model::limits::QUERY_TIMEOUT_MS`].
#[derive(Debug)]
pub struct Queries(mpsc::Receiver<Asked>);

/// A question that waits for its answer. Dropped, it has none.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub query: Query,
    n: u64,
    place: OwnedSemaphorePermit,
    outbox: Arc<Outbox>,
}

impl Queries {
    /// The next question; none when the feed is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Asked> {
        self.0.recv().await
    }
}

impl Asked {
    /// Answers. Over a connection that came later than the question nothing is sent.
    pub fn answer(self, reply: Reply) {
        self.outbox.reply(self.n, reply, self.place);
    }
}

/// Where the connection hands questions in; without a holder of [`Queries`] nobody answers.
#[derive(Debug)]
pub(super) struct Desk {
    to: Option<mpsc::Sender<Asked>>,
    places: Arc<Semaphore>,
}

impl Desk {
    /// One that nobody sits at.
    pub(super) fn closed() -> Self {
        Self {
            to: None,
            places: Arc::new(Semaphore::new(0)),
        }
    }

    /// One with somebody who answers.
    pub(super) fn open() -> (Self, Queries) {
        let (to, queries) = mpsc::channel(QUERIES_MAX);
        let places = Arc::new(Semaphore::new(QUERIES_MAX));
        let to = Some(to);
        (Self { to, places }, Queries(queries))
    }

    /// Takes a question; beyond [`QUERIES_MAX`] at a time it is not answered.
    pub(super) fn take(&self, n: u64, query: Query, outbox: &Arc<Outbox>) {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let (Some(to), Ok(place)) = (&self.to, place) else {
            tracing::warn!(?query, "a question of the api is not answered");
            return;
        };
        let asked = Asked {
            query,
            n,
            place,
            outbox: Arc::clone(outbox),
        };
        if to.try_send(asked).is_err() {
            tracing::warn!(?query, "nobody answers the api's questions any more");
        }
    }
}
