//! Tests of `store`.

use super::*;
use crate::scratch::Scratch;
use crate::transaction::TransactionError;
use crate::watch::Change;
use model::limits::{STORE_CHANGES_MAX, STORE_HISTORY_REVISIONS};
use rusqlite::TransactionBehavior;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn open(scratch: &Scratch) -> Arc<Store> {
    Arc::new(Store::open(&scratch.path().join("store.db")).unwrap())
}

fn put(store: &Store, key: &str, value: &str) -> Revision {
    let transaction = Transaction::new().put(key, &value).unwrap();
    store.commit(&transaction).unwrap()
}

fn delete(store: &Store, key: &str) -> Revision {
    let transaction = Transaction::new().delete(key).unwrap();
    store.commit(&transaction).unwrap()
}

/// `key=value@revision` of what is there, or `-key@revision` of what was deleted.
fn told(changes: &Changes) -> Vec<String> {
    let Changes::Some { changes, .. } = changes else {
        return vec!["gap".into()];
    };
    let text = |change: &Change| match change.value::<String>().unwrap() {
        Some(value) => format!("{}={value}@{}", change.key, change.revision),
        None => format!("-{}@{}", change.key, change.revision),
    };
    changes.iter().map(text).collect()
}

#[test]
fn records_come_back_with_their_revisions() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    assert_eq!(store.revision().unwrap(), Revision(0));
    assert_eq!(store.get::<String>("app/1").unwrap(), None);
    for (key, value, revision) in [
        ("app/1", "one", 1),
        ("app/2", "two", 2),
        ("app/1", "uno", 3),
    ] {
        assert_eq!(put(&store, key, value), Revision(revision));
    }
    put(&store, "apple", "no app");
    let list: Vec<Entry<String>> = store.list("app/").unwrap();
    let list: Vec<_> = list
        .iter()
        .map(|entry| (entry.key.as_str(), entry.revision.0, entry.value.as_str()))
        .collect();
    assert_eq!(list, [("app/1", 3, "uno"), ("app/2", 2, "two")]);
    assert_eq!(store.list::<String>("").unwrap().len(), 3);
    assert!(store.list::<String>("b").unwrap().is_empty());

    assert_eq!(delete(&store, "app/1"), Revision(5));
    assert_eq!(delete(&store, "app/1"), Revision(5), "nothing was changed");
    assert_eq!(store.get::<String>("app/1").unwrap(), None);
    assert_eq!(store.list::<String>("app/").unwrap().len(), 1);
    drop(store);
    let store = open(&scratch);
    assert_eq!(store.revision().unwrap(), Revision(5));
    let record = store.get::<String>("app/2").unwrap().unwrap();
    assert_eq!(
        (record.revision, record.value.as_str()),
        (Revision(2), "two")
    );
}

#[test]
fn a_record_of_another_type_is_told() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    put(&store, "a", "text");
    let error = store.get::<u64>("a").unwrap_err();
    assert_eq!(error.to_string(), "read a from the store");
    assert!(store.list::<u64>("").is_err());
}

