//! Questions to a node about its dynos, over its dynod's feed.

use super::{Feeds, Inner};
use model::feed::{Down, Role};
use model::limits::{QUERIES_MAX, QUERY_TIMEOUT_MS};
use model::query::{Query, Reply};
use std::time::Duration;
use tokio::sync::oneshot;

/// Why a node does not answer; for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SilenceError {
    /// Its dynod is not connected, or went meanwhile.
    #[error("its dynod is away")]
    Away,
    /// It has enough to answer.
    #[error("it is asked too much at once")]
    Busy,
    /// Nothing came in time.
    #[error("it did not answer within {} s", QUERY_TIMEOUT_MS / 1000)]
    Late,
}

/// One that waits for its reply.
#[derive(Debug)]
pub(super) struct Question {
    n: u64,
    /// The number of the peer that was asked.
    peer: u64,
    reply: oneshot::Sender<Reply>,
}

/// Takes a question back when nobody waits any more.
struct Asking<'a> {
    feeds: &'a Feeds,
    n: u64,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut inner = self.feeds.lock();
        inner.questions.retain(|question| question.n != self.n);
    }
}

impl Feeds {
    /// Asks a node and waits for its reply, at most [`QUERY_TIMEOUT_MS`].
    pub(crate) async fn ask(&self, node: &str, query: Query) -> Result<Reply, SilenceError> {
        let wait = Duration::from_millis(QUERY_TIMEOUT_MS);
        self.ask_within(wait, node, query).await
    }

    async fn ask_within(
        &self,
        wait: Duration,
        node: &str,
        query: Query,
    ) -> Result<Reply, SilenceError> {
        let (n, reply) = self.send_question(node, query)?;
        let asking = Asking { feeds: self, n };
        let replied = tokio::time::timeout(wait, reply).await;
        drop(asking);
        match replied {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(SilenceError::Away),
            Err(_) => Err(SilenceError::Late),
        }
    }

    /// Takes a peer's reply; one that nobody waits for, or that another peer was asked, is nothing.
    pub(crate) fn replied(&self, peer: u64, n: u64, reply: Reply) {
        let mut inner = self.lock();
        let mut questions = inner.questions.iter();
        let is_it = |question: &Question| question.n == n && question.peer == peer;
        if let Some(at) = questions.position(is_it) {
            let question = inner.questions.swap_remove(at);
            drop(inner);
            if question.reply.send(reply).is_err() {
                tracing::debug!("a reply came after its asker had gone");
            }
        }
    }

    fn send_question(
        &self,
        node: &str,
        query: Query,
    ) -> Result<(u64, oneshot::Receiver<Reply>), SilenceError> {
        let mut inner = self.lock();
        let Inner {
            peers,
            questions,
            last_question,
            ..
        } = &mut *inner;
        let is_it = |peer: &&super::Peer| peer.role == Role::Dynod && peer.node == node;
        let peer = peers.iter().rfind(is_it).ok_or(SilenceError::Away)?;
        let waiting = questions.iter().filter(|one| one.peer == peer.number);
        if waiting.count() >= QUERIES_MAX {
            return Err(SilenceError::Busy);
        }
        *last_question += 1;
        let n = *last_question;
        let asked = peer.queue.try_send(Down::Query { n, query });
        asked.map_err(|_| SilenceError::Busy)?;
        let (sender, reply) = oneshot::channel();
        questions.push(Question {
            n,
            peer: peer.number,
            reply: sender,
        });
        Ok((n, reply))
    }
}

impl Inner {
    /// Ends the questions of peers that are gone.
    pub(super) fn forget_questions(&mut self) {
        let is_there = |number| self.peers.iter().any(|peer| peer.number == number);
        self.questions.retain(|question| is_there(question.peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Reply {
        Reply::Start { steps: Vec::new() }
    }

    fn query() -> Query {
        let dyno = model::dyno::Id::new(uuid::Uuid::from_u128(1));
        Query::Start { dyno }
    }

    fn number(message: &Down) -> u64 {
        match message {
            Down::Query { n, .. } => *n,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_dynod_of_the_node_answers_and_nobody_else() {
        let feeds = Feeds::new(3);
        assert_eq!(feeds.ask("n1", query()).await, Err(SilenceError::Away));
        let mut dynod = feeds.subscribe(Role::Dynod, "n1");
        let other = feeds.subscribe(Role::Dynod, "n2");
        let router = feeds.subscribe(Role::Router, "n1");
        let (answer, ()) = tokio::join!(feeds.ask("n1", query()), async {
            let n = number(&dynod.changes.recv().await.unwrap());
            let none = |message: &str| Reply::None {
                message: message.to_owned(),
            };
            feeds.replied(other.number, n, none("of another node"));
            feeds.replied(router.number, n, none("of a router"));
            feeds.replied(dynod.number, n + 1, none("to another question"));
            feeds.replied(dynod.number, n, reply());
            feeds.replied(dynod.number, n, none("again"));
        });
        assert_eq!(answer, Ok(reply()));
        assert!(feeds.lock().questions.is_empty());
    }

    #[tokio::test]
    async fn a_dynod_that_goes_takes_its_questions_along() {
        let feeds = Feeds::new(3);
        let mut dynod = feeds.subscribe(Role::Dynod, "n1");
        let (answer, ()) = tokio::join!(feeds.ask("n1", query()), async move {
            dynod.changes.recv().await.unwrap();
            drop(dynod);
        });
        assert_eq!(answer, Err(SilenceError::Away));
    }

    #[tokio::test]
    async fn a_dynod_that_says_nothing_is_not_waited_for() {
        let feeds = Feeds::new(3);
        let _dynod = feeds.subscribe(Role::Dynod, "n1");
        let waiting: Vec<_> = (0..QUERIES_MAX)
            .map(|_| feeds.send_question("n1", query()).unwrap())
            .collect();
        assert_eq!(feeds.ask("n1", query()).await, Err(SilenceError::Busy));
        feeds.lock().questions.pop();
        let wait = Duration::from_millis(10);
        let late = feeds.ask_within(wait, "n1", query()).await;
        assert_eq!(late, Err(SilenceError::Late));
        assert_eq!(feeds.lock().questions.len(), waiting.len() - 1);
    }
}
