//! A TOML table that is emptied key by key and remembers what was wrong.

use serde::de::DeserializeOwned;

/// One thing that is wrong in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Fault {
    /// The key, with its tables: `build.env`.
    pub key: String,
    /// What is wrong with it, one line.
    pub reason: String,
}

/// All faults in one line.
pub(super) fn join(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    lines.join("; ")
}

/// The keys that were not taken yet, and the faults so far.
pub(super) struct Table {
    prefix: String,
    left: toml::Table,
    faults: Vec<Fault>,
}

impl Table {
    pub(super) fn new(left: toml::Table) -> Self {
        Self {
            prefix: String::new(),
            left,
            faults: Vec::new(),
        }
    }

    /// Takes a table in the table; an empty one when it is missing.
    pub(super) fn table(&mut self, key: &str) -> Self {
        let left = match self.left.remove(key) {
            None => toml::Table::new(),
            Some(toml::Value::Table(table)) => table,
            Some(_) => {
                self.blame(key, "has to be a table");
                toml::Table::new()
            }
        };
        Self {
            prefix: format!("{}{key}.", self.prefix),
            ..Self::new(left)
        }
    }

    /// Takes a value; the default when it is missing or wrong.
    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        key: &str,
        default: impl FnOnce() -> T,
    ) -> T {
        self.checked(key, default, |_| Ok(()))
    }

    /// Takes a value that a rule has to accept.
    pub(super) fn checked<T: DeserializeOwned>(
        &mut self,
        key: &str,
        default: impl FnOnce() -> T,
        rule: impl FnOnce(&T) -> Result<(), &'static str>,
    ) -> T {
        let Some(value) = self.left.remove(key) else {
            return default();
        };
        let value = match value.try_into::<T>() {
            Ok(value) => value,
            Err(error) => {
                self.blame(key, error.message());
                return default();
            }
        };
        if let Err(reason) = rule(&value) {
            self.blame(key, reason);
        }
        value
    }

    /// The faults, with every key that nobody took.
    pub(super) fn finish(mut self) -> Vec<Fault> {
        for (key, _) in std::mem::take(&mut self.left) {
            self.blame(&key, "no such key");
        }
        self.faults
    }

    fn blame(&mut self, key: &str, reason: &str) {
        self.faults.push(Fault {
            key: format!("{}{key}", self.prefix),
            reason: reason.to_owned(),
        });
    }
}
