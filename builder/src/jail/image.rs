//! The steps of an image that work on files: `paas jail image`, one JSON request on standard
//! input, one JSON answer on standard output.
//!
//! `/src` is what is read: the build's context, or the files of a stage. `/dest` is the root of
//! the stage that is built: what is written there becomes its layer. `/index` may name the digests
//! of the files of the context. Nothing is followed out of either root.

pub(crate) mod archive;
mod digest;
mod looks;

pub(crate) mod copy;
pub(crate) mod modes;
pub(crate) mod pack;
pub(crate) mod root;
pub(crate) mod select;
pub(crate) mod user;

use model::digest::Digest;
use serde::{Deserialize, Serialize};
use std::error::Error as StdError;
use std::io::{self, Read as _};
use std::path::Path;

/// Where the digests of the context's files are.
pub const INDEX: &str = "/index";
/// Bytes of a request: all texts of a Dockerfile may be in it.
const REQUEST_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Request {
    /// Say what each of these selections holds -> a list of [`Selected`].
    Select {
        /// Of `/src`.
        selections: Vec<Selection>,
    },
    /// Copy -> nothing.
    Copy(Box<CopyOrder>),
    /// Make a folder with those above it, owned by the user -> nothing.
    Workdir {
        /// Absolute.
        path: String,
        /// As USER says.
        user: String,
    },
    /// Say who a user of `/dest` is -> `user::User`.
    User {
        /// As USER says.
        user: String,
    },
}

/// Some files of `/src`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The folder that stands for the root, below `/src`.
    pub root: String,
    /// Paths and patterns.
    pub sources: Vec<String>,
    /// Lines of `.dockerignore`; empty for the files of a stage.
    pub ignored: String,
    /// `--exclude`
    pub excludes: Vec<String>,
    /// `--parents`
    pub keeps_parents: bool,
    /// Whether all belongs to 0:0, whatever the disk says: the context.
    pub is_context: bool,
}

/// What a selection holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "selected")]
pub enum Selected {
    /// These files; equal digests are equal files with equal names.
    Files {
        /// Of all of it.
        digest: Digest,
    },
    /// This source is not there.
    Missing {
        /// As it is written.
        source: String,
    },
    /// It cannot be used.
    Refused {
        /// Why.
        reason: String,
    },
}

/// A COPY or ADD.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopyOrder {
    /// What is copied.
    pub selection: Selection,
    /// Files with their text, after all others.
    pub files: Vec<(String, String)>,
    /// Absolute; with a slash at its end a folder.
    pub dest: String,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<String>,
    /// Whether an archive is unpacked.
    pub unpacks: bool,
    /// `SOURCE_DATE_EPOCH`
    pub epoch_s: Option<u64>,
}

/// What a job says that can be nothing but well or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// Reads the request and does it.
pub(super) fn run() -> Result<(), Box<dyn StdError>> {
    let mut text = Vec::new();
    io::stdin().take(REQUEST_MAX_BYTES).read_to_end(&mut text)?;
    let (src, dest) = (Path::new(super::SRC), Path::new(super::DEST));
    match serde_json::from_slice(&text)? {
        Request::Select { selections } => {
            let index = digest::Index::open(Path::new(INDEX))?;
            let selected: Vec<Selected> = selections
                .iter()
                .map(|selection| digest::digest(src, selection, &index))
                .collect();
            super::say(&selected)
        }
        Request::Copy(order) => {
            copy::copy(src, dest, &order)?;
            super::say(&Done {})
        }
        Request::Workdir { path, user } => {
            copy::workdir(dest, &path, &user)?;
            super::say(&Done {})
        }
        Request::User { user } => super::say(&user::find(dest, &user)?),
    }
}
