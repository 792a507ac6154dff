//! Reading: records, and what changed, as they are at one moment.

use crate::key::prefix_end;
use crate::watch::{Change, Changes};
use model::limits::STORE_CHANGES_MAX;
use rusqlite::{Connection, OptionalExtension, params};
use serde::de::DeserializeOwned;
use std::fmt;

/// A number for each commit, from 1; 0 is before the first.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record and the revision that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// For [`crate::Transaction::at`].
    pub revision: Revision,
    /// The record.
    pub value: T,
}

/// A record under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// The whole key.
    pub key: String,
    /// For [`crate::Transaction::at`].
    pub revision: Revision,
    /// The record.
    pub value: T,
}

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The record is not what was asked for.
    #[error("read {key} from the store")]
    Record {
        /// Of which key.
        key: String,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// `SQLite` refused.
    #[error("read from the store")]
    Sqlite(#[from] rusqlite::Error),
}

/// The store as it is at one moment.
pub struct View<'a> {
    pub(crate) connection: &'a Connection,
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("View")
    }
}

impl View<'_> {
    /// The record of a key.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Versioned<T>>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT revision, value FROM records WHERE key = ?1 AND value IS NOT NULL",
        )?;
        let row = statement.query_row([key], |row| {
            let json: String = row.get(1)?;
            Ok((Revision(row.get(0)?), json))
        });
        let Some((revision, json)) = row.optional()? else {
            return Ok(None);
        };
        let value = parse(key, &json)?;
        Ok(Some(Versioned { revision, value }))
    }

    /// All records whose keys start with `prefix`, sorted by key.
    pub fn list<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<Entry<T>>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key, revision, value FROM records
             WHERE key >= ?1 AND key < ?2 AND value IS NOT NULL ORDER BY key",
        )?;
        let mut rows = statement.query(params![prefix, prefix_end(prefix)])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let key: String = row.get(0)?;
            let json = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
            entries.push(Entry {
                value: parse(&key, json)?,
                revision: Revision(row.get(1)?),
                key,
            });
        }
        Ok(entries)
    }

    /// The revision of the last commit that this view sees.
    pub fn revision(&self) -> Result<Revision, ReadError> {
        Ok(head(self.connection)?)
    }

    /// See [`crate::Store::changes`].
    pub fn changes(&self, prefix: &str, after: Revision) -> Result<Changes, ReadError> {
        let now = self.revision()?;
        let forgotten: u64 = self
            .connection
            .prepare_cached("SELECT revision FROM forgotten")?
            .query_row([], |row| row.get(0))?;
        // A revision from the future was made by a store that a backup has replaced since.
        if after.0 < forgotten || after > now {
            return Ok(Changes::Gap { now });
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT key, revision, value FROM records
             -- The plus keeps the planner on the index by revision: few rows are new.
             WHERE revision > ?1 AND +key >= ?2 AND +key < ?3
             ORDER BY revision, key",
        )?;
        let mut rows = statement.query(params![after.0, prefix, prefix_end(prefix)])?;
        let mut changes: Vec<Change> = Vec::new();
        while let Some(row) = rows.next()? {
            let change = Change {
                key: row.get(0)?,
                revision: Revision(row.get(1)?),
                json: row.get(2)?,
            };
            // A full answer ends with a whole revision, so that the next one can start behind it.
            if let Some(last) = changes.last()
                && changes.len() >= STORE_CHANGES_MAX
                && last.revision != change.revision
            {
                let through = last.revision;
                return Ok(Changes::Some { changes, through });
            }
            changes.push(change);
        }
        Ok(Changes::Some {
            changes,
            through: now,
        })
    }
}

fn parse<T: DeserializeOwned>(key: &str, json: &str) -> Result<T, ReadError> {
    serde_json::from_str(json).map_err(|source| ReadError::Record {
        key: key.to_owned(),
        source,
    })
}

/// No row is as new as the last commit's, and none of those is ever forgotten.
pub(crate) fn head(connection: &Connection) -> rusqlite::Result<Revision> {
    connection
        .prepare_cached("SELECT coalesce(max(revision), 0) FROM records")?
        .query_row([], |row| row.get(0).map(Revision))
}
