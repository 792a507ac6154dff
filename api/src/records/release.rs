//! Releases, the slugs they run, and the builds that made them.

use super::{App, Change, Records, RecordsError};
use model::digest::Digest;
use model::feed::Artifact;
use model::release::{Number, Release};
use model::slug::Manifest;
use model::{account, app};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A slug of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slug {
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
    pub(crate) created_at_us: u64,
}

impl Slug {
    /// Its id in the API: made of its digest, so that it needs no record of its own.
    pub(crate) fn id(digest: Digest) -> Uuid {
        let hex: String = digest.hex().chars().take(32).collect();
        let bytes = Uuid::parse_str(&hex).expect("32 hex digits are a UUID");
        uuid::Builder::from_random_bytes(bytes.into_bytes()).into_uuid()
    }
}

/// A build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Build {
    pub(crate) id: Uuid,
    pub(crate) app: app::Id,
    pub(crate) stack: String,
    pub(crate) buildpacks: Vec<String>,
    /// What the user calls what is built: of a push its commit; may be empty.
    pub(crate) commit: String,
    /// What the API was asked to build; of a push nothing.
    #[serde(default)]
    pub(crate) source: Option<SourceBlob>,
    /// Whether the source is an image that others made.
    #[serde(default)]
    pub(crate) is_image: bool,
    pub(crate) by: account::Id,
    pub(crate) state: BuildState,
    pub(crate) created_at_us: u64,
    pub(crate) updated_at_us: u64,
}

/// A source as the API was given it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceBlob {
    pub(crate) url: String,
    pub(crate) version: Option<String>,
    pub(crate) version_description: Option<String>,
    pub(crate) checksum: Option<String>,
}

/// Where a build stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(crate) enum BuildState {
    /// It waits for a builder to take it.
    Ordered,
    /// A builder works on it.
    Building {
        /// The process that builds.
        holder: Holder,
    },
    /// Its slug is being released.
    Releasing { release: Number, slug: Digest },
    /// Its release serves, or served.
    Released {
        release: Number,
        slug: Digest,
        release_ms: u64,
        start_ms: u64,
    },
    /// It was built and its release failed.
    NotReleased {
        release: Number,
        slug: Digest,
        reason: String,
        lines: Vec<String>,
    },
    /// There is no slug.
    Failed { reason: String },
}

/// A process on this machine: a pid alone is given away again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) pid: i32,
    /// Clock ticks since boot, field 22 of `/proc/PID/stat`, `proc_pid_stat(5)`.
    pub(crate) start_time: u64,
}

/// The one change of an app that takes long: a release on its way to serving. Removed in the
/// transaction that ends it, so that one found at the start of the api was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Op {
    pub(crate) release: Number,
    /// The build whose slug it is, when it came from one.
    pub(crate) build: Option<Uuid>,
    pub(crate) phase: Phase,
    pub(crate) began_at_us: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub(crate) enum Phase {
    /// The release phase runs in this dyno.
    Command {
        /// Which.
        dyno: model::dyno::Id,
    },
    /// New web dynos boot.
    Boot {
        /// Since when.
        began_at_us: u64,
    },
}

impl Build {
    /// What it makes.
    pub(crate) fn artifact(&self, app: &App) -> Artifact {
        if self.is_image {
            Artifact::Archive
        } else {
            app.artifact()
        }
    }
}

impl BuildState {
    /// Whether it has not come to its end.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(
            self,
            Self::Ordered | Self::Building { .. } | Self::Releasing { .. }
        )
    }
}

impl Records {
    pub(crate) fn release(
        &self,
        app: app::Id,
        number: Number,
    ) -> Result<Option<Release>, RecordsError> {
        self.get(&release_key(app, number))
    }

    /// All releases, ascending.
    pub(crate) fn releases(&self, app: app::Id) -> Result<Vec<Release>, RecordsError> {
        self.values(&format!("rel/{app}/"))
    }

