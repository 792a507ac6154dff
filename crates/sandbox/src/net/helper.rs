//! The process that makes namespaces: it unshares and configures, its parent receives descriptors.
//!
//! In: places; out, over a socket pair: a namespace for each, or why not. Called by the pool, which
//! goes on meanwhile, and by whoever needs a namespace at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::limits;
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

/// Makes one namespace while the caller waits.
pub(super) fn make_now(host: &Host, place: Place) -> Result<OwnedFd, NetworkError> {
    let mut helper = Helper::start(host, vec![place])?;
    let made = helper.receive();
    helper.reap();
    made.map(|(_, ns)| ns)
}

/// What a helper can make the namespace of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// An isolated dyno or a build.
    Seat(Seat),
    /// An owner's dyno network.
    DynoNet(u8),
}

impl Place {
    fn is_same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Seat(a), Self::Seat(b)) => a.is_same_place(b),
            (a, b) => a == b,
        }
    }
}

/// The helper's word about one place; the namespace comes along, unless there is an error.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    place: Place,
    error: Option<String>,
}

/// A process that makes some namespaces and ends.
#[derive(Debug)]
pub(super) struct Helper {
    pid: Pid,
    socket: OwnedFd,
    /// What has not been reported yet, in order.
    pending: Vec<Place>,
}

impl AsFd for Helper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Helper {
    /// Forks it (0.2 ms).
    pub(super) fn start(host: &Host, places: Vec<Place>) -> Result<Self, NetworkError> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .map_err(io::Error::from)
            .map_err(kernel("make a socket pair"))?;
        let pid = helper::fork(theirs.as_fd(), || make_all(host, &places, theirs.as_fd()))
            .map_err(kernel("fork a helper"))?;
        Ok(Self {
            pid,
            socket: ours,
            pending: places,
        })
    }

    /// Whether it has not yet spoken of this place.
    pub(super) fn is_pending(&self, place: Place) -> bool {
        self.pending.iter().any(|other| other.is_same(place))
    }

    /// Whether it has said its last word.
    pub(super) fn is_done(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether it says something within this time.
    pub(super) fn has_news(&self, within: PollTimeout) -> bool {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, within) {
                Err(nix::Error::EINTR) => {}
                outcome => return outcome.is_ok_and(|count| count > 0),
            }
        }
    }

    /// Waits for its next word: a namespace, or why there is none.
    pub(super) fn receive(&mut self) -> Result<(Place, OwnedFd), NetworkError> {
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
        self.pending.retain(|place| *place != made.place);
        match (made.error, ns) {
            (None, Some(ns)) => Ok((made.place, ns)),
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
    pub(super) fn reap(self) {
        drop(self.socket);
        while waitpid(self.pid, None) == Err(nix::Error::EINTR) {}
    }
}

fn died() -> NetworkError {
    NetworkError::Helper("its helper process died".to_owned())
}

/// The helper's whole life. Nobody listens any more when a send fails.
fn make_all(host: &Host, places: &[Place], to: BorrowedFd<'_>) {
    let mut maker = Maker::new(host);
    for place in places {
        let made = maker
            .as_mut()
            .map_err(|error| error.chain())
            .and_then(|maker| maker.make(*place).map_err(|error| error.chain()));
        let (error, ns) = match made {
            Ok(ns) => (None, Some(ns)),
            Err(error) => (Some(error), None),
        };
        let word = serde_json::to_vec(&Made {
            place: *place,
            error,
        })
        .expect("plain data");
        let fds: Vec<BorrowedFd<'_>> = ns.iter().map(AsFd::as_fd).collect();
        if socket::send(to, &word, &fds).is_err() {
            return;
        }
    }
}
