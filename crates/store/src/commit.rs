//! Committing: conditions first, then writes, under one write lock.

use crate::transaction::{Condition, Transaction, Write};
use crate::view::{Revision, head};
use model::limits::STORE_HISTORY_REVISIONS;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// Why nothing was committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A condition does not hold: somebody else was faster. Read again and decide again.
    #[error("commit: {key} was changed by somebody else")]
    Conflict {
        /// The first key whose condition fails.
        key: String,
        /// The revision that wrote it; none if it is not there.
        revision: Option<Revision>,
    },
    /// Another process holds the file for writing and does not let go.
    #[error("commit: another process has locked the store")]
    Busy,
    /// There is no room for it on the disk. Nothing was changed.
    #[error("commit: the disk is full")]
    Full,
    /// `SQLite` refused. Nothing was changed.
    #[error("commit to the store")]
    Sqlite(#[source] rusqlite::Error),
}

/// Returns the last revision before and the one that holds now.
pub(crate) fn write(
    connection: &mut Connection,
    transaction: &Transaction,
) -> Result<(Revision, Revision), CommitError> {
    // The write lock first: what the conditions see cannot change until the commit.
    let sql = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(refused)?;
    for (key, condition) in &transaction.conditions {
        let revision = revision_of(&sql, key).map_err(refused)?;
        let holds = match condition {
            Condition::Absent => revision.is_none(),
            Condition::At(expected) => revision == Some(*expected),
        };
        if !holds {
            return Err(CommitError::Conflict {
                key: key.clone(),
                revision,
            });
        }
    }
    let before = head(&sql).map_err(refused)?;
    let next = Revision(before.0 + 1);
    let mut changed = 0;
    for (key, write) in &transaction.writes {
        changed += apply(&sql, key, write, next).map_err(refused)?;
    }
    if changed == 0 {
        return Ok((before, before));
    }
    forget(&sql, next).map_err(refused)?;
    sql.commit().map_err(refused)?;
    Ok((before, next))
}

fn revision_of(connection: &Connection, key: &str) -> rusqlite::Result<Option<Revision>> {
    connection
        .prepare_cached("SELECT revision FROM records WHERE key = ?1 AND value IS NOT NULL")?
        .query_row([key], |row| row.get(0).map(Revision))
        .optional()
}

fn apply(
    connection: &Connection,
    key: &str,
    write: &Write,
    revision: Revision,
) -> rusqlite::Result<usize> {
    match write {
        Write::Put(json) => connection
            .prepare_cached(
                "INSERT INTO records (key, revision, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT (key) DO UPDATE SET revision = ?2, value = ?3",
            )?
            .execute(params![key, revision.0, json]),
        Write::Delete => connection
            .prepare_cached(
                "UPDATE records SET revision = ?2, value = NULL
                 WHERE key = ?1 AND value IS NOT NULL",
            )?
            .execute(params![key, revision.0]),
    }
}

/// Drops the deletions that are too old to be told, and notes up to where that was done.
fn forget(connection: &Connection, revision: Revision) -> rusqlite::Result<()> {
    let Some(horizon) = revision.0.checked_sub(STORE_HISTORY_REVISIONS) else {
        return Ok(());
    };
    let newest: Option<u64> = connection
        .prepare_cached("SELECT max(revision) FROM records WHERE value IS NULL AND revision <= ?1")?
        .query_row([horizon], |row| row.get(0))?;
    let Some(newest) = newest else {
        return Ok(());
    };
    connection
        .prepare_cached("DELETE FROM records WHERE value IS NULL AND revision <= ?1")?
        .execute([newest])?;
    connection
        .prepare_cached("UPDATE forgotten SET revision = ?1")?
        .execute([newest])?;
    Ok(())
}

fn refused(error: rusqlite::Error) -> CommitError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            CommitError::Busy
        }
        Some(rusqlite::ErrorCode::DiskFull) => CommitError::Full,
        _ => CommitError::Sqlite(error),
    }
}
