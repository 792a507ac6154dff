//! Ready net namespaces, made ahead.
//!
//! A namespace takes 14 ms to make, most of it iptables-restore (docs/sandbox.md), and 1.6 us to
//! enter. So a helper process makes the namespaces of the seats that come next, and the nursery,
//! which has one thread, only receives descriptors. The address is bound to the seat at once, not
//! at take time: that keeps the start at a setns alone, lets name, hardware address and source
//! check follow from the seat, and costs only that seats must be given out lowest first to find
//! theirs ready. Any other is made while the caller waits.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::limits;
use model::network::{ISOLATED_PORT, SLOTS_MAX};
use nix::poll::PollTimeout;

use super::helper::{Helper, Place};
use super::seat::Seat;
use super::{Host, NetworkError};

/// The ready namespaces of one host, and the helper that makes more of them.
#[derive(Debug, Default)]
pub struct Pool {
    ready: BTreeMap<Seat, OwnedFd>,
    helper: Option<Helper>,
    /// Not told to the caller yet.
    failure: Option<NetworkError>,
    /// Set by a failure, so that a broken host does not keep helpers failing in a circle; a
    /// namespace made on demand ends it.
    is_paused: bool,
}

impl Pool {
    /// Makes an empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a helper if seats that come next lack a namespace; returns at once (0.2 ms).
    ///
    /// `is_taken` tells which seats have a living dyno or job: their namespaces are not touched.
    /// Call it after set-up, after each start or end, and after each [`Self::collect`].
    pub fn refill(
        &mut self,
        host: &Host,
        is_taken: impl Fn(Seat) -> bool,
    ) -> Result<(), NetworkError> {
        if self.helper.is_some() || self.is_paused {
            return Ok(());
        }
        let mut missing = next_seats(is_taken);
        missing.retain(|seat| !self.ready.contains_key(seat));
        missing.truncate(limits::NETWORKS_PER_HELPER_MAX);
        if !missing.is_empty() {
            let places = missing.into_iter().map(Place::Seat).collect();
            self.helper = Some(Helper::start(host, places)?);
        }
        Ok(())
    }

    /// What to poll for reading: then call [`Self::collect`]. None while nothing is being made.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.helper.as_ref().map(AsFd::as_fd)
    }

    /// Takes what the helper has made so far, without waiting. An error is what went wrong with one
    /// seat since the last call; the pool stays usable.
    pub fn collect(&mut self) -> Result<(), NetworkError> {
        while self
            .helper
            .as_ref()
            .is_some_and(|helper| helper.has_news(PollTimeout::ZERO))
        {
            self.receive();
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Gives out the namespace of a seat: ready, or made now (14 ms). The seat must be free.
    ///
    /// Whoever enters the namespace keeps it alive; the descriptor may be closed then.
    pub fn take(&mut self, host: &Host, seat: Seat) -> Result<OwnedFd, NetworkError> {
        if !seat.is_valid() {
            return Err(NetworkError::Seat(seat));
        }
        while self
            .helper
            .as_ref()
            .is_some_and(|helper| helper.is_pending(Place::Seat(seat)))
        {
            self.receive();
        }
        let ready = self.ready.remove(&seat);
        self.ready.retain(|other, _| !other.is_same_place(seat));
        if let Some(ns) = ready {
            return Ok(ns);
        }
        let ns = host.namespace(seat)?;
        self.is_paused = false;
        Ok(ns)
    }

    /// The seats whose namespaces wait ready.
    pub fn ready(&self) -> impl Iterator<Item = Seat> {
        self.ready.keys().copied()
    }

    /// Waits for the helper's next word. The helper is gone after its last one.
    fn receive(&mut self) {
        let Some(mut helper) = self.helper.take() else {
            return;
        };
        match helper.receive() {
            Ok((Place::Seat(seat), ns)) => drop(self.ready.insert(seat, ns)),
            // Never asked for here; it vanishes with its descriptor.
            Ok((Place::DynoNet(_), _)) => {}
            Err(error) => {
                self.failure = Some(error);
                self.is_paused = true;
            }
        }
        if helper.is_done() {
            helper.reap();
        } else {
            self.helper = Some(helper);
        }
    }
}

/// The lowest free seats, as many as shall wait ready.
fn next_seats(is_taken: impl Fn(Seat) -> bool) -> Vec<Seat> {
    let dynos = (0..SLOTS_MAX).map(|slot| Seat::Dyno {
        slot,
        port: ISOLATED_PORT,
    });
    let builds = (0..limits::BUILD_NETWORKS_MAX).map(|number| Seat::Build { number });
    let dynos = dynos
        .filter(|seat| !is_taken(*seat))
        .take(limits::DYNO_NETWORKS_READY);
    let builds = builds
        .filter(|seat| !is_taken(*seat))
        .take(limits::BUILD_NETWORKS_READY);
    dynos.chain(builds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_seats_come_next() {
        let check = |taken: &[u16], expected: &[u16]| {
            let seats = next_seats(|seat| match seat {
                Seat::Dyno { slot, .. } => taken.contains(&slot),
                Seat::Build { number } => number == 0,
            });
            let slots = seats.iter().filter_map(|seat| match seat {
                Seat::Dyno { slot, .. } => Some(*slot),
                Seat::Build { .. } => None,
            });
            assert_eq!(slots.collect::<Vec<_>>(), expected);
            assert!(seats.contains(&Seat::Build { number: 2 }));
            assert!(!seats.contains(&Seat::Build { number: 0 }));
        };
        check(&[], &[0, 1, 2, 3, 4, 5, 6, 7]);
        check(&[0, 3, 8], &[1, 2, 4, 5, 6, 7, 9, 10]);
    }
}
