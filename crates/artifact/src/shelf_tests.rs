//! Tests of `shelf`.

use super::*;
use crate::hash::sha256;
use crate::scratch::Scratch;
use std::time::Duration;

fn open(scratch: &Scratch) -> Shelf {
    let (shelf, leftovers) = Shelf::open(scratch.path()).unwrap();
    assert_eq!(leftovers, Leftovers::default());
    shelf
}

fn put(shelf: &Shelf, content: &str) -> Digest {
    let digest = sha256(content.as_bytes());
    let filling = shelf.begin(&digest).unwrap();
    fs::write(filling.path().join("file"), content).unwrap();
    let (place, leftovers) = shelf.finish(filling, content.len() as u64).unwrap();
    assert_eq!(leftovers, Leftovers::default());
    assert_eq!(fs::read_to_string(place.join("file")).unwrap(), content);
    digest
}

/// The same folder after the machine has booted again.
fn reboot(shelf: &Shelf) -> Shelf {
    let mut after = shelf.clone();
    after.boot_id = disk::random_name();
    assert_eq!(after.sweep().unwrap(), Leftovers::default());
    after
}

fn names(scratch: &Scratch) -> Vec<String> {
    let mut names = disk::list(scratch.path()).unwrap();
    names.sort();
    names
}

#[test]
fn an_entry_is_usable_at_once_and_after_a_boot_only_if_settled() {
    let scratch = Scratch::new();
    let shelf = open(&scratch);
    let settled = put(&shelf, "settled");
    assert_eq!(shelf.settle().unwrap(), 1);
    assert_eq!(shelf.settle().unwrap(), 0);
    let fresh = put(&shelf, "fresh");
    for digest in [settled, fresh] {
        let path = shelf.path(&digest).unwrap().unwrap();
        assert_eq!(path, scratch.path().join(digest.hex()));
    }
    let after = reboot(&shelf);
    assert!(after.path(&settled).unwrap().is_some());
    assert_eq!(after.path(&fresh).unwrap(), None);
    let hex = settled.hex();
    assert_eq!(
        names(&scratch),
        [
            hex.clone(),
            format!("{hex}.complete"),
            format!("{hex}.entry")
        ]
    );
    assert_eq!(put(&after, "fresh"), fresh, "it can be made anew");
}

#[test]
fn what_is_not_there_is_none() {
    let scratch = Scratch::new();
    assert_eq!(open(&scratch).path(&sha256(b"x")).unwrap(), None);
}

#[test]
fn the_second_of_two_gives_way() {
    let scratch = Scratch::new();
    let shelf = open(&scratch);
    let digest = sha256(b"x");
    let (one, two) = (shelf.begin(&digest).unwrap(), shelf.begin(&digest).unwrap());
    fs::write(one.path().join("file"), "one").unwrap();
    fs::write(two.path().join("file"), "two").unwrap();
    let (first, _) = shelf.finish(one, 3).unwrap();
    let (second, leftovers) = shelf.finish(two, 3).unwrap();
    assert_eq!(first, second);
    assert_eq!(leftovers, Leftovers::default());
    assert_eq!(fs::read_to_string(first.join("file")).unwrap(), "one");
    assert_eq!(names(&scratch).len(), 2);
}

#[test]
fn an_unsettled_entry_of_an_earlier_boot_gives_way() {
    let scratch = Scratch::new();
    let shelf = open(&scratch);
    let digest = put(&shelf, "x");
    let mut after = shelf.clone();
    // Not swept: the other role opened the shelf before.
    after.boot_id = "another".into();
    assert_eq!(after.path(&digest).unwrap(), None);
    let place = put(&after, "x");
    assert_eq!(place, digest);
    assert!(after.path(&digest).unwrap().is_some());
}

