//! An owner's dyno network: the net namespace that the owner's dynos in central mode share.
//!
//! ```text
//! host  NAME-cN A.B.N.1 ==cable== eth0 A.B.N.2, and every other address of A.B.N.0/24 by AnyIP
//! ```
//!
//! A route of type `local` makes all addresses of the /24 the namespace's own without configuring
//! one, so a start costs no address, no neighbour and no rule. The host reaches them all through
//! .2, one neighbour for the whole network. `::1` of a dyno is an address of `fd7f::/32`, likewise
//! local. Which dyno may use which address is the port policy's business.
//!
//! No file names the namespace: it lives as long as a process is in it or a descriptor is open.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use model::network::{CENTRAL_EPHEMERAL_PORT_MIN, CENTRAL_NETS_MAX};
use nix::sched::{CloneFlags, setns};

use super::helper::{self, Place};
use super::link::{Links, Pair, Route, Way};
use super::{Host, NetworkError, kernel, namespace, open_links, write_setting};

impl Host {
    /// The dyno network of an owner, made at its first use while the caller waits (2 ms).
    ///
    /// The host keeps a descriptor of its own until [`Self::release_dyno_net`]. Of a former
    /// nursery's networks those with living dynos must be adopted first: making one anew takes the
    /// cable from an old one of the same number.
    pub fn dyno_net(&mut self, net: u8) -> Result<OwnedFd, NetworkError> {
        if net >= CENTRAL_NETS_MAX {
            return Err(NetworkError::DynoNet(net));
        }
        if !self.dyno_nets.contains_key(&net) {
            let made = helper::make_now(self, Place::DynoNet(net))?;
            self.dyno_nets.insert(net, made);
        }
        let kept = self.dyno_nets.get(&net);
        let kept = kept.ok_or(NetworkError::DynoNet(net))?;
        kept.try_clone().map_err(kernel("copy a descriptor"))
    }

    /// Takes the network of living dynos over from a former nursery: `ns` is one of their
    /// `/proc/PID/ns/net`.
    ///
    /// Refused unless it is the namespace at the other end of the network's cable: a pid that was
    /// used again must not open the host's network to the next dyno.
    pub fn adopt_dyno_net(&mut self, net: u8, ns: OwnedFd) -> Result<(), NetworkError> {
        if self.dyno_nets.contains_key(&net) {
            return Ok(());
        }
        let cable = self.name.central_cable(net);
        let is_there = open_links()?.leads_into(&cable, ns.as_fd());
        if net >= CENTRAL_NETS_MAX || !is_there.map_err(kernel(&format!("look at {cable}")))? {
            return Err(NetworkError::DynoNet(net));
        }
        self.dyno_nets.insert(net, ns);
        Ok(())
    }

    /// Lets go of a network: it vanishes with its last process, and with everything that the
    /// kernel remembers of its owner's connections.
    pub fn release_dyno_net(&mut self, net: u8) {
        self.dyno_nets.remove(&net);
    }
}

/// Makes the namespace of a dyno network. The calling process, a helper, is where it was before.
pub(super) fn make(host: &Host, net: u8, outside: &mut Links) -> Result<OwnedFd, NetworkError> {
    let home = namespace::current()?;
    namespace::enter_new()?;
    let ns = namespace::current()?;
    let mut inside = open_links()?;
    // `eth0` has no IPv6; `lo` keeps it, for `::1` and what stands for it.
    write_setting("net/ipv6/conf/default/disable_ipv6", "1")?;
    write_setting("net/ipv6/ip_nonlocal_bind", "1")?;
    // The host forwards, and a new namespace inherits that.
    write_setting("net/ipv4/ip_forward", "0")?;
    let ephemeral = format!("{CENTRAL_EPHEMERAL_PORT_MIN} 65535");
    write_setting("net/ipv4/ip_local_port_range", &ephemeral)?;
    setns(home, CloneFlags::CLONE_NEWNET)
        .map_err(io::Error::from)
        .map_err(kernel("go back to the host's net namespace"))?;

    let cable = host.name.central_cable(net);
    let ends = Pair {
        outer: &cable,
        inner_address: host.range.central_inside(net),
        mtu: host.mtu,
    };
    outside
        .delete(&cable)
        .map_err(kernel("delete an old veth pair"))?;
    outside
        .pair(&ends, ns.as_fd())
        .map_err(kernel("make a veth pair"))?;
    write_setting(&format!("net/ipv6/conf/{cable}/disable_ipv6"), "1")?;
    configure_outside(host, net, outside).map_err(kernel(&format!("configure {cable}")))?;
    configure_inside(host, net, &mut inside).map_err(kernel("configure a dyno network"))?;
    outside
        .settle(&cable)
        .map_err(kernel(&format!("wait for {cable}")))?;
    Ok(ns)
}

fn configure_outside(host: &Host, net: u8, links: &mut Links) -> io::Result<()> {
    let cable = host.name.central_cable(net);
    let link = links.index(&cable)?;
    links.address(link, host.range.central_gateway(net), 32)?;
    links.start(&cable)?;
    links.route(&Route {
        to: host.range.central_net(net).into(),
        prefix: 24,
        way: Way::By(host.range.central_inside(net)),
        link,
    })
}

fn configure_inside(host: &Host, net: u8, links: &mut Links) -> io::Result<()> {
    let (lo, eth0) = (links.index("lo")?, links.index("eth0")?);
    let gateway = host.range.central_gateway(net);
    links.address(eth0, host.range.central_inside(net), 32)?;
    links.start("lo")?;
    links.start("eth0")?;
    let to_gateway = Route {
        to: gateway.into(),
        prefix: 32,
        way: Way::Link,
        link: eth0,
    };
    let any = |to: IpAddr, prefix: u8| Route {
        to,
        prefix,
        way: Way::Here,
        link: lo,
    };
    links.route(&to_gateway)?;
    links.route(&any(host.range.central_net(net).into(), 24))?;
    links.route(&any(LOOPBACKS6.into(), 32))?;
    links.route(&Route::default_by(gateway, eth0))
}

/// `fd7f::/32`, of which each dyno has one address for its `::1`.
const LOOPBACKS6: Ipv6Addr = Ipv6Addr::new(0xfd7f, 0, 0, 0, 0, 0, 0, 0);
