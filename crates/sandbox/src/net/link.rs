//! Links, addresses and routes: what the netlink messages mean.
//!
//! One value works in the net namespace in which it was opened. Constants that `libc` lacks come
//! from `linux/if_link.h` and `linux/veth.h`, the same since Linux 4.18.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::sys::netlink::{Message, Socket, attributes, field};

const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const VETH_INFO_PEER: u16 = 1;
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
        let mtu = cable.mtu.to_ne_bytes();
        let make = link_message(libc::NLM_F_CREATE | libc::NLM_F_EXCL, 0)
            .text(libc::IFLA_IFNAME, cable.port)
            .attribute(libc::IFLA_MTU, &mtu)
            .attribute(libc::IFLA_MASTER, &bridge.to_ne_bytes())
            .nest(libc::IFLA_LINKINFO, |m| {
                m.text(libc::IFLA_INFO_KIND, "veth")
                    .nest(libc::IFLA_INFO_DATA, |m| {
                        m.nest(VETH_INFO_PEER, |m| {
                            m.raw(&link_head(0))
                                .text(libc::IFLA_IFNAME, "eth0")
                                .attribute(libc::IFLA_MTU, &mtu)
                                .attribute(libc::IFLA_ADDRESS, &hardware_address(cable.address))
                                .attribute(libc::IFLA_NET_NS_FD, &ns.as_raw_fd().to_ne_bytes())
                        })
                    })
            });
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
        for name in ["lo", "eth0"] {
            self.0
                .ask(link_message(0, UP).text(libc::IFLA_IFNAME, name))?;
        }
        let head = [
            u8::try_from(libc::AF_INET).expect("AF_INET is 2"),
            0, // all destinations
            0, // from all sources
            0,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_STATIC,
            libc::RT_SCOPE_UNIVERSE,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        let route = Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE, &head)
            .attribute(libc::RTA_GATEWAY, &gateway.octets())
            .attribute(libc::RTA_OIF, &eth0.to_ne_bytes());
        self.0.ask(route).map(drop)
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

    fn index(&mut self, name: &str) -> io::Result<u32> {
        let ask = Message::new(libc::RTM_GETLINK, 0, &link_head(0)).text(libc::IFLA_IFNAME, name);
        let answers = self.0.ask(ask)?;
        let (_, payload) = answers
            .first()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        Ok(read_link(payload)?.index)
    }

    fn address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
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
