//! `DATA/config.toml`: read once, into one struct, all faults reported together.
//!
//! Every key may be missing; so may the file. `paas up` and `make up` write it, people edit it,
//! roles read it.

mod faults;

use faults::Table;
use model::limits::{BUILD_TIMEOUT_S, RELEASE_PHASE_TIMEOUT_S};
use model::{app, dyno, instance, network};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use faults::Fault;

/// The platform's configuration, complete.
#[derive(Clone, Debug)]
pub struct Config {
    /// What everything on the machine is named after. `instance = "paas"`
    pub instance: instance::Name,
    /// The domain below which the platform and its apps are. `domain = "paas.localhost"`
    pub domain: String,
    /// The router's port for everybody. `http_port = 80`
    pub http_port: u16,
    /// The router's port on 127.0.0.1 for the platform's own hosts. `loopback_port = 5080`
    pub loopback_port: u16,
    /// The port of attached one-offs, TLS. `rendezvous_port = 5443`
    pub rendezvous_port: u16,
    /// The addresses of dynos and builds. `network = "10.201.0.0/16"`
    pub network: network::Range,
    /// The data folder, as given.
    pub data_dir: PathBuf,
    /// The run folder; follows from the instance.
    pub run_dir: PathBuf,
    /// The installed programs and buildpacks. `program_dir = "/usr/local/lib/paas"`
    pub program_dir: PathBuf,
    /// The stacks. `stacks_dir = "/var/cache/paas/stacks"`
    pub stacks_dir: PathBuf,
    /// The stack of new apps. `default_stack = "debian-13"`
    pub default_stack: String,
    /// This node's name. `node = "lab-1"`, the host name without it
    pub node: String,
    /// How long things may take.
    pub limits: Limits,
    /// How apps are built.
    pub build: Build,
    /// How requests are routed.
    pub router: Router,
    /// How dynos are run.
    pub dynod: Dynod,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Seconds of a whole build. `build_s = 900`
    pub build_s: u64,
    /// Seconds of a release phase. `release_phase_s = 3600`
    pub release_phase_s: u64,
}

/// `[build]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// `[build.env]`: the environment of every build: mirrors, proxies.
    pub env: BTreeMap<String, String>,
}

/// `[router]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Router {
    /// Count of threads; 0: as many as cores. `threads = 0`
    pub threads: usize,
}

/// `[dynod]`: the network of slugs, and the crash policy: the first restart is immediate, then
/// waits double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dynod {
    /// The wait before the second restart, milliseconds. `crash_wait_first_ms = 10_000`
    pub crash_wait_first_ms: u64,
    /// The longest wait, milliseconds. `crash_wait_max_ms = 1_200_000`
    pub crash_wait_max_ms: u64,
    /// A dyno that was up so long starts afresh, milliseconds. `crash_reset_ms = 600_000`
    pub crash_reset_ms: u64,
    /// Where slugs run; central only where the node can. `slug_network = "central"`, or
    /// `"isolated"`
    pub slug_network: dyno::Mode,
}

impl Default for Dynod {
    fn default() -> Self {
        // docs/heroku.md, "A dyno's life".
        Self {
            crash_wait_first_ms: 10_000,
            crash_wait_max_ms: 1_200_000,
            crash_reset_ms: 600_000,
            slug_network: dyno::Mode::Central,
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("read {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no TOML.
    #[error("read {} as TOML", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// Values that are wrong, and keys that nobody knows.
    #[error("use {}: {}", path.display(), faults::join(faults))]
    Faults {
        /// Which file.
        path: PathBuf,
        /// All of them, at least one.
        faults: Vec<Fault>,
    },
}

impl Config {
    /// Reads `config.toml` of a data folder; without the file everything has its default.
    ///
    /// # Errors
    /// [`ConfigError`], with all faults of the file.
    pub fn load(data_dir: &Path) -> Result<Self, ConfigError> {
        let path = data_dir.join("config.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Io { path, source }),
        };
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                let source = Box::new(error);
                return Err(ConfigError::Syntax { path, source });
            }
        };
        Self::from_table(table, data_dir).map_err(|faults| ConfigError::Faults { path, faults })
    }

    fn from_table(table: toml::Table, data_dir: &Path) -> Result<Self, Vec<Fault>> {
        let mut top = Table::new(table);
        let mut limits = top.table("limits");
        let mut build = top.table("build");
        let mut router = top.table("router");
        let mut dynod = top.table("dynod");
        let usual = Dynod::default();
        let instance = top.take("instance", || {
            instance::Name::parse("paas").expect("paas is an instance name")
        });
        let config = Self {
            run_dir: instance.run_folder(),
            program_dir: top.take("program_dir", || {
                Path::new("/usr/local/lib").join(instance.as_str())
            }),
            domain: top.checked(
                "domain",
                || "paas.localhost".to_owned(),
                |domain| check_domain(domain),
            ),
            http_port: top.checked("http_port", || 80, |port| check_port(*port)),
            loopback_port: top.checked("loopback_port", || 5080, |port| check_port(*port)),
            rendezvous_port: top.checked("rendezvous_port", || 5443, |port| check_port(*port)),
            network: top.take("network", || {
                network::Range::parse("10.201.0.0/16").expect("it is a range")
            }),
            data_dir: data_dir.to_owned(),
            stacks_dir: top.take("stacks_dir", || "/var/cache/paas/stacks".into()),
            default_stack: top.take("default_stack", || "debian-13".to_owned()),
            node: top.take("node", host_name),
            limits: Limits {
                build_s: limits.checked("build_s", || BUILD_TIMEOUT_S, |s| check_seconds(*s)),
                release_phase_s: limits.checked(
                    "release_phase_s",
                    || RELEASE_PHASE_TIMEOUT_S,
                    |s| check_seconds(*s),
                ),
            },
            build: Build {
                env: build.take("env", BTreeMap::new),
            },
            router: Router {
                threads: router.take("threads", || 0),
            },
            dynod: Dynod {
                crash_wait_first_ms: dynod
                    .take("crash_wait_first_ms", || usual.crash_wait_first_ms),
                crash_wait_max_ms: dynod.take("crash_wait_max_ms", || usual.crash_wait_max_ms),
                crash_reset_ms: dynod.take("crash_reset_ms", || usual.crash_reset_ms),
                slug_network: dynod.take("slug_network", || usual.slug_network),
            },
            instance,
        };
        let mut found = top.finish();
        for part in [limits, build, router, dynod] {
            found.extend(part.finish());
        }
        if found.is_empty() {
            Ok(config)
        } else {
            Err(found)
        }
    }

    /// `http://api.paas.localhost:8080`, without the port where it is 80.
    pub fn api_url(&self) -> String {
        format!("http://api.{}{}", self.domain, self.port_suffix())
    }

    /// `http://git.paas.localhost:8080/hello.git`
    pub fn git_url(&self, app: &app::Name) -> String {
        format!("{}/{app}.git", self.git_base_url())
    }

    /// `http://git.paas.localhost:8080`
    pub fn git_base_url(&self) -> String {
        format!("http://git.{}{}", self.domain, self.port_suffix())
    }

    /// `http://paas.localhost:8080`
    pub fn router_url(&self) -> String {
        format!("http://{}{}", self.domain, self.port_suffix())
    }

    /// `http://hello.paas.localhost:8080/`
    pub fn app_url(&self, app: &app::Name) -> String {
        format!("http://{}{}/", self.app_host(app), self.port_suffix())
    }

    /// `hello.paas.localhost`
    pub fn app_host(&self, app: &app::Name) -> String {
        format!("{app}.{}", self.domain)
    }

    /// The socket on which roles meet the api.
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir.join("control.sock")
    }

