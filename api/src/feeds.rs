//! What the peers on the control socket are told: the published items, and a bounded queue per
//! peer. A peer that does not keep up is cut; it comes back and takes a snapshot.

mod questions;

use model::app;
use model::feed::{Down, Item, Key, Role};
use model::limits::{FEED_QUEUE_MAX, FRAME_MAX_BYTES, ROUTED_WAIT_MS};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Bytes of items in one message: the frame's bound less what is around them.
const CHUNK_MAX_BYTES: usize = FRAME_MAX_BYTES - 64 * 1024;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Feeds {
    inner: Mutex<Inner>,
    /// The number of this life of the api.
    epoch: u64,
    /// Roles that are connected; changes when one comes or goes.
    roles: watch::Sender<Vec<Role>>,
    /// Changes when a router has caught up.
    caught_up: watch::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    revision: u64,
    items: HashMap<Key, Published>,
    peers: Vec<Peer>,
    last_peer: u64,
    questions: Vec<questions::Question>,
    last_question: u64,
}

#[derive(Debug)]
struct Published {
    app: app::Id,
    node: Option<String>,
    item: Item,
}

#[derive(Debug)]
struct Peer {
    number: u64,
    role: Role,
    node: String,
    queue: mpsc::Sender<Down>,
    /// The revision of what it was sent last, and the one that it answers from.
    sent: u64,
    routed: u64,
    /// It did not catch up in time once; it is waited for again when it has.
    is_late: bool,
}

/// A peer's place in the feed; it leaves with it.
#[derive(Debug)]
pub(crate) struct Subscription<'a> {
    feeds: &'a Feeds,
    /// Never given out twice.
    pub(crate) number: u64,
    /// The whole state, to be sent first.
    pub(crate) snapshot: Vec<Down>,
    /// What comes after it. It ends when the peer did not keep up.
    pub(crate) changes: mpsc::Receiver<Down>,
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        let mut inner = self.feeds.lock();
        inner.peers.retain(|peer| peer.number != self.number);
        inner.forget_questions();
        self.feeds.tell_roles(&inner);
        drop(inner);
        self.feeds.caught_up.send_replace(());
    }
}

/// An item with the node it is for, when it is for one only.
pub(crate) struct Addressed {
    pub(crate) node: Option<String>,
    pub(crate) item: Item,
}

