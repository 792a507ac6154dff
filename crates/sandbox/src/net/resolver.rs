//! The host's resolvers, as sandboxes can use them.
//!
//! In: the text of resolv.conf(5); out: addresses and the text for inside.

use std::net::Ipv4Addr;

/// What name resolution inside needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    /// Reachable from a sandbox: IPv4 and not on the host's loopback. Possibly empty.
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// `search` and `options` lines, kept as they are.
    others: Vec<String>,
}

impl Resolver {
    /// Reads the host's configuration. systemd-resolved puts its stub on 127.0.0.53, where no
    /// sandbox can ask it; the servers behind it are in a file of its own.
    pub(crate) fn of_host() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let first = Self::parse(&read("/etc/resolv.conf"));
        if first.addresses.is_empty() {
            return Self::parse(&read("/run/systemd/resolve/resolv.conf"));
        }
        first
    }

    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("nameserver"), Some(address)) => {
                    let address = address.parse::<Ipv4Addr>().ok();
                    found.addresses.extend(address.filter(|a| !a.is_loopback()));
                }
                (Some("search" | "options"), Some(_)) => found.others.push(line.trim().to_owned()),
                _ => {}
            }
        }
        found
    }

    /// The resolv.conf for inside.
    pub(crate) fn text(&self) -> String {
        let servers = self.addresses.iter().map(|a| format!("nameserver {a}\n"));
        servers
            .chain(self.others.iter().map(|o| format!("{o}\n")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_a_sandbox_can_reach() {
        let check = |text: &str, expected: &str| assert_eq!(Resolver::parse(text).text(), expected);
        check("nameserver 10.0.0.53\n", "nameserver 10.0.0.53\n");
        check(
            "# x\nnameserver 127.0.0.53\noptions edns0 trust-ad\n",
            "options edns0 trust-ad\n",
        );
        check(
            "search example.org\nnameserver fd00::3\nnameserver 1.1.1.1\nnameserver\t9.9.9.9",
            "nameserver 1.1.1.1\nnameserver 9.9.9.9\nsearch example.org\n",
        );
        check("", "");
    }
}
