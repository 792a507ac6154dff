//! One net namespace from nothing to ready, made by a helper process.
//!
//! The helper unshares and configures, so its parent never leaves the host's namespace. Everything
//! it makes hangs on the namespace's descriptor: when the last descriptor and process go, so does
//! the cable.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CloneFlags, unshare};

use super::helper::Place;
use super::link::{Cable, Links};
use super::seat::Seat;
use super::{Host, NetworkError, central, kernel, open_links, rules, write_setting};

/// Makes namespaces, one after the other. Lives in a helper process alone.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    host: &'a Host,
    /// Opened before the first unshare: it goes on speaking for the host's namespace.
    outside: Links,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(host: &'a Host) -> Result<Self, NetworkError> {
        Ok(Self {
            host,
            outside: open_links()?,
        })
    }

    /// Makes the namespace of a place.
    pub(super) fn make(&mut self, place: Place) -> Result<OwnedFd, NetworkError> {
        match place {
            Place::Seat(seat) => self.seat(seat),
            Place::DynoNet(net) => central::make(self.host, net, &mut self.outside),
        }
    }

    /// Makes the namespace of a seat and leaves the process in it.
    ///
    /// A dying namespace keeps its cable for some milliseconds (the kernel's `cleanup_net` runs
    /// later), so an old one of the same seat is deleted first.
    fn seat(&mut self, seat: Seat) -> Result<OwnedFd, NetworkError> {
        let Host {
            name, range, mtu, ..
        } = self.host;
        let port = seat.cable(name);
        let (address, gateway) = (seat.address(*range), seat.gateway(*range));
        enter_new()?;
        let ns = current()?;
        // `eth0` and whatever comes later has none; `lo` keeps `::1`, which programs expect.
        write_setting("net/ipv6/conf/default/disable_ipv6", "1")?;
        let cable = Cable {
            port: &port,
            bridge: &seat.bridge(name),
            address,
            mtu: *mtu,
        };
        self.outside
            .delete(&port)
            .map_err(kernel("delete an old veth pair"))?;
        self.outside
            .cable(&cable, ns.as_fd())
            .map_err(kernel("make a veth pair"))?;
        let mut inside = open_links()?;
        inside
            .inside(address, gateway)
            .map_err(kernel("configure a net namespace"))?;
        self.outside
            .settle(&port)
            .map_err(kernel("wait for a veth pair"))?;
        self.host
            .iptables_restore
            .run(&[], &rules::inside(seat.open_port()))?;
        Ok(ns)
    }
}

/// Leaves the calling process in a net namespace that has nothing yet.
pub(super) fn enter_new() -> Result<(), NetworkError> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(io::Error::from)
        .map_err(kernel("make a net namespace"))
}

/// The net namespace that the calling thread is in.
pub(super) fn current() -> Result<OwnedFd, NetworkError> {
    let ns = File::open("/proc/thread-self/ns/net").map_err(kernel("open a net namespace"))?;
    Ok(ns.into())
}
