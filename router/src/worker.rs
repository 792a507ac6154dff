//! What the connections of one thread share, and what all threads share.

use crate::access::Log;
use crate::pool::Pool;
use crate::table::Table;
use crate::timers::Timers;
use link::stop::Stop;
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use tokio::sync::Semaphore;

/// What all threads share: read-only, but for counts.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: Arc<Table>,
    pub(crate) timers: Timers,
    pub(crate) platform: Platform,
    /// Requests that wait for a dyno.
    pub(crate) held: AtomicUsize,
    /// One permit a connection to a client.
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) stop: Stop,
    /// The drain is over: what is cut from now on is cut by us.
    pub(crate) is_forced: AtomicBool,
}

/// Where the platform's own hosts are served.
#[derive(Clone, Debug)]
pub struct Platform {
    /// `paas.localhost`: it, and `api.`, `git.`, `registry.` below it, are the platform's.
    pub domain: String,
    /// The api's socket.
    pub api_socket: PathBuf,
    /// The builder's socket.
    pub git_socket: PathBuf,
}

impl Platform {
    /// Whether a host is one of the platform's own.
    pub fn has(&self, host: &str) -> bool {
        match host.strip_suffix(self.domain.as_str()) {
            Some(label) => matches!(label, "" | "api." | "git." | "registry."),
            None => false,
        }
    }
}

/// One thread's own.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) log: Log,
    seed: Cell<u64>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, log: Log) -> Self {
        let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
        Self {
            shared,
            pool: Pool::default(),
            log,
            seed: Cell::new(seed),
        }
    }

    /// A number for ties and request ids, neither of which is a secret (splitmix64).
    pub(crate) fn random(&self) -> u64 {
        let seed = self.seed.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.seed.set(seed);
        let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A request id in the form of a random UUID.
    pub(crate) fn request_id(&self) -> uuid::Uuid {
        let bits = (u128::from(self.random()) << 64) | u128::from(self.random());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}
