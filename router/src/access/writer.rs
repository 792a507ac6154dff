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
        }
    }

    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(KEEP_OPEN) {
                Ok(Message::Lines(batch)) => self.write(&batch),
                Ok(Message::Living(apps)) => self.forget_all_but(&apps),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
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
        for (app, lines) in by_app {
            if let Err(error) = self.append(app, &lines) {
                tracing::warn!(
                    app.id = %app,
                    lines = lines.len(),
                    error = &error as &dyn std::error::Error,
                    "router log lines were lost"
                );
            }
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