    fn port_suffix(&self) -> String {
        match self.http_port {
            80 => String::new(),
            port => format!(":{port}"),
        }
    }
}

fn check_port(port: u16) -> Result<(), &'static str> {
    match port {
        0 => Err("a port is 1 to 65535"),
        _ => Ok(()),
    }
}

fn check_seconds(seconds: u64) -> Result<(), &'static str> {
    match seconds {
        1..=86_400 => Ok(()),
        _ => Err("a limit is 1 to 86400 seconds"),
    }
}

fn check_domain(domain: &str) -> Result<(), &'static str> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // 253 is DNS's limit; an app's name and the dot come before it.
    if domain.len() <= 253 - 31 && domain.split('.').all(label) {
        Ok(())
    } else {
        Err("a domain is lower-case labels of letters, digits and dashes, like paas.localhost")
    }
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    match name.to_string_lossy() {
        name if name.is_empty() => "localhost".to_owned(),
        name => name.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        Config::from_table(text.parse().unwrap(), Path::new("/data")).map_err(|f| faults::join(&f))
    }

    #[test]
    fn everything_has_a_default() {
        let config = read("").unwrap();
        let hello = app::Name::parse("hello").unwrap();
        assert_eq!(config.run_dir, Path::new("/run/paas"));
        assert_eq!(config.program_dir, Path::new("/usr/local/lib/paas"));
        assert_eq!(config.api_url(), "http://api.paas.localhost");
        assert_eq!(config.app_url(&hello), "http://hello.paas.localhost/");
        assert_eq!(config.dynod, Dynod::default());
        assert!(!config.node.is_empty());
    }

    #[test]
    fn values_are_taken() {
        let config = read(
            "instance = 'pt0a1b2c'\nhttp_port = 8080\ndomain = 'x.test'\nnetwork = '10.202.0.0/16'\n\
             [build.env]\nPIP_INDEX_URL = 'http://m/'\n[dynod]\ncrash_reset_ms = 5\nslug_network = 'isolated'\n[router]\nthreads = 2",
        )
        .unwrap();
        let hello = app::Name::parse("hello").unwrap();
        assert_eq!(config.run_dir, Path::new("/run/pt0a1b2c"));
        assert_eq!(config.program_dir, Path::new("/usr/local/lib/pt0a1b2c"));
        assert_eq!(config.git_url(&hello), "http://git.x.test:8080/hello.git");
        assert_eq!(config.build.env.get("PIP_INDEX_URL").unwrap(), "http://m/");
        assert_eq!((config.dynod.crash_reset_ms, config.router.threads), (5, 2));
        assert_eq!(config.dynod.slug_network, dyno::Mode::Isolated);
    }

    #[test]
    fn faults_are_reported_together() {
        for (text, faults) in [
            ("http_port = 0", "http_port: a port is 1 to 65535"),
            (
                "colour = 1\nhttp_port = 'x'\n[dynod]\nspeed = 1",
                "http_port: invalid type: string \"x\", expected u16; colour: no such key; dynod.speed: no such key",
            ),
            ("build = 3", "build: has to be a table"),
            (
                "[dynod]\nslug_network = 'host'",
                "dynod.slug_network: unknown variant `host`, expected `central` or `isolated`",
            ),
            (
                "domain = 'A'",
                "domain: a domain is lower-case labels of letters, digits and dashes, like paas.localhost",
            ),
            (
                "limits = { build_s = 0 }",
                "limits.build_s: a limit is 1 to 86400 seconds",
            ),
            (
                "network = '8.8.0.0/16'",
                "network: the network is a /16 like 10.201.0.0/16",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), faults, "{text}");
        }
    }
}
