//! The one thread that puts log lines into the journals of the apps.

use super::{Batch, Message};
use journal::{Limits, Line, Source, Writer, WriterError};
use model::{app, limits};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A journal without lines for so long is closed; the next line opens it again.
const KEEP_OPEN: Duration = Duration::from_mins(1);
/// Journals that are open at a time: two descriptors each.
const OPEN_MAX: usize = 256;

/// Lines of all apps that wait for a router before us to let go of their journals: it drains for
/// half a minute at most, and 100,000 lines are some 30 MB.
const WAITING_MAX: usize = 100_000;
/// How often that is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// The log's end at the disk: a thread that lives until every sender is gone.
#[derive(Debug)]
pub struct LogWriter {
    sender: SyncSender<Message>,
    thread: JoinHandle<()>,
}

/// The thread cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("start the thread that writes log lines")]
pub struct WriterStartError(#[from] std::io::Error);

impl LogWriter {
    /// Starts the thread; `folder` is the router's own, with a folder for each app.
    pub fn start(folder: PathBuf) -> Result<Self, WriterStartError> {
        let (sender, receiver) = sync_channel(limits::ACCESS_BUFFERS_MAX);
        let thread = std::thread::Builder::new()
            .name("access".to_owned())
            .spawn(move || Journals::new(folder).run(&receiver))?;
        Ok(Self { sender, thread })
    }

    pub(crate) fn sender(&self) -> SyncSender<Message> {
        self.sender.clone()
    }

    /// Writes what is left, once all senders are gone.
    pub fn finish(self) {
        drop(self.sender);
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes log lines panicked");
        }
    }
}

struct Journals {
    folder: PathBuf,
    open: BTreeMap<app::Id, Open>,
    waiting: BTreeMap<app::Id, Vec<Line>>,
}

struct Open {
    writer: Writer,
    used: Instant,
}

impl Journals {
    fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            open: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let wait = if self.waiting.is_empty() {
                KEEP_OPEN
            } else {
                RETRY_EVERY
            };
            match messages.recv_timeout(wait) {
                Ok(Message::Lines(batch)) => self.write(&batch),
                Ok(Message::Living(apps)) => self.forget_all_but(&apps),
                Err(RecvTimeoutError::Timeout) => self.write_waiting(),
                Err(RecvTimeoutError::Disconnected) => return self.write_waiting(),
            }
            self.open.retain(|_, open| open.used.elapsed() < KEEP_OPEN);
        }
    }

    fn write(&mut self, batch: &Batch) {
        if batch.dropped > 0 {
            tracing::warn!(
                lines = batch.dropped,
                "router log lines were dropped: the disk is too slow"
            );
        }
        let mut by_app: BTreeMap<app::Id, Vec<Line>> = BTreeMap::new();
        let mut start = 0;
        for placed in &batch.lines {
            let text = batch.text.get(start..placed.end).unwrap_or_default();
            start = placed.end;
            by_app.entry(placed.app).or_default().push(Line {
                at_us: placed.at_us,
                source: Source::Heroku,
                process: "router".to_owned(),
                text: text.to_vec(),
            });
        }
        for (app, mut lines) in std::mem::take(&mut self.waiting) {
            lines.append(&mut by_app.remove(&app).unwrap_or_default());
            by_app.insert(app, lines);
        }
        self.append_all(by_app);
    }

    /// Tries again what a router that still drains kept us from writing.
    fn write_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.append_all(waiting);
    }

    fn append_all(&mut self, by_app: BTreeMap<app::Id, Vec<Line>>) {
        let mut room = WAITING_MAX;
        for (app, lines) in by_app {
            let Err(error) = self.append(app, &lines) else {
                continue;
            };
            if matches!(error, WriterError::Taken(_)) && lines.len() <= room {
                room -= lines.len();
                self.waiting.insert(app, lines);
                continue;
            }
            tracing::warn!(
                app.id = %app,
                lines = lines.len(),
                error = &error as &dyn std::error::Error,
                "router log lines were lost"
            );
        }
    }

    fn append(&mut self, app: app::Id, lines: &[Line]) -> Result<(), WriterError> {
        let now = Instant::now();
        if let Some(open) = self.open.get_mut(&app) {
            open.used = now;
            return Ok(open.writer.append_batch(lines)?);
        }
        if self.open.len() >= OPEN_MAX {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.used);
            if let Some(app) = oldest.map(|(app, _)| *app) {
                self.open.remove(&app);
            }
        }
        let dir = self.folder.join(app.to_string());
        let mut writer = Writer::open(&dir, Limits::default())?;
        let written = writer.append_batch(lines);
        self.open.insert(app, Open { writer, used: now });
        Ok(written?)
    }

    /// Removes the journals of apps that are gone.
    fn forget_all_but(&mut self, living: &BTreeSet<app::Id>) {
        self.open.retain(|app, _| living.contains(app));
        self.waiting.retain(|app, _| living.contains(app));
        for dir in app_folders(&self.folder, living) {
            if let Err(error) = std::fs::remove_dir_all(&dir) {
                tracing::warn!(path = %dir.display(), %error, "the journal of a gone app stays");
            }
        }
    }
}

/// The folders of apps that do not live; anything that is no app's folder is left alone.
fn app_folders(folder: &Path, living: &BTreeSet<app::Id>) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let gone = |entry: std::fs::DirEntry| {
        let app = app::Id::parse(entry.file_name().to_str()?)?;
        (!living.contains(&app)).then(|| entry.path())
    };
    entries.filter_map(|entry| gone(entry.ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_for_the_router_before_us() {
        let folder = std::env::temp_dir().join(format!("router-access-{}", uuid::Uuid::new_v4()));
        let app = app::Id::new(uuid::Uuid::new_v4());
        let dir = folder.join(app.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let line = |text: &str| Line {
            at_us: 1,
            source: Source::Heroku,
            process: "router".to_owned(),
            text: text.as_bytes().to_vec(),
        };
        let before = Writer::open(&dir, Limits::default()).unwrap();
        let mut journals = Journals::new(folder.clone());
        journals.append_all([(app, vec![line("one")])].into());
        assert_eq!(journals.waiting.len(), 1);
        drop(before);
        journals.write_waiting();
        assert!(journals.waiting.is_empty());
        let kept = journal::last(&[dir], 10, &|_| true).unwrap();
        assert_eq!(kept.lines, [line("one")]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
