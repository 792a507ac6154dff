//! The dynos' lines on their way into the journal: many tasks, one writer thread, one bound.
//!
//! When the queue is full a line is dropped and counted against the app that wrote it; its next
//! line that fits says so (L12). Nobody waits for the disk.

use journal::{Line, Source, Writer};
use model::app;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};

/// Batches that wait for the writer, each at most one read of a dyno's output, and the bytes of all
/// of them: a batch of empty lines is small on the wire and large in memory.
const QUEUE_MAX: usize = 1024;
const QUEUE_MAX_BYTES: usize = 8 * 1024 * 1024;
/// What a line takes beside its text: the record, the process's name, what the allocator adds.
const LINE_BYTES: usize = 160;
/// Writers kept open; the least recently used one is closed beyond that.
const WRITERS_MAX: usize = 256;

/// The way into the journal; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    queue: SyncSender<Message>,
    waiting_bytes: Arc<AtomicUsize>,
    dropped: Arc<Mutex<HashMap<app::Id, u64>>>,
    failures: Arc<AtomicU64>,
}

enum Message {
    Lines(app::Id, Vec<Line>),
    Forget(app::Id),
}

/// Starts the writer thread over `<journal>/dynod`.
pub(crate) fn start(folder: PathBuf) -> std::io::Result<Log> {
    let (queue, messages) = sync_channel(QUEUE_MAX);
    let log = Log {
        queue,
        waiting_bytes: Arc::default(),
        dropped: Arc::default(),
        failures: Arc::default(),
    };
    let failures = Arc::clone(&log.failures);
    let waiting_bytes = Arc::clone(&log.waiting_bytes);
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || write(&folder, &messages, &waiting_bytes, &failures))?;
    Ok(log)
}

impl Log {
    /// Lines that a dyno's process wrote.
    pub(crate) fn output(&self, app: app::Id, process: &str, texts: Vec<Vec<u8>>) {
        self.send(
            app,
            texts
                .into_iter()
                .map(|text| line(Source::App, process, text))
                .collect(),
        );
    }

    /// A line of the platform about a dyno.
    pub(crate) fn platform(&self, app: app::Id, process: &str, text: String) {
        self.send(app, vec![line(Source::Heroku, process, text.into_bytes())]);
    }

    /// The app is gone: so are its lines.
    pub(crate) fn forget(&self, app: app::Id) {
        if self.queue.send(Message::Forget(app)).is_err() {
            tracing::error!(app.id = %app, "the journal's thread is gone");
        }
    }

    fn send(&self, app: app::Id, mut lines: Vec<Line>) {
        let mut dropped = self.dropped.lock().expect("nobody panics while counting");
        if let Some(count) = dropped.remove(&app) {
            let text = crate::lines::output_dropped(count);
            lines.insert(0, line(Source::Heroku, "dynod", text.into_bytes()));
        }
        if let Err(lines) = self.enqueue(app, lines) {
            *dropped.entry(app).or_default() += lines.len() as u64;
        }
    }

    /// Gives the lines back when there is no room for them.
    fn enqueue(&self, app: app::Id, lines: Vec<Line>) -> Result<(), Vec<Line>> {
        let bytes = weight(&lines);
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let result = if waiting + bytes > QUEUE_MAX_BYTES {
            Err(lines)
        } else {
            match self.queue.try_send(Message::Lines(app, lines)) {
                Err(
                    TrySendError::Full(Message::Lines(_, lines))
                    | TrySendError::Disconnected(Message::Lines(_, lines)),
                ) => Err(lines),
                _ => Ok(()),
            }
        };
        if result.is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        result
    }
}

fn line(source: Source, process: &str, text: Vec<u8>) -> Line {
    Line {
        at_us: crate::now_us(),
        source,
        process: process.to_owned(),
        text,
    }
}

/// What lines take in memory, roughly.
fn weight(lines: &[Line]) -> usize {
    let texts: usize = lines.iter().map(|line| line.text.capacity()).sum();
    texts + lines.len() * LINE_BYTES
}

fn write(
    folder: &Path,
    messages: &Receiver<Message>,
    waiting_bytes: &AtomicUsize,
    failures: &AtomicU64,
) {
    let mut writers: HashMap<app::Id, Writer> = HashMap::new();
    while let Ok(message) = messages.recv() {
        let result = match message {
            Message::Lines(app, lines) => {
                let result = append(folder, &mut writers, app, &lines);
                waiting_bytes.fetch_sub(weight(&lines), Ordering::Relaxed);
                result
            }
            Message::Forget(app) => {
                writers.remove(&app);
                remove(&folder.join(app.to_string()))
            }
        };
        if let Err(error) = result
            && failures.fetch_add(1, Ordering::Relaxed).is_power_of_two()
        {
            tracing::error!(%error, "failed to write the journal");
        }
    }
}

fn append(
    folder: &Path,
    writers: &mut HashMap<app::Id, Writer>,
    app: app::Id,
    lines: &[Line],
) -> Result<(), String> {
    if !writers.contains_key(&app) {
        if writers.len() >= WRITERS_MAX {
            writers.clear();
        }
        let writer = Writer::open(&folder.join(app.to_string()), journal::Limits::default())
            .map_err(|e| e.to_string())?;
        writers.insert(app, writer);
    }
    let writer = writers.get_mut(&app).expect("it was just put there");
    writer.append_batch(lines).map_err(|e| e.to_string())
}

fn remove(folder: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_said() {
        let (queue, messages) = sync_channel(QUEUE_MAX);
        let log = Log {
            queue,
            waiting_bytes: Arc::default(),
            dropped: Arc::default(),
            failures: Arc::default(),
        };
        let app = app::Id::parse("00000000-0000-4000-8000-000000000001").unwrap();
        let empty = || vec![Vec::new(); 30_000];
        log.output(app, "web.1", empty());
        log.output(app, "web.1", empty());
        assert!(log.waiting_bytes.load(Ordering::Relaxed) <= QUEUE_MAX_BYTES);
        log.waiting_bytes.store(0, Ordering::Relaxed);
        log.output(app, "web.1", vec![b"heard again".to_vec()]);
        let lengths: Vec<usize> = messages
            .try_iter()
            .map(|message| match message {
                Message::Lines(_, lines) => lines.len(),
                Message::Forget(_) => 0,
            })
            .collect();
        assert_eq!(lengths, [30_000, 2], "the second batch became one L12 line");
    }
}
