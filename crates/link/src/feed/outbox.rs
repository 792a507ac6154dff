//! What a role still has to tell the api: events until they are acknowledged, questions until they
//! are answered, answers to the api's own questions. Plain data behind one lock; the connection's
//! writer takes frames from it.

use model::feed::{Answer, Ask, Event, Up};
use model::limits::{ASK_PROGRESS_QUEUE_MAX, ASKS_MAX, FEED_QUEUE_MAX};
use model::query;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// A message on the way to an answer, or the answer.
#[derive(Debug)]
pub(super) enum Reply {
    Progress(String),
    Answer(Box<Answer>),
}

#[derive(Debug)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    /// Bounds of `Inner`: a place is given back when its entry leaves.
    event_places: Arc<Semaphore>,
    ask_places: Arc<Semaphore>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    last_event: u64,
    last_ask: u64,
    /// Not acknowledged, ascending.
    events: VecDeque<(u64, Event, OwnedSemaphorePermit)>,
    /// Sent over the present connection up to here.
    sent_event: u64,
    asks: BTreeMap<u64, Pending>,
    /// Sent and no longer waited for; bounded, since each was one of `asks`.
    forgets: Vec<(u64, OwnedSemaphorePermit)>,
    /// Answers to what the api asked over the present connection.
    replies: Vec<(u64, query::Reply, OwnedSemaphorePermit)>,
}

#[derive(Debug)]
struct Pending {
    ask: Ask,
    is_sent: bool,
    replies: mpsc::Sender<Reply>,
    place: OwnedSemaphorePermit,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            event_places: Arc::new(Semaphore::new(FEED_QUEUE_MAX)),
            ask_places: Arc::new(Semaphore::new(ASKS_MAX)),
            more: Notify::new(),
        }
    }
}

impl Outbox {
    pub(super) async fn event(&self, event: Event) {
        let place = take_place(&self.event_places).await;
        let mut inner = self.lock();
        inner.last_event += 1;
        let n = inner.last_event;
        inner.events.push_back((n, event, place));
        drop(inner);
        self.more.notify_one();
    }

    pub(super) async fn ask(self: &Arc<Self>, ask: Ask) -> Question {
        let place = take_place(&self.ask_places).await;
        let (replies, answers) = mpsc::channel(ASK_PROGRESS_QUEUE_MAX);
        let mut inner = self.lock();
        inner.last_ask += 1;
        let n = inner.last_ask;
        let pending = Pending {
            ask,
            is_sent: false,
            replies,
            place,
        };
        inner.asks.insert(n, pending);
        drop(inner);
        self.more.notify_one();
        Question {
            n,
            answers,
            outbox: Arc::clone(self),
        }
    }

    /// Begins a connection: nothing was sent over it yet, and the one before took with it what it
    /// was asked and nobody waits for.
    pub(super) fn restart(&self) {
        let mut inner = self.lock();
        inner.sent_event = 0;
        inner.forgets.clear();
        inner.replies.clear();
        for pending in inner.asks.values_mut() {
            pending.is_sent = false;
        }
        drop(inner);
        self.more.notify_one();
    }

    /// Waits until there may be something to send. Cancel-safe.
    pub(super) async fn wait(&self) {
        self.more.notified().await;
    }

    /// Takes what was not sent over this connection yet, in the order in which it is to be sent.
    pub(super) fn take_unsent(&self) -> Vec<Up> {
        let mut inner = self.lock();
        let sent = inner.sent_event;
        let mut messages: Vec<Up> = inner
            .events
            .iter()
            .filter(|(n, ..)| *n > sent)
            .map(|(n, event, _)| Up::Event {
                n: *n,
                event: event.clone(),
            })
            .collect();
        inner.sent_event = inner.last_event;
        for (n, pending) in inner.asks.iter_mut().filter(|(_, p)| !p.is_sent) {
            pending.is_sent = true;
            let (n, ask) = (*n, pending.ask.clone());
            messages.push(Up::Ask { n, ask });
        }
        let forgets = inner.forgets.drain(..);
        messages.extend(forgets.map(|(n, _)| Up::Forget { n }));
        let replies = inner.replies.drain(..);
        messages.extend(replies.map(|(n, reply, _)| Up::Reply { n, reply }));
        messages
    }

    /// Events up to `n` need not be sent again.
    pub(super) fn acknowledge(&self, n: u64) {
        let mut inner = self.lock();
        while inner.events.front().is_some_and(|(first, ..)| *first <= n) {
            inner.events.pop_front();
        }
    }

    /// Hands a line to its asker; waits when the asker is slow, drops it when nobody waits.
    pub(super) async fn progress(&self, n: u64, line: String) {
        let replies = self
            .lock()
            .asks
            .get(&n)
            .map(|pending| pending.replies.clone());
        if let Some(replies) = replies {
            // An error says that the asker went; its `Question` takes care of the rest.
            drop(replies.send(Reply::Progress(line)).await);
        }
    }

    /// Answers a question of the api.
    pub(super) fn reply(&self, n: u64, reply: query::Reply, place: OwnedSemaphorePermit) {
        self.lock().replies.push((n, reply, place));
        self.more.notify_one();
    }

    /// Hands the answer to its asker.
    pub(super) async fn answer(&self, n: u64, answer: Answer) {
        let pending = self.lock().asks.remove(&n);
        if let Some(pending) = pending {
            drop(pending.replies.send(Reply::Answer(Box::new(answer))).await);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn take_place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed")
}

/// A question under way. Dropped before its answer, it is forgotten, here and at the api.
#[derive(Debug)]
pub(super) struct Question {
    n: u64,
    answers: mpsc::Receiver<Reply>,
    outbox: Arc<Outbox>,
}

impl Question {
    /// The next line or the answer; nothing may be asked after the answer.
    pub(super) async fn reply(&mut self) -> Reply {
        self.answers
            .recv()
            .await
            .expect("the sender stays in the outbox until it has sent the answer")
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let mut inner = self.outbox.lock();
        if let Some(pending) = inner.asks.remove(&self.n)
            && pending.is_sent
        {
            inner.forgets.push((self.n, pending.place));
            drop(inner);
            self.outbox.more.notify_one();
        }
    }
}
