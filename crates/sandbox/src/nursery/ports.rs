//! A dyno's PORT as its status file tells it: where it listens, `up`, what was refused.
//!
//! The kernel tells each event once (`crate::policy`); what was told already stands in the status
//! file, so a later nursery goes on where a former one was killed.

use std::fs::File;
use std::io;
use std::net::SocketAddr;

use super::folder::{self, Networked};
use super::home::Home;
use crate::keeper::listeners::{self, is_reached};
use crate::keeper::status::stamped;
use crate::policy::{Hook, Refused};
use crate::wire::Refusal;

/// Count of listeners that are told; an app with more listens on purpose.
const LISTENERS_MAX: usize = 64;

/// What a dyno's status says of its port.
#[derive(Debug)]
pub(super) struct Port {
    /// Appended to, by the keeper as well.
    status: File,
    number: u16,
    /// Sorted.
    listening: Vec<SocketAddr>,
    is_up: bool,
}

impl Port {
    /// Opens the status of a dyno; `None`: nobody wants to know about its port.
    pub(super) fn open(home: &Home, slot: u16, networked: Networked) -> io::Result<Option<Self>> {
        let Some(port) = networked.watch_port else {
            return Ok(None);
        };
        let at = folder::path(home, slot).join("status");
        let told = std::fs::read_to_string(&at)?;
        Ok(Some(Self {
            status: File::options().append(true).open(at)?,
            number: port,
            listening: folder::listening(&told),
            is_up: told.lines().any(|line| line.starts_with("up ")),
        }))
    }

    /// A socket listens. An unbound one reaches nobody.
    pub(super) fn listens(&mut self, address: SocketAddr, is_unbound: bool) -> io::Result<()> {
        let Err(place) = self.listening.binary_search(&address) else {
            return Ok(());
        };
        if self.listening.len() < LISTENERS_MAX {
            self.listening.insert(place, address);
            let all = listeners::text(&self.listening);
            self.say(&format!("listening {all}"))?;
        }
        if !self.is_up && !is_unbound && is_reached(&address, self.number) {
            self.is_up = true;
            self.say("up")?;
        }
        Ok(())
    }

    /// Something was refused for the first time.
    pub(super) fn refused(&self, refused: &Refused) -> io::Result<()> {
        self.say(&format!("refused {}", what(refused)))
    }

    fn say(&self, text: &str) -> io::Result<()> {
        io::Write::write_all(&mut &self.status, stamped(text).as_bytes())
    }
}

/// A kind of refusal for people, with how often.
pub(super) fn refusal((refused, count): &(Refused, u64)) -> Refusal {
    Refusal {
        what: what(refused),
        errno: refused.errno,
        count: *count,
    }
}

/// What was tried, in one line: `connect to 10.201.3.7:10004`.
fn what(refused: &Refused) -> String {
    let Refused { hook, ip, port, .. } = refused;
    let deed = match hook {
        Hook::Socket => return format!("open a socket of IP protocol {port}"),
        Hook::Listen => return "listen on a socket without bind".to_owned(),
        Hook::Unix => return "speak to an abstract Unix socket of another dyno".to_owned(),
        Hook::File => return "read a list of all sockets in /proc/net".to_owned(),
        Hook::Bind => "bind to",
        Hook::Connect => "connect to",
        Hook::Send => "send to",
        Hook::In => "receive from",
        Hook::Out => "send a packet to",
    };
    match (hook, ip) {
        (_, None) => format!("{deed} many other addresses"),
        // The port is the dyno's own.
        (Hook::In, Some(ip)) => format!("{deed} {ip} on port {port}"),
        (_, Some(ip)) => format!("{deed} {}", SocketAddr::new(*ip, *port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_in_words() {
        let check = |hook, ip: Option<&str>, port, wanted: &str| {
            let ip = ip.map(|ip| ip.parse().unwrap());
            let errno = libc::EACCES;
            let refused = Refused {
                hook,
                ip,
                port,
                errno,
            };
            assert_eq!(what(&refused), wanted);
        };
        let ip = Some("10.201.3.7");
        check(Hook::Connect, ip, 80, "connect to 10.201.3.7:80");
        check(Hook::Bind, Some("fe80::1"), 80, "bind to [fe80::1]:80");
        check(Hook::In, ip, 22, "receive from 10.201.3.7 on port 22");
        check(Hook::Socket, None, 132, "open a socket of IP protocol 132");
        check(Hook::Out, None, 0, "send a packet to many other addresses");
    }

    #[test]
    fn up_once_where_others_reach_it() {
        let at = std::env::temp_dir().join(format!("port-{}", std::process::id()));
        let mut port = Port {
            status: File::create(&at).unwrap(),
            number: 10_000,
            listening: Vec::new(),
            is_up: false,
        };
        for (address, is_unbound) in [
            ("127.0.0.1:10000", false),
            ("0.0.0.0:10000", true),
            ("10.201.0.3:9999", false),
            ("10.201.0.3:10000", false),
            ("10.201.0.3:10000", false),
        ] {
            port.listens(address.parse().unwrap(), is_unbound).unwrap();
        }
        let told = std::fs::read_to_string(&at).unwrap();
        let words: Vec<_> = told.lines().filter_map(|l| l.split(' ').next()).collect();
        let wanted = ["listening", "listening", "listening", "listening", "up"];
        assert_eq!(words, wanted, "{told}");
        assert_eq!(folder::listening(&told).len(), 4);
        std::fs::remove_file(&at).unwrap();
    }
}
