//! The platform's records, a file per noun, over the store.
//!
//! Reading is a matter of microseconds and is done where it is needed. Writing goes through a
//! [`Change`]: one at a time, decided on records that nobody changes meanwhile, committed as one
//! transaction together with its audit record. What the peers are told follows from it
//! ([`crate::platform::Platform::begin`]).

mod account;
mod app;
mod domain;
mod release;
mod want;

pub(crate) use account::{Account, Scope, Token, hash};
pub(crate) use app::{App, CONTAINER, Scaled};
pub(crate) use domain::Domain;
pub(crate) use release::{Build, BuildState, Holder, Op, Phase, Slug, SourceBlob};
pub(crate) use want::{Stage, Step, Want};

use crate::clock::now_us;
use crate::http::failure::Failure;
use crate::platform::Platform;
use model::account::Id as AccountId;
use model::limits::STORE_TRANSACTION_MAX;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::{CommitError, ReadError, Store, Transaction, TransactionError};
use tokio::sync::OwnedMutexGuard;

/// Why records cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk or the database refused; nothing was changed.
    #[error(transparent)]
    Commit(CommitError),
    /// Something that must be new exists already.
    #[error("make {key}: it exists already")]
    Exists {
        /// Its key.
        key: String,
    },
    /// The change cannot be written at all.
    #[error(transparent)]
    Unfit(#[from] TransactionError),
    /// A record that this program did not write.
    #[error("read {key} from the store: its key has another form")]
    Foreign {
        /// Its key.
        key: String,
    },
    /// A dyno is ordered of a release that has nothing to run.
    #[error("order a dyno of {release}, which has no slug")]
    NoSlug {
        /// Which.
        release: model::release::Number,
    },
    /// The program ends while the change was being written; it is on the disk, or not at all.
    #[error("finish a change before the program ends")]
    Cut,
}

impl RecordsError {
    fn foreign(key: &str) -> Self {
        let key = key.to_owned();
        Self::Foreign { key }
    }
}

impl From<RecordsError> for Failure {
    fn from(error: RecordsError) -> Self {
        if let RecordsError::Exists { key } = &error {
            let name = key.rsplit('/').next().unwrap_or_default();
            return Self::invalid(format!("Name {name} is already taken"));
        }
        crate::say::failed("read or write records", &error);
        if let RecordsError::Commit(CommitError::Full) = error {
            return Self::unavailable("The platform's disk is full. Nothing was changed.");
        }
        Self::internal()
    }
}

/// The store, typed.
#[derive(Clone, Debug)]
pub(crate) struct Records(Arc<Store>);

impl Records {
    pub(crate) fn new(store: Store) -> Self {
        Self(Arc::new(store))
    }

    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, RecordsError> {
        Ok(self.0.get(key)?.map(|found| found.value))
    }

    fn list<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>, RecordsError> {
        let rows = self.0.list(prefix)?.into_iter();
        Ok(rows.map(|row| (row.key, row.value)).collect())
    }

