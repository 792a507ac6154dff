//! Ready net namespaces, made ahead.
//!
//! A namespace takes 14 ms to make, most of it iptables-restore (docs/sandbox.md), and 1.6 us to
//! enter. So a helper process makes the namespaces of the seats that come next, and the nursery,
//! which has one thread, only receives descriptors. The address is bound to the seat at once, not
//! at take time: that keeps the start at a setns alone, lets name, hardware address and source
//! check follow from the seat, and costs only that seats must be given out lowest first to find
//! theirs ready. Any other is made while the caller waits.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::limits;
use model::network::{ISOLATED_PORT, SLOTS_MAX};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::namespace::Maker;
use super::seat::Seat;
use super::{Host, NetworkError, kernel};
use crate::sys::{helper, socket};

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
            self.helper = Some(Helper::start(host, missing)?);
        }
        Ok(())
    }

    /// What to poll for reading: then call [`Self::collect`]. None while nothing is being made.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.helper.as_ref().map(|helper| helper.socket.as_fd())
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
            .is_some_and(|helper| helper.is_pending(seat))
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
            Ok((seat, ns)) => drop(self.ready.insert(seat, ns)),
            Err(error) => {
                self.failure = Some(error);
                self.is_paused = true;
            }
        }
        if helper.pending.is_empty() {
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

/// Makes one namespace while the caller waits.
pub(super) fn make_now(host: &Host, seat: Seat) -> Result<OwnedFd, NetworkError> {
    let mut helper = Helper::start(host, vec![seat])?;
    let made = helper.receive();
    helper.reap();
    made.map(|(_, ns)| ns)
}

/// The helper's word about one seat; the namespace comes along, unless there is an error.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    seat: Seat,
    error: Option<String>,
}

/// A process that makes some namespaces and ends.
#[derive(Debug)]
struct Helper {
    pid: Pid,
    socket: OwnedFd,
    /// What has not been reported yet, in order.
    pending: Vec<Seat>,
}

impl Helper {
    fn start(host: &Host, seats: Vec<Seat>) -> Result<Self, NetworkError> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .map_err(io::Error::from)
            .map_err(kernel("make a socket pair"))?;
        let pid = helper::fork(theirs.as_fd(), || make_all(host, &seats, theirs.as_fd()))
            .map_err(kernel("fork a helper"))?;
        Ok(Self {
            pid,
            socket: ours,
            pending: seats,
        })
    }

    fn is_pending(&self, seat: Seat) -> bool {
        self.pending.iter().any(|other| other.is_same_place(seat))
    }

    fn has_news(&self, within: PollTimeout) -> bool {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, within) {
                Err(nix::Error::EINTR) => {}
                outcome => return outcome.is_ok_and(|count| count > 0),
            }
        }
    }

    fn receive(&mut self) -> Result<(Seat, OwnedFd), NetworkError> {
        if !self.has_news(limits::NETWORK_TIMEOUT_MS.into()) {
            return Err(self.give_up());
        }
        let packet = socket::receive(self.socket.as_fd());
        let packet = packet.map_err(kernel("hear from the helper"));
        let made = packet.and_then(|packet| {
            let made: Made = serde_json::from_slice(&packet.message).map_err(|_| died())?;
            Ok((made, packet.fds.into_iter().next()))
        });
        // A helper that cannot be understood is gone with all that it had still to make.
        let (made, ns) = made.inspect_err(|_| self.pending.clear())?;
        self.pending.retain(|seat| *seat != made.seat);
        match (made.error, ns) {
            (None, Some(ns)) => Ok((made.seat, ns)),
            (Some(error), _) => Err(NetworkError::Helper(error)),
            (None, None) => Err(died()),
        }
    }

    /// The kernel or iptables-restore is stuck; whatever was made vanishes with the helper.
    fn give_up(&mut self) -> NetworkError {
        self.pending.clear();
        let told = match kill(self.pid, Signal::SIGKILL) {
            Ok(()) | Err(nix::Error::ESRCH) => "it was killed",
            Err(error) => error.desc(),
        };
        let most_ms = limits::NETWORK_TIMEOUT_MS;
        NetworkError::Helper(format!(
            "its helper process took more than {most_ms} ms: {told}"
        ))
    }

    /// Waits for the end of a helper that has said its last word. Somebody else may have reaped it.
    fn reap(self) {
        drop(self.socket);
        while waitpid(self.pid, None) == Err(nix::Error::EINTR) {}
    }
}

fn died() -> NetworkError {
    NetworkError::Helper("its helper process died".to_owned())
}

/// The helper's whole life. Nobody listens any more when a send fails.
fn make_all(host: &Host, seats: &[Seat], to: BorrowedFd<'_>) {
    let mut maker = Maker::new(host);
    for seat in seats {
        let made = maker
            .as_mut()
            .map_err(|e| chain(e))
            .and_then(|maker| maker.make(*seat).map_err(|e| chain(&e)));
        let (error, ns) = match made {
            Ok(ns) => (None, Some(ns)),
            Err(error) => (Some(error), None),
        };
        let word = serde_json::to_vec(&Made { seat: *seat, error }).expect("plain data");
        let fds: Vec<BorrowedFd<'_>> = ns.iter().map(AsFd::as_fd).collect();
        if socket::send(to, &word, &fds).is_err() {
            return;
        }
    }
}

/// The error and its causes, as one text: the helper's words cross a socket.
fn chain(error: &NetworkError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
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
