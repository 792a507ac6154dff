//! One connection of a role: snapshot and changes down, events and questions up.

use super::asks::{Undo, answer};
use super::{Peer, PeerError, send};
use crate::records::Holder;
use link::frame;
use model::feed::{Ask, Down, Event, Role, Up};
use model::limits::ASKS_MAX;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// Answers and acknowledgements that wait for the peer; the peer is not read while they do.
const REPLIES_MAX: usize = 256;
/// After a dynod is back the routers wait so long at most for its word on every dyno.
const REPORT_WAIT: Duration = Duration::from_secs(10);

/// Serves a peer until it goes. `is_fed`: it gets the state, too.
pub(super) async fn serve(peer: Peer, stream: UnixStream, is_fed: bool) -> Result<(), PeerError> {
    let peer = Arc::new(peer);
    let holder = peer.pid.and_then(Holder::of);
    let is_builder = is_fed && peer.hello.role == Role::Builder;
    if let (true, Some(holder)) = (is_builder, holder) {
        peer.platform.builder.came(&peer.platform, holder).await;
    }
    let (reader, writer) = stream.into_split();
    let (replies, outgoing) = mpsc::channel(REPLIES_MAX);
    let mut asks = Asks::new(Arc::clone(&peer), holder, replies);
    let ended = tokio::select! {
        ended = read(&peer, reader, &mut asks) => ended,
        ended = write(&peer, writer, outgoing, is_fed) => ended,
    };
    asks.running.shutdown().await;
    if let (true, Some(holder)) = (is_builder, holder) {
        peer.platform.builder.went(&peer.platform, holder);
    }
    ended
}

async fn read(peer: &Peer, mut stream: OwnedReadHalf, asks: &mut Asks) -> Result<(), PeerError> {
    while let Some(message) = frame::read::<Up>(&mut stream).await? {
        match message {
            Up::Hello(_) => return Err(PeerError::Protocol("hello comes once")),
            Up::Event { n, event } => {
                handle(peer, event)?;
                let acknowledge = Down::Acknowledge { n };
                if asks.replies.send(acknowledge).await.is_err() {
                    return Ok(());
                }
            }
            Up::Ask { n, ask } => asks.begin(n, ask)?,
            Up::Forget { n } => asks.forget(n).await,
            Up::Reply { n, reply } => {
                let number = peer.subscription.get();
                let number = number.ok_or(PeerError::Protocol("a reply to no question"))?;
                peer.platform.feeds.replied(*number, n, reply);
            }
        }
    }
    Ok(())
}

/// Each event says how something is now, so that handling it twice changes nothing.
fn handle(peer: &Peer, event: Event) -> Result<(), PeerError> {
    let platform = &peer.platform;
    match (peer.hello.role, event) {
        (Role::Dynod, Event::Dyno(change)) => {
            if let Some(app) = platform.fleet.observe(change) {
                platform.publish(app);
            }
            Ok(())
        }
        (Role::Router, Event::Drained { dyno }) => {
            platform.fleet.drained(dyno);
            Ok(())
        }
        (Role::Router, Event::Routed { revision }) => {
            if let Some(number) = peer.subscription.get() {
                platform.feeds.routed(*number, revision);
            }
            Ok(())
        }
        _ => Err(PeerError::Protocol("the event belongs to another role")),
    }
}

async fn write(
    peer: &Peer,
    mut stream: OwnedWriteHalf,
    mut replies: mpsc::Receiver<Down>,
    is_fed: bool,
) -> Result<(), PeerError> {
    if !is_fed {
        while let Some(reply) = replies.recv().await {
            send(&mut stream, &reply).await?;
        }
        return Ok(());
    }
    let reported = wait_until_reported(peer);
    tokio::pin!(reported);
    loop {
        tokio::select! {
            () = &mut reported => break,
            Some(reply) = replies.recv() => send(&mut stream, &reply).await?,
        }
    }
    let feeds = &peer.platform.feeds;
    let mut subscription = feeds.subscribe(peer.hello.role, &peer.hello.node);
    peer.subscription.get_or_init(|| subscription.number);
    for part in std::mem::take(&mut subscription.snapshot) {
        send(&mut stream, &part).await?;
    }
    loop {
        let message = tokio::select! {
            message = subscription.changes.recv() => message,
            message = replies.recv() => message,
        };
        match message {
            Some(message) => send(&mut stream, &message).await?,
            None => return Err(PeerError::TooSlow),
        }
    }
}

