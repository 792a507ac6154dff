//! What a commit demands and does.

use crate::key::is_key;
use crate::view::Revision;
use model::limits::{STORE_KEY_MAX_BYTES, STORE_TRANSACTION_MAX, STORE_VALUE_MAX_BYTES};
use serde::Serialize;

/// Conditions and writes that happen together or not at all.
///
/// ```
/// # use store::{Revision, Transaction};
/// let name = Transaction::new()
///     .absent("name/shop")?
///     .put("name/shop", &"0190-aa")?
///     .put("app/0190-aa", &"the app")?;
/// # Ok::<(), store::TransactionError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    pub(crate) conditions: Vec<(String, Condition)>,
    pub(crate) writes: Vec<(String, Write)>,
}

/// What must hold for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Absent,
    At(Revision),
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Put(String),
    Delete,
}

/// Why a transaction cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// It is no key.
    #[error(
        "use {0:?} as a key: parts of printable ASCII with / between them, at most \
         {STORE_KEY_MAX_BYTES} bytes"
    )]
    Key(String),
    /// A key is written twice.
    #[error("write {0} twice in one transaction")]
    Twice(String),
    /// The value is too long.
    #[error("store {size_bytes} bytes as {key}, at most {STORE_VALUE_MAX_BYTES} are allowed")]
    Value {
        /// Of which key.
        key: String,
        /// Its length as JSON.
        size_bytes: usize,
    },
    /// The value cannot be written as JSON.
    #[error("store {key} as JSON")]
    Json {
        /// Of which key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// There are too many conditions and writes.
    #[error("put more than {STORE_TRANSACTION_MAX} conditions and writes into one transaction")]
    TooMany,
}

impl Transaction {
    /// Demands nothing and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands that a key is not there.
    pub fn absent(self, key: &str) -> Result<Self, TransactionError> {
        self.condition(key, Condition::Absent)
    }

    /// Demands that a key was last written by a revision.
    pub fn at(self, key: &str, revision: Revision) -> Result<Self, TransactionError> {
        self.condition(key, Condition::At(revision))
    }

    /// Writes a record, new or not.
    pub fn put(self, key: &str, value: &impl Serialize) -> Result<Self, TransactionError> {
        let json = serde_json::to_string(value).map_err(|source| TransactionError::Json {
            key: key.to_owned(),
            source,
        })?;
        if json.len() > STORE_VALUE_MAX_BYTES {
            return Err(TransactionError::Value {
                key: key.to_owned(),
                size_bytes: json.len(),
            });
        }
        self.write(key, Write::Put(json))
    }

    /// Deletes a record; one that is not there is fine.
    pub fn delete(self, key: &str) -> Result<Self, TransactionError> {
        self.write(key, Write::Delete)
    }

    fn condition(mut self, key: &str, condition: Condition) -> Result<Self, TransactionError> {
        self.check(key)?;
        self.conditions.push((key.to_owned(), condition));
        Ok(self)
    }

    fn write(mut self, key: &str, write: Write) -> Result<Self, TransactionError> {
        self.check(key)?;
        if self.writes.iter().any(|(other, _)| other == key) {
            return Err(TransactionError::Twice(key.to_owned()));
        }
        self.writes.push((key.to_owned(), write));
        Ok(self)
    }

    fn check(&self, key: &str) -> Result<(), TransactionError> {
        if !is_key(key) {
            return Err(TransactionError::Key(key.to_owned()));
        }
        if self.conditions.len() + self.writes.len() >= STORE_TRANSACTION_MAX {
            return Err(TransactionError::TooMany);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        let long = "x".repeat(STORE_VALUE_MAX_BYTES - 1);
        let refused = |made: Result<Transaction, TransactionError>| made.unwrap_err().to_string();
        let new = Transaction::new;
        for (message, expected) in [
            (
                refused(new().put("a//b", &1)),
                "use \"a//b\" as a key: parts of printable",
            ),
            (refused(new().absent("")), "use \"\" as a key"),
            (
                refused(new().put("a", &long)),
                "store 262145 bytes as a, at most 262144 are allowed",
            ),
            (
                refused(new().put("a", &1).unwrap().delete("a")),
                "write a twice in one transaction",
            ),
        ] {
            assert!(message.starts_with(expected), "{message}");
        }
        let full =
            (0..STORE_TRANSACTION_MAX).try_fold(new(), |tx, n| tx.put(&format!("k/{n}"), &n));
        assert!(matches!(
            full.unwrap().absent("x"),
            Err(TransactionError::TooMany)
        ));
    }
}
