//! The platform's state: records by key, changed by compare-and-swap, watched by prefix.
//!
//! Only the api opens it. Every commit gets a revision, one more than the last; a record carries
//! the revision that wrote it, so that a [`Transaction`] can demand that what it was decided on
//! still holds. A commit is on the disk when it returns.
//!
//! [`Store`] is `SQLite` in one file. It is a plain struct; it becomes a trait with the change that
//! adds etcd, which is why nothing of SQL is to be seen from outside and why the semantics are
//! those that etcd has, too: one revision for all keys, transactions of conditions and writes,
//! watching from a revision on.
//!
//! What is watched are states, not events: whoever is behind hears of the newest value of a key
//! once, and of a deletion as long as it is among the newest 10,000 revisions ([`Changes::Gap`]
//! otherwise, answered by reading all anew).
//!
//! All of it blocks; async callers use `spawn_blocking` and hear of commits by
//! [`Store::on_commit`].

mod commit;
mod database;
mod key;
mod store;
mod transaction;
mod view;
mod watch;

#[cfg(test)]
#[path = "../../../tests/unit/scratch.rs"]
mod scratch;

pub use commit::CommitError;
pub use database::OpenError;
pub use store::Store;
pub use transaction::{Transaction, TransactionError};
pub use view::{Entry, ReadError, Revision, Versioned, View};
pub use watch::{Change, Changes, Watch};
