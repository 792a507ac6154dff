//! `RUN/state.json`: what the supervisor runs. Written by it alone, whole or not at all.
//!
//! Read by the api for `/paas/status` (the field `roles`), by the next supervisor, which adopts
//! what is in it, and by `paas up`, `down` and `doctor`.

use super::process::Identity;
use super::role::Role;
use anyhow::Context as _;
use std::io::Write as _;
use std::path::Path;

/// The file's name.
pub(crate) const FILE: &str = "state.json";

/// All that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct State {
    /// The supervisor.
    pub(crate) up: Option<Identity>,
    /// What serves, at most one of each name.
    pub(crate) roles: Vec<Entry>,
    /// Replaced and not yet gone.
    pub(crate) leaving: Vec<Entry>,
    /// What ended by itself since the supervisor started.
    pub(crate) ended: Vec<Ended>,
    /// Whether everything runs in its present build and configuration.
    pub(crate) is_settled: bool,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Entry {
    /// Its role.
    pub(super) name: Role,
    /// Who it is.
    #[serde(flatten)]
    pub(crate) identity: Identity,
    /// When it was started, RFC 3339.
    pub(crate) since: String,
    /// The configuration that it read: [`fingerprint`].
    pub(crate) config: u64,
}

/// Processes of one role that ended by themselves.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Ended {
    /// The role.
    pub(super) name: Role,
    /// How often.
    pub(crate) times: u32,
    /// How the last one ended.
    pub(crate) how: String,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, times, how } = self;
        write!(f, "{} ended {times} times, last by {how}", name.name())
    }
}

impl State {
    /// Reads the file of a run folder; nothing runs when there is none.
    pub(crate) fn read(run: &Path) -> anyhow::Result<Self> {
        let path = run.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        serde_json::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
    }

    /// Writes it.
    pub(crate) fn write(&self, run: &Path) -> anyhow::Result<()> {
        let path = run.join(FILE);
        let part = path.with_extension("part");
        let write = || {
            let mut file = std::fs::File::create(&part)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            std::fs::rename(&part, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A number that changes with the configuration file: what was started before it did is replaced.
pub(crate) fn fingerprint(data: &Path) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    std::fs::read(data.join("config.toml"))
        .unwrap_or_else(|_| Vec::new())
        .hash(&mut hasher);
    hasher.finish()
}

/// The time now, RFC 3339 in UTC, whole seconds.
pub(crate) fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    now.replace_nanosecond(0)
        .unwrap_or(now)
        .format(&time::format_description::well_known::Rfc3339)
        .expect("this year has four digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_and_the_next_supervisor_read_this() {
        let state = State {
            roles: vec![Entry {
                name: Role::Api,
                identity: Identity {
                    pid: 7,
                    start_time: 9,
                },
                since: "2026-11-24T09:37:12Z".to_owned(),
                config: 3,
            }],
            ..State::default()
        };
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(
            json,
            r#"{"up":null,"roles":[{"name":"api","pid":7,"start_time":9,"since":"2026-11-24T09:37:12Z","config":3}],"leaving":[],"ended":[],"is_settled":false}"#
        );
        assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
    }
}
