//! The records of the maps, as `bpf/policy.h` lays them out: bytes in and out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Allows, Deny, Event, Hook, Refused, Seat};

pub(super) const DYNO_BYTES: usize = 64;
pub(super) const REFUSAL_BYTES: usize = 32;
pub(super) const DENY_KEY_BYTES: usize = 8;

const HAS_LISTENED: u32 = 1;
const EVENT_LISTEN: u8 = 1;
const EVENT_REFUSED: u8 = 2;

/// What the kernel keeps of a dyno, beside its seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) has_listened: bool,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// `struct dyno`, all counters at zero.
pub(super) fn dyno(seat: &Seat) -> [u8; DYNO_BYTES] {
    let mut bytes = [0; DYNO_BYTES];
    let fields = seat
        .addr4
        .octets()
        .into_iter()
        .chain(seat.lo4.octets())
        .chain(seat.port.to_ne_bytes())
        .chain(u16::from(seat.net).to_ne_bytes());
    for (to, byte) in bytes.iter_mut().zip(fields) {
        *to = byte;
    }
    bytes
}

/// The counters of a `struct dyno`; none: it is too short.
pub(super) fn counted(dyno: &[u8]) -> Option<Counted> {
    Some(Counted {
        has_listened: u32::from_ne_bytes(take(dyno, 12)?) & HAS_LISTENED != 0,
        bytes_in: u64::from_ne_bytes(take(dyno, 24)?),
        bytes_out: u64::from_ne_bytes(take(dyno, 32)?),
    })
}

/// `struct denied` and its value.
pub(super) fn deny(deny: Deny) -> ([u8; DENY_KEY_BYTES], [u8; 4]) {
    let mut key = [0; DENY_KEY_BYTES];
    let fields = u32::from(deny.prefix).to_ne_bytes();
    let fields = fields.into_iter().chain(deny.address.octets());
    for (to, byte) in key.iter_mut().zip(fields) {
        *to = byte;
    }
    let kind: u32 = match deny.allows {
        Allows::Nothing => 1,
        Allows::Dns => 2,
    };
    (key, kind.to_ne_bytes())
}

/// A `struct refusal`: whose, and what. None: a later version of us wrote it.
pub(super) fn refusal(bytes: &[u8]) -> Option<(u64, Refused)> {
    let refused = Refused {
        hook: hook(*bytes.get(8)?)?,
        ip: ip(*bytes.get(9)?, bytes.get(16..)?),
        port: u16::from_ne_bytes(take(bytes, 10)?),
        errno: i32::from_ne_bytes(take(bytes, 12)?),
    };
    Some((u64::from_ne_bytes(take(bytes, 0)?), refused))
}

/// A `struct event`. None: a later version of us wrote it.
pub(super) fn event(bytes: &[u8]) -> Option<Event> {
    let [kind, hook_number, family, is_unbound] = take(bytes, 0)?;
    let port = u16::from_ne_bytes(take(bytes, 4)?);
    let cgroup = u64::from_ne_bytes(take(bytes, 8)?);
    let address = ip(family, bytes.get(16..)?);
    match kind {
        EVENT_LISTEN => Some(Event::Listen {
            cgroup,
            address: SocketAddr::new(as_seen_inside(address?), port),
            is_unbound: is_unbound != 0,
        }),
        EVENT_REFUSED => Some(Event::Refused {
            cgroup,
            what: Refused {
                hook: hook(hook_number)?,
                ip: address,
                port,
                errno: u16::from_ne_bytes(take(bytes, 6)?).into(),
            },
        }),
        _ => None,
    }
}

/// A dyno's private loopback is told as the one that the program asked for.
fn as_seen_inside(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.segments().first() == Some(&0xfd7f) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

fn ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        4 => take(bytes, 0).map(|octets: [u8; 4]| Ipv4Addr::from(octets).into()),
        6 => take(bytes, 0)
            .map(|octets: [u8; 16]| IpAddr::from(Ipv6Addr::from(octets)).to_canonical()),
        _ => None,
    }
}

fn hook(number: u8) -> Option<Hook> {
    Some(match number {
        1 => Hook::Socket,
        2 => Hook::Bind,
        3 => Hook::Connect,
        4 => Hook::Send,
        5 => Hook::Listen,
        6 => Hook::In,
        7 => Hook::Out,
        8 => Hook::Unix,
        9 => Hook::File,
        _ => return None,
    })
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT_BYTES: usize = 32;

    #[test]
    fn a_seat_lies_as_the_header_says() {
        let seat = Seat {
            addr4: Ipv4Addr::new(10, 201, 3, 4),
            lo4: Ipv4Addr::new(127, 64, 3, 4),
            port: 10_004,
            net: 3,
        };
        let bytes = dyno(&seat);
        assert_eq!(bytes[..8], [10, 201, 3, 4, 127, 64, 3, 4]);
        assert_eq!(bytes[8..10], 10_004_u16.to_ne_bytes());
        assert_eq!(bytes[10..12], 3_u16.to_ne_bytes());
        assert!(bytes[12..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn reads_events() {
        let check = |bytes: [u8; EVENT_BYTES], wanted: Option<Event>| {
            assert_eq!(event(&bytes), wanted);
        };
        let mut listen = [0; EVENT_BYTES];
        listen[..6].copy_from_slice(&[1, 0, 4, 0, 0x88, 0x13]);
        listen[8] = 9;
        listen[16..20].copy_from_slice(&[127, 64, 3, 4]);
        let address = |text: &str| text.parse().unwrap();
        let told = |text: &str, is_unbound| Event::Listen {
            cgroup: 9,
            address: address(text),
            is_unbound,
        };
        check(listen, Some(told("127.0.0.1:5000", false)));
        listen[16..20].copy_from_slice(&[10, 201, 3, 4]);
        check(listen, Some(told("10.201.3.4:5000", false)));
        listen[2] = 6;
        listen[3] = 1;
        listen[16..20].fill(0);
        check(listen, Some(told("[::]:5000", true)));
        listen[0] = 7;
        check(listen, None);

        let mut refused = [0; EVENT_BYTES];
        refused[..8].copy_from_slice(&[2, 3, 4, 0, 80, 0, 111, 0]);
        refused[16..20].copy_from_slice(&[169, 254, 169, 254]);
        let what = Refused {
            hook: Hook::Connect,
            ip: Some("169.254.169.254".parse().unwrap()),
            port: 80,
            errno: 111,
        };
        check(refused, Some(Event::Refused { cgroup: 0, what }));
    }
}
