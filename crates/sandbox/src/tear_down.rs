//! The end of an instance on this machine. For `paas down`, when no nursery runs any more.

use std::io;
use std::path::Path;

use model::instance;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::cgroup;
use crate::net::{Host, NetworkError};
use crate::policy;

/// Why something of the instance is still there.
#[derive(Debug, thiserror::Error)]
pub enum TearDownError {
    /// Processes or groups.
    #[error("remove the cgroups of {name}")]
    Cgroups {
        /// The instance.
        name: instance::Name,
        /// Why.
        source: io::Error,
    },
    /// The programs that hold PORT, and their pins.
    #[error("remove the port policy of {name}")]
    Policy {
        /// The instance.
        name: instance::Name,
        /// Why.
        source: io::Error,
    },
    /// Bridges, cables or rules.
    #[error("remove the network of {name}")]
    Network {
        /// The instance.
        name: instance::Name,
        /// Why.
        source: NetworkError,
    },
}

/// Kills all sandboxes of an instance and removes its cgroups, bridges, cables and rules; what is
/// not there is fine. Files below `run` are the caller's to remove.
///
/// # Errors
/// [`TearDownError`]; it can be repeated.
pub fn tear_down(name: &instance::Name, run: &Path) -> Result<(), TearDownError> {
    remove_cgroups(name, run).map_err(|source| TearDownError::Cgroups {
        name: name.clone(),
        source,
    })?;
    // Only now is nobody left whom it holds.
    policy::tear_down(run).map_err(|source| TearDownError::Policy {
        name: name.clone(),
        source,
    })?;
    Host::tear_down(name).map_err(|source| TearDownError::Network {
        name: name.clone(),
        source,
    })
}

fn remove_cgroups(name: &instance::Name, run: &Path) -> io::Result<()> {
    // Where nobody has mounted the v2 tree it is mounted here, for this thread alone.
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    cgroup::remove_all(name.as_str(), &run.join("cgroup2"))
}