#[test]
fn all_conditions_or_nothing() {
    type Make = fn(Transaction) -> Result<Transaction, TransactionError>;
    /// The key that conflicts, and its revision.
    type Conflict = Option<(&'static str, Option<u64>)>;
    let cases: [(Make, Conflict); 8] = [
        (|tx| tx.absent("new"), None),
        (|tx| tx.at("a", Revision(1)), None),
        (
            |tx| tx.at("a", Revision(1))?.at("b", Revision(3))?.absent("c"),
            None,
        ),
        (|tx| tx.absent("a"), Some(("a", Some(1)))),
        (|tx| tx.at("a", Revision(2)), Some(("a", Some(1)))),
        (|tx| tx.at("new", Revision(1)), Some(("new", None))),
        (|tx| tx.absent("gone"), None),
        (
            |tx| tx.absent("new")?.at("b", Revision(2)),
            Some(("b", Some(3))),
        ),
    ];
    for (make, conflict) in cases {
        let scratch = Scratch::new();
        let store = open(&scratch);
        put(&store, "a", "1");
        put(&store, "gone", "2");
        put(&store, "b", "3");
        delete(&store, "gone");
        let writes = Transaction::new()
            .put("x", &"x")
            .unwrap()
            .delete("a")
            .unwrap();
        let result = store.commit(&make(writes).unwrap());
        let is_there = |key| store.get::<String>(key).unwrap().is_some();
        match conflict {
            None => {
                assert_eq!(result.unwrap(), Revision(5));
                assert_eq!((is_there("x"), is_there("a")), (true, false));
            }
            Some((expected, expected_revision)) => {
                let Err(CommitError::Conflict { key, revision }) = result else {
                    panic!("{result:?} is no conflict");
                };
                assert_eq!(
                    (key.as_str(), revision.map(|r| r.0)),
                    (expected, expected_revision)
                );
                assert_eq!((is_there("x"), is_there("a")), (false, true));
                assert_eq!(store.revision().unwrap(), Revision(4));
            }
        }
    }
}

#[test]
fn one_of_many_wins() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let winners: usize = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|n| {
                let store = &store;
                scope.spawn(move || {
                    let tx = Transaction::new().absent("name/shop").unwrap();
                    store.commit(&tx.put("name/shop", &n).unwrap()).is_ok()
                })
            })
            .collect();
        tries
            .into_iter()
            .filter_map(|t| t.join().ok().filter(|won| *won))
            .count()
    });
    assert_eq!(winners, 1);
}

#[test]
fn changes_since_a_revision() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    put(&store, "app/1", "a");
    put(&store, "other/1", "b");
    put(&store, "app/2", "c");
    put(&store, "app/1", "d");
    delete(&store, "app/2");
    let both = Transaction::new().put("app/4", &"f").unwrap();
    store.commit(&both.put("app/3", &"e").unwrap()).unwrap();
    for (after, expected) in [
        (0, vec!["app/1=d@4", "-app/2@5", "app/3=e@6", "app/4=f@6"]),
        (4, vec!["-app/2@5", "app/3=e@6", "app/4=f@6"]),
        (6, vec![]),
        (7, vec!["gap"]),
    ] {
        let changes = store.changes("app/", Revision(after)).unwrap();
        assert_eq!(told(&changes), expected, "after {after}");
        if let Changes::Some { through, .. } = changes {
            assert_eq!(through, Revision(6));
        }
    }
    put(&store, "app/2", "again");
    assert_eq!(
        told(&store.changes("app/", Revision(6)).unwrap()),
        ["app/2=again@7"]
    );
}

#[test]
fn many_changes_come_in_parts() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let per_commit = 100;
    for n in 0..12 {
        let many = (0..per_commit).try_fold(Transaction::new(), |tx, m| {
            tx.put(&format!("k/{n}/{m}"), &"v")
        });
        store.commit(&many.unwrap()).unwrap();
    }
    let mut after = Revision(0);
    let mut counts = Vec::new();
    while after < Revision(12) {
        let Changes::Some { changes, through } = store.changes("k/", after).unwrap() else {
            panic!("nothing was forgotten");
        };
        assert!(through > after);
        counts.push(changes.len());
        after = through;
    }
    assert_eq!(counts, [STORE_CHANGES_MAX, 200]);
}

#[test]
fn a_watch_hears_of_its_prefix() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    put(&store, "want/n1/a", "before");
    let mut watch = store.watch("want/n1/", store.revision().unwrap());
    assert!(told(&watch.next(Duration::ZERO).unwrap()).is_empty());
    let committer = std::thread::spawn({
        let store = Arc::clone(&store);
        move || {
            for n in 0..50 {
                put(&store, "want/n2/x", "not mine");
                put(&store, &format!("want/n1/{n}"), "mine");
            }
        }
    });
    let mut heard = 0;
    while heard < 50 {
        let changes = told(&watch.next(SOON).unwrap());
        assert!(!changes.is_empty() && changes.iter().all(|c| c.contains("=mine@")));
        heard += changes.len();
    }
    committer.join().unwrap();
    assert!(told(&watch.next(Duration::ZERO).unwrap()).is_empty());
    drop(watch);
    put(&store, "x", "y");
    assert!(lock(&store.listeners).is_empty(), "who left is forgotten");
}

