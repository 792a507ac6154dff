//! Idle connections to dynos, one pool a thread: last in, first out.
//!
//! Takes only [`Reusable`] wires. A dyno's connections close when it leaves its route, when they
//! were idle too long, and the oldest when there are too many.

use crate::route::Dyno;
use crate::wire::{Reusable, Wire};
use model::{dyno, limits};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The idle connections of one thread.
#[derive(Debug, Default)]
pub(crate) struct Pool(RefCell<HashMap<dyno::Id, Idle>>);

#[derive(Debug)]
struct Idle {
    dyno: Arc<Dyno>,
    address: SocketAddrV4,
    /// Newest at the back.
    wires: VecDeque<(Reusable, Instant)>,
}

impl Pool {
    /// The connection to a dyno that was used last, if one is alive.
    pub(crate) fn take(&self, dyno: &Dyno, address: SocketAddrV4) -> Option<Wire> {
        let mut pool = self.0.borrow_mut();
        let idle = pool.get_mut(&dyno.id)?;
        if idle.address != address {
            return None;
        }
        while let Some((reusable, _)) = idle.wires.pop_back() {
            if let Some(wire) = reusable.take() {
                return Some(wire);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self, dyno: &Arc<Dyno>, address: SocketAddrV4, wire: Reusable) {
        if dyno.has_left() {
            return;
        }
        let mut pool = self.0.borrow_mut();
        let idle = pool.entry(dyno.id).or_insert_with(|| Idle {
            dyno: Arc::clone(dyno),
            address,
            wires: VecDeque::new(),
        });
        if idle.address != address {
            idle.address = address;
            idle.wires.clear();
        }
        idle.wires.push_back((wire, Instant::now()));
        if idle.wires.len() > limits::DYNO_IDLE_CONNECTIONS_MAX {
            idle.wires.pop_front();
        }
    }

    /// Closes what is idle for too long, and all connections of dynos that left.
    pub(crate) fn sweep(&self, keep_alive: Duration) {
        let now = Instant::now();
        self.0.borrow_mut().retain(|_, idle| {
            if idle.dyno.has_left() {
                return false;
            }
            idle.wires
                .retain(|(_, since)| now.duration_since(*since) < keep_alive);
            !idle.wires.is_empty()
        });
    }

    /// Closes all of them: file descriptors are short.
    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}