impl Feeds {
    /// Starts with nothing published.
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            inner: Mutex::new(Inner {
                revision: epoch << 32,
                items: HashMap::new(),
                peers: Vec::new(),
                last_peer: 0,
                questions: Vec::new(),
                last_question: epoch << 32,
            }),
            epoch,
            roles: watch::Sender::new(Vec::new()),
            caught_up: watch::Sender::new(()),
        }
    }

    /// Publishes all items of an app in place of those before. `make` is told which keys are out
    /// already: what never changes (a want) it need not make again, and gives as a bare key. When
    /// it makes nothing of them, everything stays as it is.
    pub(crate) fn publish(
        &self,
        app: app::Id,
        make: impl FnOnce(&dyn Fn(Key) -> bool) -> Option<(Vec<Addressed>, Vec<Key>)>,
    ) {
        let mut inner = self.lock();
        let Some((items, kept)) = make(&|key| inner.items.contains_key(&key)) else {
            return;
        };
        let mut stay: HashSet<Key> = kept.into_iter().collect();
        stay.extend(items.iter().map(|addressed| addressed.item.key()));
        let gone: Vec<Key> = inner
            .items
            .iter()
            .filter(|(key, published)| published.app == app && !stay.contains(key))
            .map(|(key, _)| *key)
            .collect();
        let removed: Vec<Published> = gone
            .iter()
            .filter_map(|key| inner.items.remove(key))
            .collect();
        let mut set = Vec::new();
        for Addressed { node, item } in items {
            let key = item.key();
            let is_same = inner.items.get(&key).is_some_and(|old| old.item == item);
            if !is_same {
                set.push(Published {
                    app,
                    node: node.clone(),
                    item: item.clone(),
                });
                inner.items.insert(key, Published { app, node, item });
            }
        }
        if !set.is_empty() || !removed.is_empty() {
            inner.revision += 1;
            self.send(&mut inner, &set, &removed);
        }
    }

    /// Adds a peer: what there is now, and a queue of what comes.
    pub(crate) fn subscribe(&self, role: Role, node: &str) -> Subscription<'_> {
        let mut inner = self.lock();
        let (queue, changes) = mpsc::channel(FEED_QUEUE_MAX);
        inner.last_peer += 1;
        let (number, revision) = (inner.last_peer, inner.revision);
        inner.peers.push(Peer {
            number,
            role,
            node: node.to_owned(),
            queue,
            sent: revision,
            routed: 0,
            is_late: false,
        });
        let items = inner
            .items
            .values()
            .filter(|published| published.is_for(role, node))
            .map(|published| published.item.clone())
            .collect();
        let mut chunks = chunks(items);
        let last = chunks.pop().unwrap_or_default();
        let snapshot = |is_last| {
            move |items| Down::Snapshot {
                revision,
                last: is_last,
                items,
            }
        };
        let snapshot = chunks
            .into_iter()
            .map(snapshot(false))
            .chain(std::iter::once(last).map(snapshot(true)))
            .collect();
        self.tell_roles(&inner);
        Subscription {
            feeds: self,
            number,
            snapshot,
            changes,
        }
    }

    /// The roles that are connected now.
    pub(crate) fn roles(&self) -> watch::Receiver<Vec<Role>> {
        self.roles.subscribe()
    }

    /// A router answers from this revision now.
    pub(crate) fn routed(&self, number: u64, revision: u64) {
        let mut inner = self.lock();
        for peer in inner.peers.iter_mut().filter(|peer| peer.number == number) {
            peer.routed = peer.routed.max(revision);
            peer.is_late &= peer.routed < peer.sent;
        }
        drop(inner);
        self.caught_up.send_replace(());
    }

    /// Waits until all routers answer from what has been published so far, so that nobody is told
    /// of a change that a request made right afterwards does not meet. A router that takes longer
    /// than [`ROUTED_WAIT_MS`] is not waited for until it has caught up.
    pub(crate) async fn all_routed(&self) {
        let behind: Vec<(u64, u64)> = self.lock().behind().collect();
        if behind.is_empty() {
            return;
        }
        let mut caught_up = self.caught_up.subscribe();
        let wait = Duration::from_millis(ROUTED_WAIT_MS);
        let all = caught_up.wait_for(|()| self.lock().have_reached(&behind));
        if tokio::time::timeout(wait, all).await.is_err() {
            let mut inner = self.lock();
            for peer in &mut inner.peers {
                peer.is_late |= behind
                    .iter()
                    .any(|(number, sent)| *number == peer.number && peer.routed < *sent);
            }
            tracing::warn!("a router does not take the changes of its table in time");
        }
    }

    fn send(&self, inner: &mut Inner, set: &[Published], removed: &[Published]) {
        let revision = inner.revision;
        let epoch = self.epoch;
        inner.peers.retain_mut(|peer| {
            let mine = |published: &&Published| published.is_for(peer.role, &peer.node);
            let set = set.iter().filter(mine).map(|new| new.item.clone());
            let remove: Vec<Key> = removed.iter().filter(mine).map(|old| old.item.key()).collect();
            let mut chunks = chunks(set.collect());
            if chunks.is_empty() && !remove.is_empty() {
                chunks.push(Vec::new());
            }
            let mut remove = Some(remove);
            let is_in_time = chunks.into_iter().all(|set| {
                let change = Down::Change {
                    revision,
                    epoch,
                    set,
                    remove: remove.take().unwrap_or_default(),
                };
                peer.sent = revision;
                peer.queue.try_send(change).is_ok()
            });
            if !is_in_time {
                tracing::warn!(role = ?peer.role, "a peer does not keep up with the feed and is cut");
            }
            is_in_time
        });
        self.tell_roles(inner);
    }

    fn tell_roles(&self, inner: &Inner) {
        let roles: Vec<Role> = inner.peers.iter().map(|peer| peer.role).collect();
        self.roles.send_if_modified(|known| {
            let is_new = *known != roles;
            *known = roles;
            is_new
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Routers that do not answer yet from what they were sent, with its revision.
    fn behind(&self) -> impl Iterator<Item = (u64, u64)> {
        self.peers
            .iter()
            .filter(|peer| peer.role == Role::Router && !peer.is_late && peer.routed < peer.sent)
            .map(|peer| (peer.number, peer.sent))
    }

    /// Whether those that are still there have come so far.
    fn have_reached(&self, wanted: &[(u64, u64)]) -> bool {
        let is_behind = |number, sent| {
            let mut peers = self.peers.iter();
            peers.any(|peer| peer.number == number && peer.routed < sent)
        };
        !wanted
            .iter()
            .any(|(number, sent)| is_behind(*number, *sent))
    }
}

impl Published {
    /// The builder hears of apps, a dynod also of its dynos, a router also of routes.
    fn is_for(&self, role: Role, node: &str) -> bool {
        let is_here = self.node.as_ref().is_none_or(|mine| mine == node);
        let is_asked = match self.item {
            Item::App(_) => true,
            Item::Want(_) => role == Role::Dynod,
            Item::Route(_) => role == Role::Router,
            Item::Build(_) => role == Role::Builder,
        };
        is_here && is_asked
    }
}

/// Parts that fit a frame each. One item alone always does: its records are bounded.
fn chunks(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut chunks: Vec<Vec<Item>> = Vec::new();
    let mut room = 0;
    for item in items {
        let size = serde_json::to_vec(&item).map_or(0, |json| json.len() + 1);
        match chunks.last_mut() {
            Some(chunk) if size <= room => {
                room -= size;
                chunk.push(item);
            }
            _ => {
                room = CHUNK_MAX_BYTES.saturating_sub(size);
                chunks.push(vec![item]);
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::app;
    use model::feed::App;

    fn item(commit: &str) -> Addressed {
        let item = Item::App(App {
            id: app().id,
            name: app().name,
            commit: Some(commit.to_owned()),
        });
        Addressed { node: None, item }
    }

    #[test]
    fn a_peer_gets_a_snapshot_then_what_changes() {
        let feeds = Feeds::new(2);
        feeds.publish(app().id, |_| Some((vec![item("a")], vec![])));
        let mut peer = feeds.subscribe(Role::Builder, "n1");
        assert_eq!(*feeds.roles().borrow(), [Role::Builder]);
        let [
            Down::Snapshot {
                revision,
                last: true,
                items,
            },
        ] = peer.snapshot.as_slice()
        else {
            panic!("{:?}", peer.snapshot)
        };
        assert_eq!((*revision >> 32, items.len()), (2, 1));
        feeds.publish(app().id, |_| Some((vec![item("a")], vec![])));
        assert!(peer.changes.try_recv().is_err(), "nothing changed");
        feeds.publish(app().id, |_| Some((vec![item("b")], vec![])));
        feeds.publish(app().id, |is_out| {
            assert!(is_out(Key::App(app().id)));
            Some((vec![], vec![]))
        });
        assert!(
            matches!(peer.changes.try_recv().unwrap(), Down::Change { epoch: 2, ref set, .. } if set.len() == 1)
        );
        assert!(
            matches!(peer.changes.try_recv().unwrap(), Down::Change { ref remove, .. } if remove.len() == 1)
        );
        drop(peer);
        assert!(feeds.roles().borrow().is_empty());
    }

    #[tokio::test]
    async fn an_answer_waits_for_the_routers() {
        let feeds = Feeds::new(1);
        feeds.all_routed().await;
        let router = feeds.subscribe(Role::Router, "n1");
        let builder = feeds.subscribe(Role::Builder, "n1");
        let revision = || feeds.lock().revision;
        feeds.routed(router.number, revision());
        feeds.all_routed().await;
        feeds.publish(app().id, |_| Some((vec![item("a")], vec![])));
        let is_told = std::cell::Cell::new(false);
        tokio::join!(
            async {
                feeds.all_routed().await;
                is_told.set(true);
            },
            async {
                feeds.routed(builder.number, revision());
                tokio::task::yield_now().await;
                assert!(!is_told.get());
                feeds.routed(router.number, revision());
            }
        );
        // One that hangs is waited for once.
        feeds.publish(app().id, |_| Some((vec![item("b")], vec![])));
        assert_eq!(feeds.lock().behind().count(), 1);
        feeds.all_routed().await;
        assert_eq!(feeds.lock().behind().count(), 0);
        feeds.routed(router.number, revision());
        feeds.publish(app().id, |_| Some((vec![item("c")], vec![])));
        assert_eq!(feeds.lock().behind().count(), 1);
        drop(router);
        feeds.all_routed().await;
    }

    #[test]
    fn a_peer_that_does_not_keep_up_is_cut() {
        let feeds = Feeds::new(1);
        let mut peer = feeds.subscribe(Role::Builder, "n1");
        for n in 0..=FEED_QUEUE_MAX {
            feeds.publish(app().id, |_| Some((vec![item(&n.to_string())], vec![])));
        }
        assert!(feeds.roles().borrow().is_empty());
        let mut count = 0;
        while peer.changes.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, FEED_QUEUE_MAX);
        assert!(peer.changes.is_closed());
    }

    #[test]
    fn snapshots_come_in_chunks() {
        let items = (0..50).map(|_| item(&"x".repeat(100_000)).item).collect();
        let parts = chunks(items);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 50);
        for part in &parts {
            let message = Down::Snapshot {
                revision: u64::MAX,
                last: false,
                items: part.clone(),
            };
            link::frame::encode(&message).unwrap();
        }
    }
}
