//! Tests of `follow`: nothing is missed and nothing repeated, whatever the writers do.

use super::*;
use crate::last::last;
use crate::line::Source;
use crate::scratch::Scratch;
use crate::writer::{Limits, Writer};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs;

const SOON: Duration = Duration::from_secs(20);

fn line(n: u64) -> Line {
    Line {
        at_us: n,
        source: Source::App,
        process: "web.1".into(),
        text: format!("line {n}").into_bytes(),
    }
}

fn numbers(batch: &Batch) -> Vec<u64> {
    batch.lines.iter().map(|line| line.at_us).collect()
}

fn small() -> Limits {
    Limits {
        segment_max_bytes: 300,
        segments_min: 4,
        lines_min: 1_000_000,
    }
}

/// Everything that comes until `count` lines are there.
fn collect(follower: &mut Follower, count: usize) -> Vec<u64> {
    let mut all = Vec::new();
    while all.len() < count {
        let batch = follower.next(SOON).unwrap();
        assert!(
            !batch.lines.is_empty() && !batch.has_gap,
            "after {}",
            all.len()
        );
        all.extend(numbers(&batch));
    }
    all
}

#[test]
fn from_the_tail_on() {
    let scratch = Scratch::new();
    let dirs = [scratch.path().join("dynod"), scratch.path().join("router")];
    let mut dynod = Writer::open(&dirs[0], small()).unwrap();
    dynod.append_batch(&[line(1), line(2)]).unwrap();
    let tail = last(&dirs, 1, &|_| true).unwrap();
    let mut follower = Follower::open(&dirs, &tail.position).unwrap();
    let nothing = follower.next(Duration::ZERO).unwrap();
    assert_eq!((nothing.lines, &nothing.position), (vec![], &tail.position));

    dynod.append(&line(3)).unwrap();
    assert_eq!(numbers(&follower.next(SOON).unwrap()), [3]);
    let mut router = Writer::open(&dirs[1], small()).unwrap();
    router.append(&line(4)).unwrap();
    let batch = follower.next(SOON).unwrap();
    assert_eq!(numbers(&batch), [4]);

    // Another session goes on where this one was.
    dynod.append(&line(5)).unwrap();
    let position = batch.position.to_string().parse().unwrap();
    let mut other = Follower::open(&dirs, &position).unwrap();
    assert_eq!(numbers(&other.next(SOON).unwrap()), [5]);
    let mut all = Follower::open(&dirs, &Position::start()).unwrap();
    assert_eq!(numbers(&all.next(SOON).unwrap()), [1, 2, 3, 4, 5]);
}

#[test]
fn through_rotation_by_one_and_in_batches() {
    let scratch = Scratch::new();
    let dirs = [scratch.path().join("app")];
    let mut follower = Follower::open(&dirs, &Position::start()).unwrap();
    let writer = std::thread::spawn({
        let dir = dirs[0].clone();
        move || {
            let mut writer = Writer::open(&dir, small()).unwrap();
            for n in 0..1000 {
                writer.append(&line(n)).unwrap();
            }
            for n in 0..20 {
                let batch: Vec<Line> = (0..100).map(|m| line(1000 + 100 * n + m)).collect();
                writer.append_batch(&batch).unwrap();
            }
        }
    });
    let all = collect(&mut follower, 3000);
    writer.join().unwrap();
    assert_eq!(all, (0..3000).collect::<Vec<u64>>());
    assert_eq!(
        follower.position(),
        last(&dirs, 1, &|_| true).unwrap().position
    );
}

#[test]
fn folders_that_come_late() {
    let scratch = Scratch::new();
    let dirs = [
        scratch.path().join("a/b/app"),
        scratch.path().join("a/c/app"),
    ];
    let mut follower = Follower::open(&dirs, &Position::start()).unwrap();
    assert!(follower.next(Duration::ZERO).unwrap().lines.is_empty());
    let makers = std::thread::spawn({
        let dirs = dirs.clone();
        move || {
            for (n, dir) in dirs.iter().enumerate() {
                fs::create_dir_all(dir.parent().unwrap()).unwrap();
                let mut writer = Writer::open(dir, small()).unwrap();
                writer.append(&line(n as u64)).unwrap();
            }
        }
    });
    assert_eq!(collect(&mut follower, 2), [0, 1]);
    makers.join().unwrap();
}

