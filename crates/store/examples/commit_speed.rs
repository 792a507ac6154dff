//! Measures a store in an empty folder: `commit_speed FOLDER`.
//!
//! Commits of two records and one condition, one after the other; reading; opening with the check.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use store::{Store, Transaction};

const RECORDS: usize = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = std::env::args_os().nth(1) else {
        return Err("usage: speed FOLDER".into());
    };
    let path = Path::new(&folder).join("store.db");
    let store = Store::open(&path)?;
    let value = "v".repeat(500);
    let mut took = Vec::new();
    for n in 0..RECORDS {
        let transaction = Transaction::new()
            .absent(&format!("rel/app/{n}"))?
            .put(&format!("rel/app/{n}"), &value)?
            .put("form/app/web", &n)?;
        let started = Instant::now();
        store.commit(&transaction)?;
        took.push(started.elapsed());
    }
    report("commit", took);
    let mut took = Vec::new();
    for n in 0..RECORDS {
        let started = Instant::now();
        store.get::<String>(&format!("rel/app/{n}"))?;
        took.push(started.elapsed());
    }
    report("get", took);
    let started = Instant::now();
    let count = store.list::<String>("rel/")?.len();
    println!("list of {count}: {:?}", started.elapsed());
    let started = Instant::now();
    let now = store.revision()?;
    let changes = store.changes("form/", now)?;
    println!("changes, none: {:?} {changes:?}", started.elapsed());
    drop(store);
    let started = Instant::now();
    Store::open(&path)?;
    println!("open: {:?}", started.elapsed());
    Ok(())
}

fn report(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |percent| took.get(took.len() * percent / 100);
    println!("{what}: p50 {:?}, p99 {:?}", at(50), at(99));
}