    pub(crate) fn slug(&self, app: app::Id, digest: Digest) -> Result<Option<Slug>, RecordsError> {
        self.get(&format!("slug/{app}/{}", digest.hex()))
    }

    pub(crate) fn slugs(&self, app: app::Id) -> Result<Vec<Slug>, RecordsError> {
        self.values(&format!("slug/{app}/"))
    }

    pub(crate) fn build(&self, app: app::Id, id: Uuid) -> Result<Option<Build>, RecordsError> {
        self.get(&format!("build/{app}/{id}"))
    }

    /// All builds that are kept, oldest first.
    pub(crate) fn builds(&self, app: app::Id) -> Result<Vec<Build>, RecordsError> {
        self.values(&format!("build/{app}/"))
    }

    /// The app's build that a builder works on or shall take.
    pub(crate) fn waiting_build(&self, app: app::Id) -> Result<Option<Build>, RecordsError> {
        match self.get(&format!("building/{app}"))? {
            Some(id) => self.build(app, id),
            None => Ok(None),
        }
    }

    /// All builds of all apps.
    pub(crate) fn all_builds(&self) -> Result<Vec<Build>, RecordsError> {
        self.values("build/")
    }

    /// A build whose app is not known.
    pub(crate) fn find_build(&self, id: Uuid) -> Result<Option<Build>, RecordsError> {
        match self.get(&format!("build-app/{id}"))? {
            Some(app) => self.build(app, id),
            None => Ok(None),
        }
    }

    pub(crate) fn op(&self, app: app::Id) -> Result<Option<Op>, RecordsError> {
        self.get(&format!("op/{app}"))
    }
}

impl Change {
    pub(crate) fn put_release(&mut self, app: app::Id, release: &Release) {
        self.touch(app);
        self.put(&release_key(app, release.number), release);
    }

    pub(crate) fn put_slug(&mut self, app: app::Id, slug: &Slug) {
        self.put(&format!("slug/{app}/{}", slug.digest.hex()), slug);
    }

    pub(crate) fn put_build(&mut self, build: &Build) {
        self.touch(build.app);
        let building = format!("building/{}", build.app);
        match build.state {
            BuildState::Ordered | BuildState::Building { .. } => self.put(&building, &build.id),
            _ => self.remove(&building),
        }
        self.put(&format!("build/{}/{}", build.app, build.id), build);
        self.put(&format!("build-app/{}", build.id), &build.app);
    }

    pub(crate) fn remove_build(&mut self, build: &Build) {
        self.remove(&format!("build/{}/{}", build.app, build.id));
        self.remove(&format!("build-app/{}", build.id));
    }

    pub(crate) fn put_op(&mut self, app: app::Id, op: &Op) {
        self.put(&format!("op/{app}"), op);
    }

    pub(crate) fn remove_op(&mut self, app: app::Id) {
        self.remove(&format!("op/{app}"));
    }
}

/// Padded, so that the order of keys is the order of numbers.
fn release_key(app: app::Id, number: Number) -> String {
    format!("rel/{app}/{:010}", number.0)
}

impl Holder {
    /// The process of this pid as it is now; none when it is gone, or dead and not reaped yet.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name of the program, in parentheses, may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        if rest.starts_with('Z') {
            return None;
        }
        let start_time = rest.split(' ').nth(19)?.parse().ok()?;
        Some(Self { pid, start_time })
    }

    /// Whether this very process still lives.
    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_an_older_one_of_its_pid_does_not() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let holder = Holder::of(pid).unwrap();
        assert!(holder.is_alive());
        assert!(
            !Holder {
                start_time: holder.start_time - 1,
                ..holder
            }
            .is_alive()
        );
        assert_eq!(Holder::of(i32::MAX), None);
    }

    #[test]
    fn slug_ids_are_stable_uuids() {
        let id = Slug::id(Digest::new([0xab; 32]));
        assert_eq!(id.to_string(), "abababab-abab-4bab-abab-abababababab");
    }
}
