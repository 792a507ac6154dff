//! Links, addresses and routes: what the netlink messages mean.
//!
//! One value works in the net namespace in which it was opened. Constants that `libc` lacks come
//! from `linux/if_link.h` and `linux/veth.h`, the same since Linux 4.18.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::sys::netlink::{Message, Socket, attributes, field};

const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_LINK_NETNSID: u16 = 37;
/// These three from `linux/rtnetlink.h` and `linux/net_namespace.h`.
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const VETH_INFO_PEER: u16 = 1;
/// From `linux/rtnetlink.h`: do not look whether another route leads to the gateway.
const RTNH_F_ONLINK: u8 = 4;
const UP: u32 = 1;
const LOWER_UP: u32 = 1 << 16;

/// The hardware address of whoever has this address on one of our bridges. Derived, so that neither
/// a neighbour table nor the source check has to learn a new one when a seat is used again.
pub(crate) fn hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x50, a, b, c, d]
}

/// A link as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mtu: u32,
    /// Up, and so is the other end.
    pub(crate) is_running: bool,
}

/// A dyno's or build's cable: `port` on the bridge, `eth0` inside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cable<'a> {
    pub(crate) port: &'a str,
    pub(crate) bridge: &'a str,
    pub(crate) address: Ipv4Addr,
    pub(crate) mtu: u32,
}

/// The two ends of a veth pair: `outer` on the host, `eth0` inside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) outer: &'a str,
    pub(crate) inner_address: Ipv4Addr,
    pub(crate) mtu: u32,
}

/// How packets to the addresses of a route go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They have arrived: every address of the route is this namespace's own.
    Here,
    /// Their machine is on this very link. Stands in the table `local`, so that it may be an
    /// exception from a [`Self::Here`].
    Link,
    /// Through this machine, which is on the link whatever the other routes say.
    By(Ipv4Addr),
}

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: IpAddr,
    pub(crate) prefix: u8,
    pub(crate) way: Way,
    pub(crate) link: u32,
}

impl Route {
    /// To everywhere.
    pub(crate) fn default_by(gateway: Ipv4Addr, link: u32) -> Self {
        Self {
            to: Ipv4Addr::UNSPECIFIED.into(),
            prefix: 0,
            way: Way::By(gateway),
            link,
        }
    }

    /// `rtmsg`: family, prefixes of destination and source, tos, table, protocol, scope, type: a
    /// byte each; flags u32.
    fn head(&self) -> [u8; 12] {
        let family = match self.to {
            IpAddr::V4(_) => libc::AF_INET,
            IpAddr::V6(_) => libc::AF_INET6,
        };
        let (table, scope, kind, flag) = match self.way {
            Way::Here => (
                libc::RT_TABLE_LOCAL,
                libc::RT_SCOPE_HOST,
                libc::RTN_LOCAL,
                0,
            ),
            Way::Link => (
                libc::RT_TABLE_LOCAL,
                libc::RT_SCOPE_LINK,
                libc::RTN_UNICAST,
                0,
            ),
            Way::By(_) => (
                libc::RT_TABLE_MAIN,
                libc::RT_SCOPE_UNIVERSE,
                libc::RTN_UNICAST,
                RTNH_F_ONLINK,
            ),
        };
        let [f0, f1, f2, f3] = u32::from(flag).to_ne_bytes();
        let family = u8::try_from(family).expect("2 or 10");
        let protocol = libc::RTPROT_STATIC;
        [
            family,
            self.prefix,
            0,
            0,
            table,
            protocol,
            scope,
            kind,
            f0,
            f1,
            f2,
            f3,
        ]
    }
}

/// The links of one net namespace.
#[derive(Debug)]
pub(crate) struct Links(Socket);

impl Links {
    pub(crate) fn open() -> io::Result<Self> {
        Socket::open().map(Self)
    }