#[test]
fn what_was_dropped_is_a_gap() {
    let scratch = Scratch::new();
    let dirs = [scratch.path().to_owned()];
    let limits = Limits {
        lines_min: 0,
        ..small()
    };
    let mut writer = Writer::open(scratch.path(), limits).unwrap();
    writer.append(&line(0)).unwrap();
    let position = last(&dirs, 1, &|_| true).unwrap().position;
    for n in 1..200 {
        writer.append(&line(n)).unwrap();
    }
    let mut follower = Follower::open(&dirs, &position).unwrap();
    let batch = follower.next(SOON).unwrap();
    assert!(batch.has_gap);
    assert_eq!(batch.lines.last(), Some(&line(199)));
    writer.append(&line(200)).unwrap();
    let batch = follower.next(SOON).unwrap();
    assert_eq!((numbers(&batch), batch.has_gap), (vec![200], false));
    // From the very beginning there is no promise, so no gap.
    let mut all = Follower::open(&dirs, &Position::start()).unwrap();
    assert!(!all.next(SOON).unwrap().has_gap);
}

#[test]
fn a_half_line_is_waited_for() {
    let scratch = Scratch::new();
    let dirs = [scratch.path().to_owned()];
    let mut bytes = Vec::new();
    record::encode(&line(1), b"half and half", &mut bytes);
    let (front, back) = bytes.split_at(20);
    let path = segment::path(scratch.path(), 1);
    fs::write(&path, front).unwrap();
    let mut follower = Follower::open(&dirs, &Position::start()).unwrap();
    assert!(follower.next(Duration::ZERO).unwrap().lines.is_empty());
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    io::Write::write_all(&mut file, back).unwrap();
    assert_eq!(follower.next(SOON).unwrap().lines[0].text, b"half and half");

    // A writer dies in the middle; the next one cuts that and goes on, and so do we.
    io::Write::write_all(&mut file, front).unwrap();
    assert!(follower.next(Duration::ZERO).unwrap().lines.is_empty());
    let mut writer = Writer::open(scratch.path(), small()).unwrap();
    writer.append(&line(2)).unwrap();
    assert_eq!(numbers(&follower.next(SOON).unwrap()), [2]);
}

#[test]
fn positions_of_strangers() {
    let scratch = Scratch::new();
    let dirs = [scratch.path().to_owned()];
    let mut writer = Writer::open(scratch.path(), small()).unwrap();
    writer.append_batch(&[line(1), line(2)]).unwrap();
    for (position, expected) in [
        ("1.ffffffffffffffff", vec![1, 2]), // behind the end: after a power cut
        ("1.3", vec![]),                    // inside a record
        ("ffffffffffffffff.0", vec![]),
        ("0.0-0.0-0.0", vec![1, 2]),
    ] {
        let mut follower = Follower::open(&dirs, &position.parse().unwrap()).unwrap();
        let batch = follower.next(Duration::ZERO).unwrap();
        assert_eq!(numbers(&batch), expected, "{position}");
    }
}

#[test]
fn large_batches_are_bounded() {
    let scratch = Scratch::new();
    let dirs = [scratch.path().to_owned()];
    let mut writer = Writer::open(scratch.path(), Limits::default()).unwrap();
    let long = Line {
        text: vec![b'x'; 10_000],
        ..line(1)
    };
    writer.append_batch(&vec![long; 100]).unwrap();
    let mut follower = Follower::open(&dirs, &Position::start()).unwrap();
    let mut sizes = Vec::new();
    loop {
        let batch = follower.next(Duration::ZERO).unwrap();
        sizes.push(batch.lines.len());
        if !batch.has_more {
            break;
        }
    }
    assert_eq!(sizes.iter().sum::<usize>(), 100);
    assert!(
        sizes.len() >= 4 && sizes.iter().all(|size| *size <= 26),
        "{sizes:?}"
    );
}

#[test]
fn the_descriptor_tells() {
    let scratch = Scratch::new();
    let dirs = [scratch.path().join("app")];
    let mut follower = Follower::open(&dirs, &Position::start()).unwrap();
    let is_ready = |follower: &Follower, timeout| {
        let mut fds = [PollFd::new(follower.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout).unwrap() == 1
    };
    assert!(!is_ready(&follower, PollTimeout::ZERO));
    let mut writer = Writer::open(&dirs[0], small()).unwrap();
    for n in 0..3 {
        writer.append(&line(n)).unwrap();
        assert!(is_ready(&follower, PollTimeout::from(20_000_u16)));
        assert_eq!(numbers(&follower.next(Duration::ZERO).unwrap()), [n]);
        assert!(!is_ready(&follower, PollTimeout::ZERO));
    }
}
