//! What the builder is told of builds: which wait, and how each is built.

use super::App;
use crate::app;
use crate::digest::Digest;
use crate::release;
use std::collections::BTreeMap;

/// A build that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pending {
    /// Its id.
    pub build: uuid::Uuid,
    /// Whose it is.
    pub app: app::Id,
    /// Whether nobody works on it yet: a builder takes it with [`super::Ask::TakeBuild`].
    pub is_free: bool,
}

/// What a build is to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Artifact {
    /// What the tree asks for: nobody has chosen, and nothing was built yet.
    ByTree,
    /// A slug, with buildpacks.
    Slug,
    /// An image, from a Dockerfile.
    Image,
    /// An image that others made: the source is an archive of it.
    Archive,
}

/// How to build.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BuildOrder {
    /// The build's id.
    pub build: uuid::Uuid,
    /// The app.
    pub app: App,
    /// What is built.
    pub source: Source,
    /// The stack's name; of an image that of the stack that its build uses itself.
    pub stack: String,
    /// What to make.
    pub artifact: Artifact,
    /// The app's buildpacks in order; empty: detect.
    pub buildpacks: Vec<String>,
    /// Config vars for `ENV_DIR`. Secret.
    pub config: BTreeMap<String, String>,
    /// The host name the app is reached at.
    pub url: String,
    /// The release that serves now, for the line that says it is untouched.
    pub current: Option<release::Number>,
}

/// Where a build's files come from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "source")]
pub enum Source {
    /// A commit of the app's repository, 40 hex digits.
    Commit {
        /// Which.
        commit: String,
    },
    /// An archive.
    Archive {
        /// Where it is.
        at: Place,
        /// What the user calls it.
        version: Option<String>,
        /// What its bytes must hash to.
        sha256: Option<Digest>,
    },
}

impl Source {
    /// What the user calls it.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Commit { commit } => Some(commit),
            Self::Archive { version, .. } => version.as_deref(),
        }
    }
}

/// Where an archive is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "at")]
pub enum Place {
    /// Uploaded to us: `DATA/sources/<id>`.
    Uploaded {
        /// Its name there.
        id: uuid::Uuid,
    },
    /// Elsewhere, by http or https. Not trusted.
    Elsewhere {
        /// Its address.
        url: String,
    },
}
