//! Addresses of an instance: one /16, cut into three by the third byte.
//!
//! `.0` to `.127` dynos in central mode, `.128` to `.191` dynos with a net namespace of their own,
//! `.192` to `.255` builds.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The PORT inside a dyno that has a net namespace of its own.
pub const ISOLATED_PORT: u16 = 5000;
/// Slots of a node: one dyno each. Bounded by the /18 of the isolated dynos.
pub const SLOTS_MAX: u16 = 8192;
/// Dyno networks of a node: one /24 for each owner. Bounded by the range's lower half.
pub const CENTRAL_NETS_MAX: u8 = 128;
/// The first `host` of a [`Seat`]: .1 and .2 are the two ends of the network's cable.
pub const CENTRAL_HOST_MIN: u8 = 3;
/// The last `host` of a [`Seat`]: .255 is a broadcast address to some programs.
pub const CENTRAL_HOST_MAX: u8 = 254;
/// The ports from which a dyno network chooses for those who name none; every PORT is below.
pub const CENTRAL_EPHEMERAL_PORT_MIN: u16 = 49_152;

/// The place of a dyno in central mode: its owner's network on the node, and a number in it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "RawSeat")]
pub struct Seat {
    net: u8,
    host: u8,
}

/// A number beyond its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a central seat has a net below 128 and a host from 3 to 254")]
pub struct SeatError;

impl Seat {
    /// A seat of network `net`, below [`CENTRAL_NETS_MAX`], with `host` from [`CENTRAL_HOST_MIN`]
    /// to [`CENTRAL_HOST_MAX`].
    pub const fn new(net: u8, host: u8) -> Result<Self, SeatError> {
        if net < CENTRAL_NETS_MAX && host >= CENTRAL_HOST_MIN && host <= CENTRAL_HOST_MAX {
            return Ok(Self { net, host });
        }
        Err(SeatError)
    }

    /// The owner's network on this node.
    pub const fn net(self) -> u8 {
        self.net
    }

    /// The last byte of the dyno's address.
    pub const fn host(self) -> u8 {
        self.host
    }
}

#[derive(serde::Deserialize)]
struct RawSeat {
    net: u8,
    host: u8,
}

impl TryFrom<RawSeat> for Seat {
    type Error = SeatError;
    fn try_from(raw: RawSeat) -> Result<Self, SeatError> {
        Self::new(raw.net, raw.host)
    }
}

/// What stands for 127.0.0.1 in the dyno of a seat: 127.64.net.host.
pub const fn private_loopback(seat: Seat) -> Ipv4Addr {
    Ipv4Addr::new(127, 64, seat.net, seat.host)
}

/// What stands for `::1` in the dyno of a seat: `fd7f::` with [`private_loopback`] in its last 32
/// bits.
pub const fn private_loopback6(seat: Seat) -> Ipv6Addr {
    let low = u16::from_be_bytes([seat.net, seat.host]);
    Ipv6Addr::new(0xfd7f, 0, 0, 0, 0, 0, 0x7f40, low)
}

/// The PORT of a dyno in central mode, by its slot below [`SLOTS_MAX`].
pub const fn central_port(slot: u16) -> u16 {
    debug_assert!(slot < SLOTS_MAX, "a slot within the range");
    10_000 + slot
}

/// The /16 of an instance, `10.201.0.0/16` unless configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range([u8; 2]);

/// The text is no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network is a /16 like 10.201.0.0/16")]
pub struct RangeError;