#[test]
fn every_commit_is_told() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let (tell, heard) = std::sync::mpsc::sync_channel(10);
    store.on_commit(move |revision| tell.send(revision).unwrap());
    put(&store, "a", "1");
    store.commit(&Transaction::new()).unwrap();
    delete(&store, "nothing");
    delete(&store, "a");
    let heard: Vec<Revision> = heard.try_iter().collect();
    assert_eq!(heard, [Revision(1), Revision(2)]);
}

/// Deletions are told for 10,000 revisions; who is further behind reads everything again.
#[test]
fn old_deletions_are_a_gap() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    put(&store, "a", "1");
    delete(&store, "a");
    put(&store, "b", "3");
    let skip_to = |revision: u64| {
        lock(&store.writer)
            .execute(
                "UPDATE records SET revision = ?1 WHERE key = 'b'",
                [revision],
            )
            .unwrap();
    };
    skip_to(STORE_HISTORY_REVISIONS);
    put(&store, "c", "still told");
    assert_eq!(told(&store.changes("a", Revision(1)).unwrap()), ["-a@2"]);
    put(&store, "c", "no more");
    assert_eq!(told(&store.changes("a", Revision(1)).unwrap()), ["gap"]);
    assert!(told(&store.changes("a", Revision(2)).unwrap()).is_empty());
    let mut watch = store.watch("", Revision(0));
    assert_eq!(told(&watch.next(SOON).unwrap()), ["gap"]);
    assert!(told(&watch.next(Duration::ZERO).unwrap()).is_empty());
}

#[test]
fn readers_do_not_wait_for_writers() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    put(&store, "a", "old");
    let mut writer = lock(&store.writer);
    let transaction = writer.transaction().unwrap();
    transaction
        .execute("UPDATE records SET value = '\"new\"'", [])
        .unwrap();
    assert_eq!(store.get::<String>("a").unwrap().unwrap().value, "old");
    transaction.rollback().unwrap();
}

#[test]
fn a_view_is_one_moment() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    put(&store, "a", "1");
    let seen = store.view(|view| {
        let before = view.revision()?;
        put(&store, "b", "2");
        Ok((before, view.revision()?, view.list::<String>("")?.len()))
    });
    assert_eq!(seen.unwrap(), (Revision(1), Revision(1), 1));
    assert_eq!(store.revision().unwrap(), Revision(2));
}

#[test]
fn another_writer_is_waited_for_and_then_told() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let other = open(&scratch);
    lock(&store.writer)
        .busy_timeout(Duration::from_millis(50))
        .unwrap();
    let mut writer = lock(&other.writer);
    let held = writer
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let transaction = Transaction::new().put("a", &1).unwrap();
    assert!(matches!(store.commit(&transaction), Err(CommitError::Busy)));
    held.rollback().unwrap();
    store.commit(&transaction).unwrap();
}

#[test]
fn modes() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    put(&store, "a", "1");
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let meta = fs::metadata(scratch.path().join(name)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o600, "{name}");
    }
}

#[test]
fn what_is_no_store_is_refused() {
    type Make = fn(&Path);
    let cases: [(Make, &str); 5] = [
        (
            |path| fs::write(path, "hello").unwrap(),
            "it is no SQLite database",
        ),
        (
            |path| {
                let other = Connection::open(path).unwrap();
                other.execute_batch("CREATE TABLE t (x)").unwrap();
            },
            "it is a database of another program",
        ),
        (
            |path| {
                drop(Store::open(path).unwrap());
                let newer = Connection::open(path).unwrap();
                newer.pragma_update(None, "user_version", 99).unwrap();
            },
            "it is of a newer version of paas",
        ),
        (
            |path| {
                let store = Store::open(path).unwrap();
                for n in 0..500 {
                    put(&store, &format!("key/{n}"), &"value".repeat(100));
                }
                drop(store);
                let mut bytes = fs::read(path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle..middle + 5000].fill(0x5a);
                fs::write(path, bytes).unwrap();
            },
            "it is damaged",
        ),
        (|path| fs::create_dir(path).unwrap(), ""),
    ];
    for (make, expected) in cases {
        let scratch = Scratch::new();
        let path = scratch.path().join("store.db");
        make(&path);
        let error = Store::open(&path).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("store.db"),
            "{error}"
        );
    }
    let scratch = Scratch::new();
    let missing = Store::open(&scratch.path().join("no/store.db")).unwrap_err();
    assert!(matches!(missing, OpenError::File { .. }));
}
