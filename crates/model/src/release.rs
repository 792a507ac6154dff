//! A release: an artifact, config vars and process types under a number.

use crate::account;
use crate::digest::Digest;
use crate::process::Types;

/// A release's number: v1, v2, ...
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Number(pub u64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its release phase or its dynos' boot is under way.
    Pending,
    /// It was switched to.
    Succeeded,
    /// Its release phase or its dynos' boot failed; the number is used up.
    Failed,
}

/// The record of a release.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Release {
    /// Its id in the API.
    pub id: uuid::Uuid,
    /// Its number, unique within the app.
    pub number: Number,
    /// `Deploy 1a2b3c4d`, `Set FOO config vars`, `Rollback to v3`, ...
    pub description: String,
    /// Where it stands.
    pub status: Status,
    /// The slug's manifest in the blob store; none until the first build.
    pub slug: Option<Digest>,
    /// The commit of the slug.
    pub commit: Option<String>,
    /// Process types of the artifact.
    pub process_types: Types,
    /// Sealed config vars, by the digest of their sealed bytes' record.
    pub config: String,
    /// Who made it.
    pub by: account::Id,
    /// When, Unix microseconds.
    pub created_at_us: u64,
    /// When its status changed last, Unix microseconds.
    pub updated_at_us: u64,
}

impl Release {
    /// Whether a rollback may go to it.
    pub fn is_eligible_for_rollback(&self) -> bool {
        self.status == Status::Succeeded && self.slug.is_some()
    }
}