impl Range {
    /// Parses `A.B.0.0/16`.
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        let address: Ipv4Addr = text
            .strip_suffix("/16")
            .and_then(|a| a.parse().ok())
            .ok_or(RangeError)?;
        match address.octets() {
            [a, b, 0, 0] if address.is_private() => Ok(Self([a, b])),
            _ => Err(RangeError),
        }
    }

    const fn at(self, third: u8, offset: u16) -> Ipv4Addr {
        let [high, low] = offset.to_be_bytes();
        let [a, b] = self.0;
        Ipv4Addr::new(a, b, third + high, low)
    }

    /// The first address of the /24 of a dyno network below [`CENTRAL_NETS_MAX`].
    pub const fn central_net(self, net: u8) -> Ipv4Addr {
        self.central(net, 0)
    }

    /// The outer end of the cable to a dyno network below [`CENTRAL_NETS_MAX`].
    pub const fn central_gateway(self, net: u8) -> Ipv4Addr {
        self.central(net, 1)
    }

    /// The inner end of that cable.
    pub const fn central_inside(self, net: u8) -> Ipv4Addr {
        self.central(net, 2)
    }

    /// The address of a dyno in central mode.
    pub const fn central_address(self, seat: Seat) -> Ipv4Addr {
        self.central(seat.net, seat.host)
    }

    const fn central(self, net: u8, host: u8) -> Ipv4Addr {
        debug_assert!(net < CENTRAL_NETS_MAX, "a network within the range");
        let [a, b] = self.0;
        Ipv4Addr::new(a, b, net, host)
    }

    /// The node's own address on the bridge of the isolated dynos.
    pub const fn dyno_gateway(self) -> Ipv4Addr {
        self.at(128, 1)
    }

    /// The address of an isolated dyno in a slot below [`SLOTS_MAX`].
    pub const fn dyno_address(self, slot: u16) -> Ipv4Addr {
        debug_assert!(slot < SLOTS_MAX, "a slot within the range");
        self.at(128, slot + 2)
    }

    /// The node's own address on the bridge of the builds.
    pub const fn build_gateway(self) -> Ipv4Addr {
        self.at(192, 1)
    }

    /// The address of the n-th running build or job, n below [`SLOTS_MAX`].
    pub const fn build_address(self, n: u16) -> Ipv4Addr {
        debug_assert!(n < SLOTS_MAX, "a job within the range");
        self.at(192, n + 2)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b] = self.0;
        write!(f, "{a}.{b}.0.0/16")
    }
}

impl TryFrom<String> for Range {
    type Error = RangeError;
    fn try_from(text: String) -> Result<Self, RangeError> {
        Self::parse(&text)
    }
}

impl From<Range> for String {
    fn from(range: Range) -> String {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn central_seats() {
        let range = Range::parse("10.201.0.0/16").unwrap();
        let seat = Seat::new(5, 3).unwrap();
        assert_eq!(range.central_gateway(5).to_string(), "10.201.5.1");
        assert_eq!(range.central_inside(5).to_string(), "10.201.5.2");
        assert_eq!(range.central_address(seat).to_string(), "10.201.5.3");
        assert_eq!(private_loopback(seat).to_string(), "127.64.5.3");
        assert_eq!(private_loopback6(seat).to_string(), "fd7f::7f40:503");
        for bad in [(128, 3), (0, 2), (0, 255)] {
            assert_eq!(Seat::new(bad.0, bad.1), Err(SeatError), "{bad:?}");
        }
        assert!((0..SLOTS_MAX).all(|slot| central_port(slot) < CENTRAL_EPHEMERAL_PORT_MIN));
    }

    #[test]
    fn addresses() {
        let range = Range::parse("10.201.0.0/16").unwrap();
        assert_eq!(range.to_string(), "10.201.0.0/16");
        assert_eq!(range.dyno_gateway().to_string(), "10.201.128.1");
        assert_eq!(range.dyno_address(0).to_string(), "10.201.128.2");
        assert_eq!(
            range.dyno_address(SLOTS_MAX - 1).to_string(),
            "10.201.160.1"
        );
        assert_eq!(range.build_address(300).to_string(), "10.201.193.46");
        for bad in ["10.201.0.0", "10.201.1.0/16", "8.8.0.0/16", "x/16", ""] {
            assert_eq!(Range::parse(bad), Err(RangeError), "{bad}");
        }
    }
}
