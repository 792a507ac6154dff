//! Tests of `last` and of merging.

use super::*;
use crate::line::Source;
use crate::scratch::Scratch;
use crate::writer::{Limits, Writer};

fn line(at_us: u64, process: &str) -> Line {
    Line {
        at_us,
        source: if process == "router" {
            Source::Heroku
        } else {
            Source::App
        },
        process: process.into(),
        text: format!("{process} at {at_us}").into_bytes(),
    }
}

fn times(tail: &Tail) -> Vec<u64> {
    tail.lines.iter().map(|line| line.at_us).collect()
}

/// Two producers and one that does not exist.
fn producers(scratch: &Scratch) -> Vec<PathBuf> {
    let dirs = ["dynod", "router", "missing"].map(|name| scratch.path().join(name));
    let limits = Limits {
        segment_max_bytes: 150,
        ..Limits::default()
    };
    let mut dynod = Writer::open(&dirs[0], limits).unwrap();
    let mut router = Writer::open(&dirs[1], limits).unwrap();
    for n in 0..20 {
        dynod.append(&line(10 * n, "web.1")).unwrap();
        router.append(&line(10 * n + 5, "router")).unwrap();
    }
    dirs.into()
}

#[test]
fn merged_by_time() {
    let scratch = Scratch::new();
    let dirs = producers(&scratch);
    for (n, expected) in [
        (0, vec![]),
        (1, vec![195]),
        (3, vec![185, 190, 195]),
        (usize::MAX, (0..40).map(|n| 5 * n).collect()),
    ] {
        assert_eq!(times(&last(&dirs, n, &|_| true).unwrap()), expected);
    }
}

#[test]
fn filtered_lines_do_not_count() {
    let scratch = Scratch::new();
    let dirs = producers(&scratch);
    let router = |line: &Line| line.source == Source::Heroku && line.at_us < 100;
    assert_eq!(times(&last(&dirs, 3, &router).unwrap()), [75, 85, 95]);
    let none = last(&dirs, 3, &|_| false).unwrap();
    assert!(none.lines.is_empty());
    assert_eq!(none.position, last(&dirs, 100, &|_| true).unwrap().position);
}

#[test]
fn nothing_there() {
    let scratch = Scratch::new();
    let tail = last(
        &[scratch.path().join("a"), scratch.path().into()],
        9,
        &|_| true,
    )
    .unwrap();
    assert!(tail.lines.is_empty());
    assert_eq!(tail.position.to_string(), "0.0-0.0");
}

#[test]
fn a_producer_keeps_its_order() {
    let of = |times: &[u64]| times.iter().map(|at_us| line(*at_us, "x")).collect();
    for (producers, expected) in [
        (vec![], vec![]),
        (vec![vec![], vec![1]], vec![1]),
        (vec![vec![1, 4], vec![2, 3]], vec![1, 2, 3, 4]),
        (vec![vec![9, 1], vec![5]], vec![5, 9, 1]),
    ] {
        let producers = producers.iter().map(|times: &Vec<u64>| of(times)).collect();
        let merged: Vec<u64> = merge(producers).iter().map(|line| line.at_us).collect();
        assert_eq!(merged, expected);
    }
}

/// A damaged segment hides its rest and nothing else.
#[test]
fn damage_in_the_middle() {
    let scratch = Scratch::new();
    let dirs = producers(&scratch);
    let path = segment::path(&dirs[0], 2);
    let mut bytes = std::fs::read(&path).unwrap();
    let before = lines_of(&bytes, &|_| true).0.len();
    let at = bytes.len() - 5;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let lines = last(&dirs[..1], 100, &|_| true).unwrap().lines;
    assert!(before > 1);
    assert_eq!(lines.len(), 19);
}