    fn values<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, RecordsError> {
        let rows = self.0.list(prefix)?.into_iter();
        Ok(rows.map(|row| row.value).collect())
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, RecordsError> {
        let rows = self.0.list::<IgnoredAny>(prefix)?.into_iter();
        Ok(rows.map(|row| row.key).collect())
    }

    /// The number of this life of the api: one more than the last one's.
    pub(crate) fn next_epoch(&self) -> Result<u64, RecordsError> {
        let epoch = self.get::<u64>("epoch")?.unwrap_or_default() + 1;
        let transaction = Transaction::new().put("epoch", &epoch)?;
        self.0.commit(&transaction).map_err(RecordsError::Commit)?;
        Ok(epoch)
    }

    /// Removes what belongs to apps that are gone: a destroy that was cut off left it.
    pub(crate) fn sweep(&self) -> Result<(), RecordsError> {
        let apps: BTreeSet<String> = self.apps()?.iter().map(|app| app.id.to_string()).collect();
        let mut orphans = Vec::new();
        for below in [
            "form/",
            "vars/",
            "rel/",
            "slug/",
            "build/",
            "building/",
            "op/",
            "dek/",
            "domain/",
        ] {
            let keys = self.keys(below)?.into_iter();
            orphans.extend(keys.filter(|key| {
                let app = key.split('/').nth(1).unwrap_or_default();
                !apps.contains(app)
            }));
        }
        self.delete(&orphans)
    }

    fn delete(&self, keys: &[String]) -> Result<(), RecordsError> {
        for part in keys.chunks(STORE_TRANSACTION_MAX / 2) {
            let transaction = part
                .iter()
                .try_fold(Transaction::new(), |transaction, key| {
                    transaction.delete(key)
                })?;
            self.0.commit(&transaction).map_err(RecordsError::Commit)?;
        }
        Ok(())
    }
}

/// A change of records that is being put together. While it lives nobody else changes anything;
/// dropped without [`Change::commit`], it changes nothing.
#[derive(Debug)]
pub(crate) struct Change {
    platform: Arc<Platform>,
    _turn: OwnedMutexGuard<()>,
    writes: BTreeMap<String, Option<serde_json::Value>>,
    created: Vec<String>,
    below: Vec<String>,
    audit: Option<Audit>,
    touched: BTreeSet<model::app::Id>,
    wants: Vec<Step>,
}

/// Who changed what.
#[derive(Debug, Serialize)]
struct Audit {
    at_us: u64,
    by: AccountId,
    action: &'static str,
    of: String,
}

impl Change {
    pub(crate) fn new(platform: Arc<Platform>, turn: OwnedMutexGuard<()>) -> Self {
        Self {
            platform,
            _turn: turn,
            writes: BTreeMap::new(),
            created: Vec::new(),
            below: Vec::new(),
            audit: None,
            touched: BTreeSet::new(),
            wants: Vec::new(),
        }
    }

    /// Notes who does this, in the same transaction.
    pub(crate) fn by(mut self, account: AccountId, action: &'static str, of: &str) -> Self {
        self.audit = Some(Audit {
            at_us: now_us(),
            by: account,
            action,
            of: of.to_owned(),
        });
        self
    }

    /// The app's items are told to the peers anew once this is committed.
    pub(crate) fn touch(&mut self, app: model::app::Id) {
        self.touched.insert(app);
    }

    fn put(&mut self, key: &str, value: &impl Serialize) {
        let value = serde_json::to_value(value).expect("records have only text keys");
        self.writes.insert(key.to_owned(), Some(value));
    }

    fn create(&mut self, key: &str, value: &impl Serialize) {
        self.created.push(key.to_owned());
        self.put(key, value);
    }

    fn remove(&mut self, key: &str) {
        self.writes.insert(key.to_owned(), None);
    }

    /// Removes what is below a prefix, after the transaction and in parts: it may be much.
    fn remove_below(&mut self, prefix: &str) {
        self.below.push(prefix.to_owned());
    }

    /// Makes the change: on the disk, in the fleet, and told to the peers, when this returns.
    pub(crate) async fn commit(self) -> Result<(), RecordsError> {
        let mut transaction = Transaction::new();
        for key in &self.created {
            transaction = transaction.absent(key)?;
        }
        for (key, value) in &self.writes {
            transaction = match value {
                Some(value) => transaction.put(key, value)?,
                None => transaction.delete(key)?,
            };
        }
        if let Some(audit) = &self.audit {
            transaction = transaction.put(&format!("audit/{}", uuid::Uuid::now_v7()), audit)?;
        }
        let records = self.platform.records.clone();
        let below = self.below.clone();
        // A thread that waits for the disk; it finishes its work even if nobody waits for it.
        let written = tokio::task::spawn_blocking(move || {
            records.0.commit(&transaction)?;
            Ok(below.iter().try_for_each(|prefix| {
                let keys = records.keys(prefix)?;
                records.delete(&keys)
            }))
        });
        match written.await {
            Ok(Ok(swept)) => {
                if let Err(error) = swept {
                    crate::say::failed("remove the rest of an app; the next start does", &error);
                }
            }
            Ok(Err(CommitError::Conflict { key, .. })) => return Err(RecordsError::Exists { key }),
            Ok(Err(error)) => return Err(RecordsError::Commit(error)),
            Err(_) => return Err(RecordsError::Cut),
        }
        self.platform.fleet.apply(self.wants);
        for app in self.touched {
            self.platform.publish(app);
        }
        Ok(())
    }
}
