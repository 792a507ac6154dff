//! The api's own lines in the apps' logs (`app[api]: ...`), into its own journal.

use crate::clock::now_us;
use journal::{Limits, Line, Source, Writer};
use model::app;
use model::release::Number;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Writers that are kept open; beyond that all are closed and opened anew as needed.
const WRITERS_MAX: usize = 64;

/// See the module's text. A line costs one write(2).
#[derive(Debug)]
pub(crate) struct Log {
    journal: PathBuf,
    writers: Mutex<HashMap<app::Id, Writer>>,
}

impl Log {
    /// Over the folder of all producers.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            journal: data_dir.join("journal"),
            writers: Mutex::default(),
        }
    }

    /// Writes a line of the api. A failure is logged and changes nothing else: what the line tells
    /// of has happened.
    pub(crate) fn line(&self, app: app::Id, text: &str) {
        let line = Line {
            at_us: now_us(),
            source: Source::App,
            process: "api".to_owned(),
            text: text.as_bytes().to_vec(),
        };
        if let Err(error) = self.append(app, &line) {
            crate::say::failed("write a line of an app's log", &*error);
        }
    }

    /// The app is gone: so are its lines.
    pub(crate) fn forget(&self, app: app::Id) {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.remove(&app);
        match std::fs::remove_dir_all(self.folder(app)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                crate::say::failed("remove the log of an app that is gone", &error);
            }
            _ => {}
        }
    }

    /// The folders of all who write lines of an app, always in this order.
    pub(crate) fn sources(&self, app: app::Id) -> Vec<PathBuf> {
        let of = |producer: &str| self.journal.join(producer).join(app.to_string());
        ["api", "dynod", "router"].map(of).to_vec()
    }

    /// The folder of dynod's lines.
    pub(crate) fn dynos(&self, app: app::Id) -> PathBuf {
        self.journal.join("dynod").join(app.to_string())
    }

    /// The output of a release phase, beside the app's lines.
    pub(crate) fn release_output(&self, app: app::Id, number: Number) -> PathBuf {
        self.folder(app).join(format!("release-{}", number.0))
    }

    /// The output of a build.
    pub(crate) fn build_output(&self, app: app::Id, build: uuid::Uuid) -> PathBuf {
        let folder = self.journal.join("builder").join(app.to_string());
        folder.join(build.to_string())
    }

    fn folder(&self, app: app::Id) -> PathBuf {
        self.journal.join("api").join(app.to_string())
    }

    fn append(&self, app: app::Id, line: &Line) -> Result<(), Box<dyn std::error::Error>> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if !writers.contains_key(&app) {
            if writers.len() >= WRITERS_MAX {
                writers.clear();
            }
            let folder = self.folder(app);
            std::fs::create_dir_all(folder.parent().unwrap_or(&folder))?;
            let writer = Writer::open(&folder, Limits::default())?;
            writers.insert(app, writer);
        }
        if let Some(writer) = writers.get_mut(&app) {
            writer.append(line)?;
        }
        Ok(())
    }
}
