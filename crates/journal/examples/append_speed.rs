//! Measures a journal in an empty folder: `append_speed FOLDER`.
//!
//! Lines have 100 bytes. Appended one by one, in batches, read back, and the way from `append` to a
//! follower in another thread.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use journal::{Follower, Limits, Line, Position, Source, Writer};
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const LINES: usize = 200_000;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = std::env::args_os().nth(1) else {
        return Err("usage: speed FOLDER".into());
    };
    let dirs = [PathBuf::from(folder)];
    let line = Line {
        at_us: 1,
        source: Source::App,
        process: "web.1".into(),
        text: vec![b'x'; 100],
    };
    let mut writer = Writer::open(&dirs[0], Limits::default())?;
    for size in [1, 10, 100, 1000] {
        let batch = vec![line.clone(); size];
        let started = Instant::now();
        for _ in 0..LINES / size {
            writer.append_batch(&batch)?;
        }
        let per_s = LINES as u128 * 1_000_000 / started.elapsed().as_micros();
        println!("{size} lines a batch: {per_s} lines/s");
    }
    let started = Instant::now();
    let tail = journal::last(&dirs, 1500, &|_| true)?;
    println!("last {} lines in {:?}", tail.lines.len(), started.elapsed());
    drop(writer);
    let started = Instant::now();
    let mut writer = Writer::open(&dirs[0], Limits::default())?;
    println!("opened again in {:?}", started.elapsed());
    let mut follower = Follower::open(&dirs, &Position::start())?;
    let started = Instant::now();
    let mut count = 0;
    loop {
        let batch = follower.next(Duration::ZERO)?;
        count += batch.lines.len();
        if !batch.has_more {
            break;
        }
    }
    println!("followed {count} lines in {:?}", started.elapsed());
    follow(&mut writer, follower, &line)
}

/// The time from before `append` to behind `next`, one line at a time.
fn follow(writer: &mut Writer, mut follower: Follower, line: &Line) -> Result<(), Box<dyn Error>> {
    let (told, heard) = std::sync::mpsc::sync_channel(1);
    let reader = std::thread::spawn(move || {
        for _ in 0..1000 {
            let batch = follower.next(Duration::from_secs(10));
            if batch.is_err() || told.send(Instant::now()).is_err() {
                break;
            }
        }
    });
    let mut took = Vec::new();
    for _ in 0..1000 {
        let started = Instant::now();
        writer.append(line)?;
        took.push(heard.recv()?.duration_since(started));
    }
    took.sort();
    let (p50, p99) = (took.get(500), took.get(990));
    println!("append to follower: p50 {p50:?}, p99 {p99:?}");
    reader.join().map_err(|_| "the reader panicked")?;
    Ok(())
}
