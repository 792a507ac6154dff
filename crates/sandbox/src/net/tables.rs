//! What the kernel has loaded of our tables, and which changes concern it.
//!
//! Asked by netlink (`linux/netfilter/nf_tables.h`, the same since Linux 3.13): nft(8) would be a
//! process for each look.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use model::instance;
use serde::{Deserialize, Serialize};

use crate::sys::netlink::{Message, Socket, attributes};

const SUBSYSTEM: u16 = 10 << 8;
const NEWCHAIN: u16 = SUBSYSTEM | 0x3;
const GETRULE: u16 = SUBSYSTEM | 0x7;
/// Deletions of a table, a chain, a rule, a set.
const DELETIONS: [u16; 4] = [
    SUBSYSTEM | 0x2,
    SUBSYSTEM | 0x5,
    SUBSYSTEM | 0x8,
    SUBSYSTEM | 0xb,
];
/// In tables, chains, rules and sets alike the first attribute names the table.
const TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const FAMILY_INET: u8 = 1;
const FAMILY_IPV4: u8 = 2;
const FAMILY_BRIDGE: u8 = 7;
/// `nfgenmsg`: family u8, version u8, resource u16.
const HEAD_BYTES: usize = 4;

/// Of the rules of our tables, without what a load changes (handles) or a packet (counters).
/// Comparable within one build of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint(u64);

/// Reads the rules of the instance's tables.
pub(super) fn fingerprint(name: &instance::Name) -> io::Result<Fingerprint> {
    let mut socket = Socket::netfilter()?;
    let mut hasher = DefaultHasher::new();
    for family in [FAMILY_INET, FAMILY_BRIDGE] {
        let ask = Message::new(GETRULE, 0, &[family, 0, 0, 0]).text(TABLE, name.as_str());
        for (_, payload) in socket.dump(ask)? {
            let head = payload.get(HEAD_BYTES..).unwrap_or(&[]);
            let telling = attributes(head)
                .filter(|(kind, _)| [TABLE, RULE_CHAIN, RULE_EXPRESSIONS].contains(kind));
            (family, telling.collect::<Vec<_>>()).hash(&mut hasher);
        }
    }
    Ok(Fingerprint(hasher.finish()))
}

/// Whether a change (kind and payload of a message) may have cost us a rule: something of our
/// tables is gone; or the chain FORWARD of iptables lost a rule or got a policy.
pub(super) fn touches(name: &instance::Name, change: &(u16, Vec<u8>)) -> bool {
    let (kind, payload) = change;
    let table = attributes(payload.get(HEAD_BYTES..).unwrap_or(&[]))
        .find(|(kind, _)| *kind == TABLE)
        .map(|(_, value)| value.strip_suffix(&[0]).unwrap_or(value));
    let is_deletion = DELETIONS.contains(kind);
    match (payload.first(), table) {
        (Some(&FAMILY_INET | &FAMILY_BRIDGE), Some(table)) => {
            is_deletion && table == name.as_str().as_bytes()
        }
        (Some(&FAMILY_IPV4), Some(table)) => {
            (is_deletion || *kind == NEWCHAIN) && table == b"filter"
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_us() {
        let name = instance::Name::parse("paas").unwrap();
        let check = |kind: u16, family: u8, table: &str, expected: bool| {
            let mut payload = vec![family, 0, 0, 0];
            payload.extend(u16::try_from(table.len() + 5).unwrap().to_ne_bytes());
            payload.extend(TABLE.to_ne_bytes());
            payload.extend(table.as_bytes());
            payload.push(0);
            let found = touches(&name, &(SUBSYSTEM | kind, payload));
            assert_eq!(found, expected, "{kind} {family} {table}");
        };
        check(2, FAMILY_INET, "paas", true);
        check(8, FAMILY_BRIDGE, "paas", true);
        check(6, FAMILY_INET, "paas", false);
        check(2, FAMILY_INET, "paas2", false);
        check(8, FAMILY_IPV4, "filter", true);
        check(3, FAMILY_IPV4, "filter", true);
        check(6, FAMILY_IPV4, "filter", false);
        check(8, FAMILY_IPV4, "nat", false);
        assert!(!touches(&name, &(SUBSYSTEM | 0xf, vec![0, 0, 0, 0])));
        assert!(!touches(&name, &(SUBSYSTEM | 0x2, vec![])));
    }
}
