//! A parsed Dockerfile -> what is to be done, stage by stage, with every variable expanded. Pure.
//!
//! Nothing that a RUN does can change what a later line says, so all of it is known before
//! anything runs: which stages are needed, which files are read, what the image's config will be.

pub(crate) mod graph;
pub(crate) mod scope;

mod stage;

mod expose;
mod health;
mod mounts;
mod path;

pub(crate) use graph::{Base, Graph};
pub(crate) use mounts::{Bind, Mounts};
pub(crate) use stage::{Parent, stage};

use artifact::image::Settings;
use serde::Serialize;
use std::collections::BTreeMap;

/// What programs are looked up in when nothing says so.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage that is to be built.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// As it is shown: its name, or `stage-N`; of the only stage nothing.
    pub label: String,
    /// What it stands on.
    pub base: Base,
    /// What makes layers, in order.
    pub steps: Vec<Step>,
    /// Its config at the end.
    pub settings: Settings,
    /// What MAINTAINER said.
    pub author: Option<String>,
    /// Its instructions as history tells them, and whether each makes a layer.
    pub history: Vec<(String, bool)>,
    /// The ARGs in effect at its end, for stages that stand on it.
    pub arguments: BTreeMap<String, String>,
}

/// Something that makes a layer.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Lines of the Dockerfile.
    pub span: (usize, usize),
    /// The instruction as it is shown.
    pub source: String,
    /// What it does.
    pub action: Action,
}

/// What a step does. Its JSON is the part of its cache key that is not files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub(crate) enum Action {
    /// RUN
    Run(Box<Run>),
    /// COPY and ADD
    Copy(Box<Copy>),
    /// WORKDIR
    Workdir {
        /// Absolute.
        path: String,
        /// USER at that line.
        user: String,
    },
}

/// A RUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Run {
    /// The command, its shell included.
    pub argv: Vec<String>,
    /// Environment and ARGs.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub cwd: String,
    /// USER at that line.
    pub user: String,
    /// Name and text of a script of its own, at `/dev/pipes/NAME`.
    pub script: Option<(String, String)>,
    /// `--mount`
    pub mounts: Mounts,
    /// Whether it has a network.
    pub has_network: bool,
}

/// A COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Copy {
    /// Whose files.
    pub from: From,
    /// Paths and patterns.
    pub sources: Vec<String>,
    /// Names and texts of heredocs.
    pub files: Vec<(String, String)>,
    /// Absolute; with a slash at its end a folder.
    pub dest: String,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<String>,
    /// `--exclude`
    pub excludes: Vec<String>,
    /// `--parents`
    pub keeps_parents: bool,
    /// Whether archives are unpacked.
    pub unpacks: bool,
}

/// Whose files are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum From {
    /// The build's context.
    Context,
    /// A stage before this one.
    Stage(usize),
    /// An image.
    Image(String),
}

/// What a build is given from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// `--build-arg`
    pub arguments: BTreeMap<String, String>,
    /// `--target`
    pub target: Option<String>,
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
