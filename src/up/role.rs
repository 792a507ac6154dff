//! Which processes there are, as whom each runs, and which listeners it serves.

use super::accounts;
use link::config::Config;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process that the supervisor keeps running. The order is the order of starting: who is asked
/// comes before who asks, and the router last, since it lets the world in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    Nursery,
    Api,
    Builder,
    Dynod,
    Router,
}

/// In the order of starting.
pub(super) const ALL: [Role; 5] = [
    Role::Nursery,
    Role::Api,
    Role::Builder,
    Role::Dynod,
    Role::Router,
];

/// In the order of stopping: who works for others first, then who answers.
pub(super) const STOPPING: [Role; 5] = [
    Role::Builder,
    Role::Dynod,
    Role::Api,
    Role::Router,
    Role::Nursery,
];

impl Role {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nursery => "nursery",
            Self::Api => "api",
            Self::Builder => "builder",
            Self::Dynod => "dynod",
            Self::Router => "router",
        }
    }

    /// The system user; none: root.
    pub(super) const fn user(self) -> Option<&'static str> {
        match self {
            Self::Nursery => None,
            Self::Api => Some("paas-api"),
            Self::Builder => Some("paas-builder"),
            Self::Dynod => Some("paas-dynod"),
            Self::Router => Some("paas-router"),
        }
    }

    /// Names of the listeners that it is handed, in this order.
    pub(super) const fn listeners(self) -> &'static [&'static str] {
        match self {
            Self::Nursery => &["nursery"],
            Self::Api => &["api", "control", "rendezvous"],
            Self::Builder => &["git"],
            Self::Dynod => &[],
            Self::Router => &["http", "loopback"],
        }
    }

    /// How long a replacement waits for the old one before it starts beside it; none: until it has
    /// ended. An old router may drain for half a minute while nobody accepts new connections; the
    /// others own state that only one may have.
    pub(super) const fn patience(self) -> Option<Duration> {
        match self {
            Self::Router => Some(Duration::from_millis(500)),
            _ => None,
        }
    }

    /// The program's file.
    pub(super) fn program(self, config: &Config) -> PathBuf {
        let name = match self {
            Self::Nursery => "nursery",
            _ => "paas",
        };
        config.program_dir.join(name)
    }

    /// The program's arguments.
    pub(super) fn arguments(self, config: &Config) -> anyhow::Result<Vec<String>> {
        if self != Self::Nursery {
            let data = config.data_dir.display().to_string();
            return Ok(["role", self.name(), "--data", &data]
                .map(str::to_owned)
                .to_vec());
        }
        let mut arguments = nursery(config);
        for role in [Self::Builder, Self::Dynod] {
            if let Some(user) = role.user() {
                let uid = accounts::find(user)?.uid;
                arguments.extend(["--allow-uid".to_owned(), uid.to_string()]);
            }
        }
        Ok(arguments)
    }
}

/// How the nursery is told of the instance: it reads no configuration.
pub(super) fn nursery(config: &Config) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let pairs = [
        ("--instance", config.instance.to_string()),
        ("--network", config.network.to_string()),
        ("--run", path(&config.run_dir)),
        ("--data", path(&config.data_dir)),
        ("--stacks", path(&config.stacks_dir)),
        ("--program", path(&config.program_dir)),
    ];
    let flat = pairs
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value]);
    flat.collect()
}