    /// Makes the bridge unless it is there, and brings it up with its address.
    pub(crate) fn bridge(&mut self, name: &str, address: Ipv4Addr, mtu: u32) -> io::Result<()> {
        let make = link_message(libc::NLM_F_CREATE | libc::NLM_F_EXCL, 0)
            .text(libc::IFLA_IFNAME, name)
            .attribute(libc::IFLA_ADDRESS, &hardware_address(address))
            .nest(libc::IFLA_LINKINFO, |m| {
                m.text(libc::IFLA_INFO_KIND, "bridge")
                    .nest(libc::IFLA_INFO_DATA, |m| {
                        m.attribute(IFLA_BR_FORWARD_DELAY, &0_u32.to_ne_bytes())
                            .attribute(IFLA_BR_MCAST_SNOOPING, &[0])
                    })
            });
        match self.0.ask(make) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            other => drop(other?),
        }
        let index = self.index(name)?;
        let start = link_message(0, UP)
            .text(libc::IFLA_IFNAME, name)
            .attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
        self.0.ask(start)?;
        self.address(index, address, 18)
    }

    /// Makes the cable with its inner end already in `ns`: one message (docs/sandbox.md), then a
    /// second that isolates the port before it is up. Isolation cannot be part of the first one:
    /// the kernel reads a port's settings only when the link is a port already.
    pub(crate) fn cable(&mut self, cable: &Cable<'_>, ns: BorrowedFd<'_>) -> io::Result<()> {
        let bridge = self.index(cable.bridge)?;
        let ends = Pair {
            outer: cable.port,
            inner_address: cable.address,
            mtu: cable.mtu,
        };
        let make = veth(&ends, ns).attribute(libc::IFLA_MASTER, &bridge.to_ne_bytes());
        self.0.ask(make)?;
        let isolate = link_message(0, UP)
            .text(libc::IFLA_IFNAME, cable.port)
            .nest(libc::IFLA_LINKINFO, |m| {
                m.text(IFLA_INFO_SLAVE_KIND, "bridge")
                    .nest(IFLA_INFO_SLAVE_DATA, |m| {
                        m.attribute(IFLA_BRPORT_ISOLATED, &[1])
                    })
            });
        self.0.ask(isolate).map(drop)
    }

    /// Inside: brings `lo` and `eth0` up, with address and way out.
    pub(crate) fn inside(&mut self, address: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<()> {
        let eth0 = self.index("eth0")?;
        self.address(eth0, address, 18)?;
        self.start("lo")?;
        self.start("eth0")?;
        self.route(&Route::default_by(gateway, eth0))
    }

    /// Makes a veth pair with its inner end in `ns`; both ends are still down.
    pub(crate) fn pair(&mut self, ends: &Pair<'_>, ns: BorrowedFd<'_>) -> io::Result<()> {
        self.0.ask(veth(ends, ns)).map(drop)
    }

    /// Brings a link up.
    pub(crate) fn start(&mut self, name: &str) -> io::Result<()> {
        let message = link_message(0, UP).text(libc::IFLA_IFNAME, name);
        self.0.ask(message).map(drop)
    }

    /// Sees to it that a link whose other end has just come up carries packets now. The kernel
    /// leaves that to its link watch, which may come a second later; being asked for the link it
    /// does it at once (`rtnl_getlink`, since Linux 6.8).
    pub(crate) fn settle(&mut self, name: &str) -> io::Result<()> {
        self.index(name).map(drop)
    }

    /// Adds a route, or replaces the one to the same place.
    pub(crate) fn route(&mut self, route: &Route) -> io::Result<()> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let mut message = Message::new(libc::RTM_NEWROUTE, flags, &route.head())
            .attribute(libc::RTA_OIF, &route.link.to_ne_bytes());
        message = match route.to {
            IpAddr::V4(to) if to.is_unspecified() => message,
            IpAddr::V4(to) => message.attribute(libc::RTA_DST, &to.octets()),
            IpAddr::V6(to) => message.attribute(libc::RTA_DST, &to.octets()),
        };
        if let Way::By(gateway) = route.way {
            message = message.attribute(libc::RTA_GATEWAY, &gateway.octets());
        }
        self.0.ask(message).map(drop)
    }

    /// Whether the other end of a veth pair is in `ns`. No such link: it is not.
    ///
    /// The kernel numbers the namespaces that this one knows, and tells a link's as well as a
    /// descriptor's number (`IFLA_LINK_NETNSID`, `RTM_GETNSID`; ip-netns(8)).
    pub(crate) fn leads_into(&mut self, name: &str, ns: BorrowedFd<'_>) -> io::Result<bool> {
        let ask = Message::new(libc::RTM_GETLINK, 0, &link_head(0)).text(libc::IFLA_IFNAME, name);
        let answers = match self.0.ask(ask) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(false),
            other => other?,
        };
        let far = number_of(&answers, 16, IFLA_LINK_NETNSID)?;
        let ask = Message::new(RTM_GETNSID, 0, &[0; 4])
            .attribute(NETNSA_FD, &ns.as_raw_fd().to_ne_bytes());
        let this = number_of(&self.0.ask(ask)?, 4, NETNSA_NSID)?;
        Ok(far.is_some_and(|far| far >= 0) && far == this)
    }

    /// Deletes a link; one that is not there is fine.
    pub(crate) fn delete(&mut self, name: &str) -> io::Result<()> {
        let message =
            Message::new(libc::RTM_DELLINK, 0, &link_head(0)).text(libc::IFLA_IFNAME, name);
        match self.0.ask(message) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Every link of the namespace, in the kernel's order.
    pub(crate) fn list(&mut self) -> io::Result<Vec<Link>> {
        let answers = self
            .0
            .dump(Message::new(libc::RTM_GETLINK, 0, &link_head(0)))?;
        answers
            .iter()
            .map(|(_, payload)| read_link(payload))
            .collect()
    }

    /// The number of a link.
    pub(crate) fn index(&mut self, name: &str) -> io::Result<u32> {
        let ask = Message::new(libc::RTM_GETLINK, 0, &link_head(0)).text(libc::IFLA_IFNAME, name);
        let answers = self.0.ask(ask)?;
        let (_, payload) = answers
            .first()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        Ok(read_link(payload)?.index)
    }

    /// Gives a link an address.
    pub(crate) fn address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut head = vec![
            u8::try_from(libc::AF_INET).expect("AF_INET is 2"),
            prefix,
            0,
            0,
        ];
        head.extend(index.to_ne_bytes());
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let message = Message::new(libc::RTM_NEWADDR, flags, &head)
            .attribute(libc::IFA_LOCAL, &address.octets())
            .attribute(libc::IFA_ADDRESS, &address.octets());
        self.0.ask(message).map(drop)
    }
}

