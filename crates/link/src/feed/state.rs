//! What a role was told: snapshots and changes merged.

use model::feed::{Item, Key};
use std::collections::HashMap;
use std::sync::Arc;

/// The state at one revision. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The api's revision; 0 before the first snapshot.
    pub revision: u64,
    /// Whether the connection is up and its snapshot complete. Otherwise `items` is what was told
    /// last: empty before the first snapshot.
    pub is_live: bool,
    /// All there is. An item that did not change keeps its `Arc`, so `Arc::ptr_eq` tells what did.
    pub items: Arc<HashMap<Key, Arc<Item>>>,
}

/// The message cannot follow the ones before it; the connection is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GapError {
    #[error("follow the feed: a change came before the snapshot was complete")]
    NoSnapshot,
    #[error("follow the feed: revision {got} after {have}")]
    Backwards { have: u64, got: u64 },
}

/// One connection's way from messages to states.
#[derive(Debug, Default)]
pub(super) struct Merge {
    chunks: Vec<Item>,
    is_complete: bool,
    epoch: u64,
}

impl Merge {
    /// Takes a chunk; with the last one the state is replaced, and true comes back.
    pub(super) fn snapshot(&mut self, state: &mut State, chunk: Chunk) -> bool {
        self.chunks.extend(chunk.items);
        if !chunk.is_last {
            return false;
        }
        let items = std::mem::take(&mut self.chunks)
            .into_iter()
            .map(|item| keep_unchanged(state, item))
            .collect();
        *state = State {
            revision: chunk.revision,
            is_live: true,
            items: Arc::new(items),
        };
        self.is_complete = true;
        true
    }

    /// Takes a change; one of an older epoch than was seen is ignored, and false comes back.
    pub(super) fn change(&mut self, state: &mut State, change: Change) -> Result<bool, GapError> {
        if !self.is_complete {
            return Err(GapError::NoSnapshot);
        }
        if change.epoch < self.epoch {
            return Ok(false);
        }
        if change.revision < state.revision {
            return Err(GapError::Backwards {
                have: state.revision,
                got: change.revision,
            });
        }
        let items = Arc::make_mut(&mut state.items);
        for key in change.remove {
            items.remove(&key);
        }
        items.extend(
            change
                .set
                .into_iter()
                .map(|item| (item.key(), Arc::new(item))),
        );
        self.epoch = change.epoch;
        state.revision = change.revision;
        Ok(true)
    }
}

/// [`model::feed::Down::Snapshot`]
pub(super) struct Chunk {
    pub(super) revision: u64,
    pub(super) is_last: bool,
    pub(super) items: Vec<Item>,
}

/// [`model::feed::Down::Change`]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) epoch: u64,
    pub(super) set: Vec<Item>,
    pub(super) remove: Vec<Key>,
}

fn keep_unchanged(state: &State, item: Item) -> (Key, Arc<Item>) {
    let key = item.key();
    match state.items.get(&key) {
        Some(old) if **old == item => (key, Arc::clone(old)),
        _ => (key, Arc::new(item)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::app;
    use model::feed::App;

    fn item(n: u8, name: &str) -> Item {
        Item::App(App {
            id: app::Id::parse(&format!("00000000-0000-4000-8000-0000000000{n:02}")).unwrap(),
            name: app::Name::parse(name).unwrap(),
            commit: None,
        })
    }

    fn chunk(revision: u64, is_last: bool, items: Vec<Item>) -> Chunk {
        Chunk {
            revision,
            is_last,
            items,
        }
    }

    fn change(revision: u64, epoch: u64, set: Vec<Item>, remove: Vec<Key>) -> Change {
        Change {
            revision,
            epoch,
            set,
            remove,
        }
    }

    #[test]
    fn snapshot_in_chunks_then_changes() {
        let (mut merge, mut state) = (Merge::default(), State::default());
        assert!(!merge.snapshot(&mut state, chunk(5, false, vec![item(1, "one")])));
        assert!(state.items.is_empty() && !state.is_live);
        assert!(merge.snapshot(&mut state, chunk(5, true, vec![item(2, "two")])));
        assert_eq!(
            (state.items.len(), state.revision, state.is_live),
            (2, 5, true)
        );

        let before = state.clone();
        let one = item(1, "one").key();
        let done = merge.change(&mut state, change(6, 1, vec![item(3, "three")], vec![one]));
        assert_eq!(done, Ok(true));
        assert_eq!((state.items.len(), state.revision), (2, 6));
        let two = item(2, "two").key();
        assert!(Arc::ptr_eq(&before.items[&two], &state.items[&two]));
        assert_eq!(before.items.len(), 2, "a clone does not change");
    }

    #[test]
    fn a_new_snapshot_drops_what_is_gone_and_keeps_what_is_the_same() {
        let (mut merge, mut state) = (Merge::default(), State::default());
        merge.snapshot(
            &mut state,
            chunk(5, true, vec![item(1, "one"), item(2, "two")]),
        );
        let before = state.clone();
        let mut merge = Merge::default();
        merge.snapshot(&mut state, chunk(2, true, vec![item(2, "two")]));
        let two = item(2, "two").key();
        assert_eq!((state.items.len(), state.revision), (1, 2));
        assert!(Arc::ptr_eq(&before.items[&two], &state.items[&two]));
    }

    #[test]
    fn what_cannot_follow() {
        let (mut merge, mut state) = (Merge::default(), State::default());
        let early = merge.change(&mut state, change(1, 1, vec![], vec![]));
        assert_eq!(early, Err(GapError::NoSnapshot));
        merge.snapshot(&mut state, chunk(5, true, vec![]));
        assert_eq!(
            merge.change(&mut state, change(6, 4, vec![], vec![])),
            Ok(true)
        );
        let old_epoch = merge.change(&mut state, change(7, 3, vec![item(1, "one")], vec![]));
        assert_eq!((old_epoch, state.items.len()), (Ok(false), 0));
        let backwards = merge.change(&mut state, change(5, 4, vec![], vec![]));
        assert_eq!(backwards, Err(GapError::Backwards { have: 6, got: 5 }));
    }
}
