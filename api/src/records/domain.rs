//! Domains of apps beside the one that the platform gives: an app's list, and whose a host is.

use super::{Change, Records, RecordsError};
use model::app::Id;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A domain of an app's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Domain {
    pub(crate) id: Uuid,
    /// As routers look it up: lower case, ASCII; the first label may be `*`.
    pub(crate) hostname: String,
    pub(crate) created_at_us: u64,
}

impl Records {
    /// An app's own domains, by name.
    pub(crate) fn domains(&self, app: Id) -> Result<Vec<Domain>, RecordsError> {
        self.values(&format!("domain/{app}/"))
    }
}

impl Change {
    /// Adds a domain, which no app may have.
    pub(crate) fn add_domain(&mut self, app: Id, domain: &Domain) {
        self.touch(app);
        self.create(&format!("host/{}", domain.hostname), &app);
        self.put(&format!("domain/{app}/{}", domain.hostname), domain);
    }

    /// Removes a domain; any app may have it then.
    pub(crate) fn remove_domain(&mut self, app: Id, domain: &Domain) {
        self.touch(app);
        self.remove(&format!("host/{}", domain.hostname));
        self.remove(&format!("domain/{app}/{}", domain.hostname));
    }
}