/// A router knows from its last snapshot where the dynos are. Until every dyno was reported to this
/// api we know less, and what we said would take the route's endpoints away.
async fn wait_until_reported(peer: &Peer) {
    if peer.hello.role != Role::Router {
        return;
    }
    let platform = &peer.platform;
    let late = async {
        let mut roles = platform.feeds.roles();
        let waited = roles.wait_for(|roles| roles.contains(&Role::Dynod)).await;
        drop(waited);
        tokio::time::sleep(REPORT_WAIT).await;
    };
    tokio::select! {
        () = platform.fleet.wait_for(|view| view.is_all_reported().then_some(())) => {}
        () = late => tracing::warn!("a dynod did not report every dyno; routers are told without"),
    }
}

/// The questions of one connection.
struct Asks {
    peer: Arc<Peer>,
    holder: Option<Holder>,
    replies: mpsc::Sender<Down>,
    running: JoinSet<()>,
    handles: HashMap<u64, AbortHandle>,
    /// What a forgotten question has started: also of answered ones, whose answer and whose
    /// `Forget` may have crossed.
    undo: Arc<Mutex<BTreeMap<u64, Undo>>>,
}

impl Asks {
    fn new(peer: Arc<Peer>, holder: Option<Holder>, replies: mpsc::Sender<Down>) -> Self {
        Self {
            peer,
            holder,
            replies,
            running: JoinSet::new(),
            handles: HashMap::new(),
            undo: Arc::default(),
        }
    }

    fn begin(&mut self, n: u64, ask: Ask) -> Result<(), PeerError> {
        while self.running.try_join_next().is_some() {}
        self.handles.retain(|_, handle| !handle.is_finished());
        if self.running.len() >= ASKS_MAX {
            return Err(PeerError::Protocol("too many questions at once"));
        }
        let asked = Asked {
            n,
            peer: Arc::clone(&self.peer),
            holder: self.holder,
            replies: self.replies.clone(),
            undo: Arc::clone(&self.undo),
        };
        let handle = self.running.spawn(async move {
            let answer = answer(&asked, ask).await;
            asked.reply(Down::Answer { n, answer }).await;
        });
        self.handles.insert(n, handle);
        Ok(())
    }

    async fn forget(&mut self, n: u64) {
        if let Some(handle) = self.handles.remove(&n) {
            handle.abort();
        }
        let undo = lock(&self.undo).remove(&n);
        if let Some(undo) = undo {
            undo.run(&self.peer.platform).await;
        }
    }
}

/// A question under way.
pub(super) struct Asked {
    n: u64,
    pub(super) peer: Arc<Peer>,
    pub(super) holder: Option<Holder>,
    replies: mpsc::Sender<Down>,
    undo: Arc<Mutex<BTreeMap<u64, Undo>>>,
}

impl Asked {
    /// Sends a line on the way to the answer.
    pub(super) async fn progress(&self, line: String) {
        let n = self.n;
        self.reply(Down::Progress { n, line }).await;
    }

    /// Notes what has to be undone when nobody waits for the answer any more.
    pub(super) fn undo_by(&self, undo: Undo) {
        let mut undos = lock(&self.undo);
        undos.insert(self.n, undo);
        while undos.len() > ASKS_MAX {
            undos.pop_first();
        }
    }

    async fn reply(&self, message: Down) {
        if self.replies.send(message).await.is_err() {
            tracing::debug!("a peer went before its answer");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
