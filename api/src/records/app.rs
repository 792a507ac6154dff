//! Apps, their names and hosts, their formation and their config vars (sealed).

use super::{Change, Records, RecordsError};
use model::app::{Id, Name};
use model::feed::Artifact;
use model::formation::{Entry, Formation};
use model::process::Type;
use model::{account, release};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct App {
    pub(crate) id: Id,
    pub(crate) name: Name,
    pub(crate) owner: account::Id,
    /// Where its current slug runs, by name.
    pub(crate) stack: String,
    /// Where the next build runs.
    pub(crate) build_stack: String,
    /// Whether somebody said so: else the first build chooses by what it finds in the tree.
    #[serde(default)]
    pub(crate) is_stack_chosen: bool,
    pub(crate) maintenance: bool,
    /// As they were given; empty: detect.
    pub(crate) buildpacks: Vec<String>,
    /// The newest release of all.
    pub(crate) newest: release::Number,
    /// The newest that succeeded: the one that serves.
    pub(crate) current: release::Number,
    /// Its config vars as they were set last: name of a [`Records::sealed`] record.
    pub(crate) config: String,
    pub(crate) created_at_us: u64,
    pub(crate) updated_at_us: u64,
    pub(crate) released_at_us: Option<u64>,
}

impl App {
    /// What its next build makes.
    pub(crate) fn artifact(&self) -> Artifact {
        let is_chosen = self.is_stack_chosen || self.released_at_us.is_some();
        match self.build_stack.as_str() {
            CONTAINER => Artifact::Image,
            _ if is_chosen => Artifact::Slug,
            _ => Artifact::ByTree,
        }
    }
}

/// The stack of images.
pub(crate) const CONTAINER: &str = "container";

/// One process type's quantity and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scaled {
    pub(crate) id: Uuid,
    pub(crate) entry: Entry,
    pub(crate) created_at_us: u64,
    pub(crate) updated_at_us: u64,
}

impl Records {
    pub(crate) fn app(&self, id: Id) -> Result<Option<App>, RecordsError> {
        self.get(&format!("app/{id}"))
    }

    pub(crate) fn app_named(&self, name: &Name) -> Result<Option<App>, RecordsError> {
        match self.get(&format!("name/{name}"))? {
            Some(id) => self.app(id),
            None => Ok(None),
        }
    }

    /// All apps there are.
    pub(crate) fn apps(&self) -> Result<Vec<App>, RecordsError> {
        self.values("app/")
    }

    /// The process types that were ever scaled, by type.
    pub(crate) fn scaled(&self, app: Id) -> Result<Vec<(Type, Scaled)>, RecordsError> {
        let prefix = format!("form/{app}/");
        let rows: Vec<(String, Scaled)> = self.list(&prefix)?;
        let row = |(key, scaled): (String, Scaled)| {
            let name = key.strip_prefix(&prefix).unwrap_or_default();
            let process_type = Type::parse(name).map_err(|_| RecordsError::foreign(&key))?;
            Ok((process_type, scaled))
        };
        rows.into_iter().map(row).collect()
    }

    /// The same as quantity and size alone.
    pub(crate) fn formation(&self, app: Id) -> Result<Formation, RecordsError> {
        let rows = self.scaled(app)?;
        Ok(rows
            .into_iter()
            .map(|(process_type, scaled)| (process_type, scaled.entry))
            .collect())
    }

    /// The app's own key, wrapped.
    pub(crate) fn wrapped_key(&self, app: Id) -> Result<Option<String>, RecordsError> {
        self.get(&format!("dek/{app}"))
    }

    /// Sealed config vars by the name that app and release keep.
    pub(crate) fn sealed(&self, app: Id, name: &str) -> Result<Option<String>, RecordsError> {
        self.get(&format!("vars/{app}/{name}"))
    }
}

impl Change {
    /// Writes the app, not its name and host.
    pub(crate) fn put_app(&mut self, app: &App) {
        self.touch(app.id);
        self.put(&format!("app/{}", app.id), app);
    }

    /// A new app: its name and host must be free.
    pub(crate) fn create_app(&mut self, app: &App, host: &str, wrapped_key: &str) {
        self.put_app(app);
        self.create(&format!("name/{}", app.name), &app.id);
        self.create(&format!("host/{host}"), &app.id);
        self.create(&format!("dek/{}", app.id), &wrapped_key);
    }

    /// Everything below an app but its dynos, which the caller removes.
    pub(crate) fn remove_app(&mut self, app: &App, host: &str) {
        self.touch(app.id);
        self.remove(&format!("app/{}", app.id));
        self.remove(&format!("name/{}", app.name));
        self.remove(&format!("host/{host}"));
        self.remove(&format!("dek/{}", app.id));
        self.remove(&format!("op/{}", app.id));
        self.remove(&format!("building/{}", app.id));
        for below in ["form", "vars", "rel", "slug", "build", "domain"] {
            self.remove_below(&format!("{below}/{}/", app.id));
        }
    }

    /// The app under another name and host, which must be free; the old ones are, at once.
    pub(crate) fn rename_app(&mut self, app: &App, old: (&Name, &str), host: &str) {
        self.put_app(app);
        self.remove(&format!("name/{}", old.0));
        self.remove(&format!("host/{}", old.1));
        self.create(&format!("name/{}", app.name), &app.id);
        self.create(&format!("host/{host}"), &app.id);
    }

    pub(crate) fn put_scaled(&mut self, app: Id, process_type: &Type, scaled: &Scaled) {
        self.touch(app);
        self.put(&format!("form/{app}/{process_type}"), scaled);
    }

    pub(crate) fn put_sealed(&mut self, app: Id, name: &str, sealed: &str) {
        self.put(&format!("vars/{app}/{name}"), &sealed);
    }
}