#[test]
fn unfinished_folders() {
    let scratch = Scratch::new();
    let shelf = open(&scratch);
    let digest = sha256(b"x");
    let filling = shelf.begin(&digest).unwrap();
    assert!(
        filling
            .name()
            .starts_with(&format!("{}.tmp-", digest.hex()))
    );
    open(&scratch); // Another role starts: what is being filled stays.
    assert_eq!(names(&scratch).len(), 1);
    shelf.discard(filling).unwrap();
    assert_eq!(names(&scratch).len(), 0);

    let old = shelf.begin(&digest).unwrap();
    let before_boot = disk::boot_time().unwrap() - Duration::from_mins(1);
    let dir = File::open(old.path()).unwrap();
    dir.set_modified(before_boot).unwrap();
    fs::create_dir(scratch.path().join(format!("{}.gone-1", digest.hex()))).unwrap();
    fs::write(scratch.path().join("somebody-elses"), "").unwrap();
    open(&scratch);
    assert_eq!(names(&scratch), ["somebody-elses"]);
}

#[test]
fn eviction_takes_what_was_not_used_for_longest() {
    let scratch = Scratch::new();
    let shelf = open(&scratch);
    let digests: Vec<Digest> = ["aaaa", "bbbb", "cccc", "dddd"]
        .into_iter()
        .map(|content| put(&shelf, content))
        .collect();
    let touched = |digest: &Digest, age_s| {
        let file = File::options().write(true).open(shelf.record_path(digest));
        let time = SystemTime::now() - Duration::from_secs(age_s);
        file.unwrap().set_modified(time).unwrap();
    };
    for (digest, age_s) in digests.iter().zip([40, 30, 20, 10]) {
        touched(digest, age_s);
    }
    shelf.path(&digests[0]).unwrap().unwrap(); // Now the newest.
    let order: Vec<Digest> = shelf.entries().unwrap().iter().map(|e| e.digest).collect();
    assert_eq!(order, [digests[1], digests[2], digests[3], digests[0]]);

    let keep = BTreeSet::from([digests[1]]);
    for (max_bytes, left) in [(16, 4), (15, 3), (8, 2), (0, 1)] {
        let leftovers = shelf.evict(&keep, max_bytes).unwrap();
        assert_eq!(leftovers, Leftovers::default());
        assert_eq!(shelf.entries().unwrap().len(), left, "{max_bytes}");
    }
    assert!(shelf.path(&digests[1]).unwrap().is_some());
    assert_eq!(names(&scratch).len(), 2);
}

/// Readers, makers and an evictor at once: every answer is a whole entry or none.
#[test]
fn races_end_well() {
    let scratch = Scratch::new();
    let shelf = open(&scratch);
    let digest = sha256(b"content");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..40 {
                    let filling = shelf.begin(&digest).unwrap();
                    fs::write(filling.path().join("file"), "content").unwrap();
                    let (place, _) = shelf.finish(filling, 7).unwrap();
                    match fs::read_to_string(place.join("file")) {
                        Ok(content) => assert_eq!(content, "content"),
                        Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
                    }
                    shelf.settle().unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..100 {
                shelf.evict(&BTreeSet::new(), 0).unwrap();
            }
        });
    });
    put(&shelf, "content");
    open(&scratch);
    assert!(shelf.path(&digest).unwrap().is_some());
    assert!(shelf.settle().unwrap() <= 1);
    assert_eq!(names(&scratch).len(), 3, "nothing is left over");
}

/// Files of the ids inside a sandbox: only somebody with privilege removes them.
#[test]
fn what_we_may_not_remove_is_told() {
    let scratch = Scratch::new();
    let shelf = open(&scratch);
    let digest = sha256(b"x");
    let filling = shelf.begin(&digest).unwrap();
    let inner = filling.path().join("app");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("file"), "content").unwrap();
    disk::set_mode(&inner, 0o555).unwrap();
    shelf.finish(filling, 7).unwrap();
    let leftovers = shelf.evict(&BTreeSet::new(), 0).unwrap();
    assert_eq!(shelf.path(&digest).unwrap(), None, "out of use in any case");
    if nix::unistd::geteuid().is_root() {
        assert_eq!(leftovers, Leftovers::default());
        return;
    }
    let [name] = leftovers.names.as_slice() else {
        panic!("{leftovers:?} is not one name");
    };
    assert!(name.starts_with(&format!("{}.gone-", digest.hex())));
    let (_, again) = Shelf::open(scratch.path()).unwrap();
    assert_eq!(again, leftovers, "told again until it is gone");
    disk::set_mode(&scratch.path().join(name).join("app"), 0o755).unwrap();
    assert_eq!(names(&scratch).len(), 1);
    open(&scratch);
    assert_eq!(names(&scratch).len(), 0);
}
