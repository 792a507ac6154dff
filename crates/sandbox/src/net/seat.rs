//! A seat: one place on one of the two bridges, with everything that is derived from its number.

use std::net::Ipv4Addr;

use model::instance;
use model::limits::BUILD_NETWORKS_MAX;
use model::network::{CENTRAL_NETS_MAX, Range, SLOTS_MAX};

/// A place on a bridge. Name, address and hardware address follow from it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Seat {
    /// An isolated dyno.
    Dyno {
        /// Below [`SLOTS_MAX`].
        slot: u16,
        /// The one TCP port that lets connections in.
        port: u16,
    },
    /// A build or another job that lets nothing in.
    Build {
        /// Below [`BUILD_NETWORKS_MAX`]; the lowest that no living job has.
        number: u16,
    },
}

impl Seat {
    /// Whether the number is within its bridge's bound.
    pub fn is_valid(self) -> bool {
        match self {
            Self::Dyno { slot, .. } => slot < SLOTS_MAX,
            Self::Build { number } => number < BUILD_NETWORKS_MAX,
        }
    }

    /// Whether both would need the same address (dynos of one slot with different ports do).
    pub fn is_same_place(self, other: Self) -> bool {
        match (self, other) {
            (Self::Dyno { slot: a, .. }, Self::Dyno { slot: b, .. })
            | (Self::Build { number: a }, Self::Build { number: b }) => a == b,
            _ => false,
        }
    }

    /// The address of `eth0` inside.
    pub fn address(self, range: Range) -> Ipv4Addr {
        match self {
            Self::Dyno { slot, .. } => range.dyno_address(slot),
            Self::Build { number } => range.build_address(number),
        }
    }

    /// The node's address on the seat's bridge.
    pub fn gateway(self, range: Range) -> Ipv4Addr {
        match self {
            Self::Dyno { .. } => range.dyno_gateway(),
            Self::Build { .. } => range.build_gateway(),
        }
    }

    pub(crate) fn bridge(self, name: &instance::Name) -> String {
        match self {
            Self::Dyno { .. } => name.dyno_bridge(),
            Self::Build { .. } => name.build_bridge(),
        }
    }

    /// The outer end of the cable: at most 9 + 2 + 4 characters.
    pub(crate) fn cable(self, name: &instance::Name) -> String {
        match self {
            Self::Dyno { slot, .. } => format!("{name}-d{slot:04x}"),
            Self::Build { number } => format!("{name}-b{number:04x}"),
        }
    }

    pub(crate) fn open_port(self) -> Option<u16> {
        match self {
            Self::Dyno { port, .. } => Some(port),
            Self::Build { .. } => None,
        }
    }
}

/// Whether an interface of this name is the outer end of one of the instance's cables: a seat's, or
/// a dyno network's.
pub(crate) fn is_cable(name: &instance::Name, interface: &str) -> bool {
    let Some(rest) = interface.strip_prefix(name.as_str()) else {
        return false;
    };
    if let Some(net) = rest.strip_prefix("-c") {
        let net = net.parse::<u8>();
        return net.is_ok_and(|net| net < CENTRAL_NETS_MAX && name.central_cable(net) == interface);
    }
    let number = rest.strip_prefix("-d").or_else(|| rest.strip_prefix("-b"));
    number.is_some_and(|n| n.len() == 4 && n.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> instance::Name {
        instance::Name::parse(text).unwrap()
    }

    #[test]
    fn everything_follows_from_the_number() {
        let range = Range::parse("10.201.0.0/16").unwrap();
        let check = |seat: Seat, expected: [&str; 4]| {
            let name = name("paasabcde");
            let address = seat.address(range).to_string();
            let gateway = seat.gateway(range).to_string();
            let found = [seat.cable(&name), seat.bridge(&name), address, gateway];
            assert_eq!(found, expected);
            assert!(is_cable(&name, &found[0]) && found[0].len() <= 15);
            assert!(!is_cable(&name, &found[1]));
        };
        check(
            Seat::Dyno {
                slot: 300,
                port: 5000,
            },
            [
                "paasabcde-d012c",
                "paasabcde-br",
                "10.201.129.46",
                "10.201.128.1",
            ],
        );
        check(
            Seat::Build { number: 0 },
            [
                "paasabcde-b0000",
                "paasabcde-bb",
                "10.201.192.2",
                "10.201.192.1",
            ],
        );
    }

    #[test]
    fn only_own_cables_are_ours() {
        for net in [0, 127] {
            let cable = name("paasabcde").central_cable(net);
            assert!(
                is_cable(&name("paasabcde"), &cable) && cable.len() <= 15,
                "{cable}"
            );
        }
        for other in [
            "paas-d00",
            "paas2-d0000",
            "paas-x0000",
            "paas-d000g",
            "paas-c128",
            "paas-c07",
            "paas-c",
            "eth0",
            "paas",
        ] {
            assert!(!is_cable(&name("paas"), other), "{other}");
        }
    }
}