/// The attribute of this kind behind the fixed part of the first answer, as a number.
fn number_of(answers: &[(u16, Vec<u8>)], fixed: usize, kind: u16) -> io::Result<Option<i32>> {
    let payload = answers
        .first()
        .and_then(|(_, payload)| payload.get(fixed..));
    let value = attributes(payload.unwrap_or(&[])).find(|(found, _)| *found == kind);
    value
        .map(|(_, value)| field(value, 0, i32::from_ne_bytes))
        .transpose()
}

/// One message makes both ends, the inner one in `ns` from its first moment.
fn veth(ends: &Pair<'_>, ns: BorrowedFd<'_>) -> Message {
    let mtu = ends.mtu.to_ne_bytes();
    link_message(libc::NLM_F_CREATE | libc::NLM_F_EXCL, 0)
        .text(libc::IFLA_IFNAME, ends.outer)
        .attribute(libc::IFLA_MTU, &mtu)
        .nest(libc::IFLA_LINKINFO, |m| {
            m.text(libc::IFLA_INFO_KIND, "veth")
                .nest(libc::IFLA_INFO_DATA, |m| {
                    m.nest(VETH_INFO_PEER, |m| {
                        m.raw(&link_head(0))
                            .text(libc::IFLA_IFNAME, "eth0")
                            .attribute(libc::IFLA_MTU, &mtu)
                            .attribute(libc::IFLA_ADDRESS, &hardware_address(ends.inner_address))
                            .attribute(libc::IFLA_NET_NS_FD, &ns.as_raw_fd().to_ne_bytes())
                    })
                })
        })
}

fn link_message(flags: i32, up: u32) -> Message {
    Message::new(libc::RTM_NEWLINK, flags, &link_head(up))
}

/// `ifinfomsg`: family u8, pad u8, kind u16, index i32, flags u32, changed flags u32.
fn link_head(up: u32) -> [u8; 16] {
    let mut head = [0; 16];
    let (_, flags) = head.split_at_mut(8);
    let (value, mask) = flags.split_at_mut(4);
    value.copy_from_slice(&up.to_ne_bytes());
    mask.copy_from_slice(&up.to_ne_bytes());
    head
}

fn read_link(payload: &[u8]) -> io::Result<Link> {
    let index = field(payload, 4, u32::from_ne_bytes)?;
    let flags = field(payload, 8, u32::from_ne_bytes)?;
    let mut link = Link {
        name: String::new(),
        index,
        mtu: 0,
        is_running: flags & UP != 0 && flags & LOWER_UP != 0,
    };
    for (kind, value) in attributes(payload.get(16..).unwrap_or(&[])) {
        match kind {
            libc::IFLA_IFNAME => {
                let name = String::from_utf8_lossy(value);
                name.trim_end_matches('\0').clone_into(&mut link.name);
            }
            libc::IFLA_MTU => link.mtu = field(value, 0, u32::from_ne_bytes)?,
            _ => {}
        }
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_listed_link() {
        let mut payload = link_head(UP | LOWER_UP).to_vec();
        payload[4] = 9;
        payload.extend([8, 0, 13, 0, 0, 0, 0, 0, 9, 0, 3, 0]);
        payload.extend(b"lo-x\0\0\0\0");
        payload.extend([8, 0, 4, 0, 0xdc, 5, 0, 0]);
        let wanted = Link {
            name: "lo-x".into(),
            index: 9,
            mtu: 1500,
            is_running: true,
        };
        assert_eq!(read_link(&payload).unwrap(), wanted);
        assert!(read_link(&payload[..6]).is_err());
    }

    #[test]
    fn lists_the_links_of_this_host() {
        let links = Links::open().unwrap().list().unwrap();
        assert!(
            links.iter().any(|l| l.name == "lo" && l.index == 1),
            "{links:?}"
        );
    }

    #[test]
    fn hardware_addresses_are_local_and_carry_the_address() {
        let address = hardware_address(Ipv4Addr::new(10, 201, 128, 2));
        assert_eq!(address, [0x02, 0x50, 10, 201, 128, 2]);
    }
}
