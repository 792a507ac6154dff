//! In which way a dyno is on the network: chosen at each start, kept in its note, so that a dynod
//! that comes back knows it.

use crate::seats::{Seats, Taken};
use model::account;
use model::dyno::{Id, Mode, Network};
use model::network::{ISOLATED_PORT, Range, Seat, central_port};
use sandbox::Facts;
use std::net::SocketAddrV4;

/// Characters of a reason that are kept in a note.
const REASON_MAX: usize = 500;

/// The way of one run; a seat is given back when it is dropped.
#[derive(Debug)]
pub(crate) enum Way {
    /// Beside the other dynos of its owner.
    Central(Taken),
    /// In a net namespace of its own.
    Isolated {
        /// Why not central.
        fallback: Option<String>,
    },
}

impl Way {
    /// Central, where slugs may be and the machine lets them.
    pub(crate) fn choose(mode: Mode, facts: &Facts, seats: &Seats, owner: account::Id) -> Self {
        let reason = match (mode, &facts.central) {
            (Mode::Isolated, _) => {
                "config.toml says so: [dynod] slug_network = \"isolated\"".to_owned()
            }
            (Mode::Central, Some(reason)) => reason.chars().take(REASON_MAX).collect(),
            (Mode::Central, None) => match seats.take(owner) {
                Ok(taken) => return Self::Central(taken),
                Err(full) => full.to_string(),
            },
        };
        let fallback = Some(reason);
        Self::Isolated { fallback }
    }

    /// Whether the kernel holds its port.
    pub(crate) const fn is_central(&self) -> bool {
        matches!(self, Self::Central(_))
    }

    /// PORT.
    pub(crate) fn port(&self, slot: u16) -> u16 {
        match self {
            Self::Central(_) => central_port(slot),
            Self::Isolated { .. } => ISOLATED_PORT,
        }
    }

    /// Where the router reaches it.
    pub(crate) fn address(&self, range: Range, slot: u16) -> SocketAddrV4 {
        let address = match self {
            Self::Central(taken) => range.central_address(taken.seat()),
            Self::Isolated { .. } => range.dyno_address(slot),
        };
        SocketAddrV4::new(address, self.port(slot))
    }

    /// As the api is told.
    pub(crate) fn network(&self) -> Network {
        match self {
            Self::Central(_) => Network::Central,
            Self::Isolated { fallback } => Network::Isolated {
                fallback: fallback.clone(),
            },
        }
    }

    /// As the nursery is told.
    pub(crate) fn spec(&self, slot: u16) -> sandbox::Network {
        let port = self.port(slot);
        match self {
            Self::Central(taken) => sandbox::Network::Central {
                net: taken.seat().net(),
                host: taken.seat().host(),
                port,
            },
            Self::Isolated { .. } => sandbox::Network::Isolated { port },
        }
    }
}

/// What stands in the note that the nursery keeps with a dyno.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Note {
    dyno: Id,
    owner: account::Id,
    way: Kept,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase", tag = "mode")]
enum Kept {
    Central(Seat),
    Isolated { fallback: Option<String> },
}

/// The note of a dyno.
pub(crate) fn note(dyno: Id, owner: account::Id, way: &Way) -> String {
    let way = match way {
        Way::Central(taken) => Kept::Central(taken.seat()),
        Way::Isolated { fallback } => Kept::Isolated {
            fallback: fallback.clone(),
        },
    };
    let note = Note { dyno, owner, way };
    serde_json::to_string(&note).expect("ids, numbers and text are always JSON")
}

/// Reads a note; its seat is taken from then on. Notes of old are the dyno's id alone.
pub(crate) fn read_note(text: &str, seats: &Seats) -> Option<(Id, Way)> {
    let text = text.trim();
    if let Some(dyno) = Id::parse(text) {
        return Some((dyno, Way::Isolated { fallback: None }));
    }
    let note: Note = serde_json::from_str(text).ok()?;
    let way = match note.way {
        Kept::Central(seat) => Way::Central(seats.claim(note.owner, seat)),
        Kept::Isolated { fallback } => Way::Isolated { fallback },
    };
    Some((note.dyno, way))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(central: Option<&str>) -> Facts {
        Facts {
            central: central.map(str::to_owned),
            isolated: None,
            cgroups: "v2".to_owned(),
            lacks: Vec::new(),
        }
    }

    fn owner() -> account::Id {
        account::Id::new(uuid::Uuid::from_u128(7))
    }

    #[test]
    fn central_where_it_can_be() {
        let seats = Seats::default();
        let range = Range::parse("10.201.0.0/16").unwrap();
        let way = Way::choose(Mode::Central, &facts(None), &seats, owner());
        assert_eq!(way.network(), Network::Central);
        assert_eq!(way.address(range, 4).to_string(), "10.201.0.3:10004");
        let (net, host, port) = (0, 3, 10_004);
        assert_eq!(way.spec(4), sandbox::Network::Central { net, host, port });
        for (mode, why_not, reason) in [
            (Mode::Central, Some("bpf() is refused"), "bpf() is refused"),
            (
                Mode::Isolated,
                None,
                "config.toml says so: [dynod] slug_network = \"isolated\"",
            ),
        ] {
            let way = Way::choose(mode, &facts(why_not), &seats, owner());
            assert_eq!(way.network().fallback(), Some(reason));
            assert_eq!(way.address(range, 4).to_string(), "10.201.128.6:5000");
            assert_eq!(way.spec(4), sandbox::Network::Isolated { port: 5000 });
        }
    }

    #[test]
    fn notes() {
        let dyno = Id::parse("00000000-0000-4000-8000-000000000002").unwrap();
        let seats = Seats::default();
        let way = Way::choose(Mode::Central, &facts(None), &seats, owner());
        let text = note(dyno, owner(), &way);
        assert_eq!(
            text,
            r#"{"dyno":"00000000-0000-4000-8000-000000000002","owner":"00000000-0000-0000-0000-000000000007","way":{"mode":"central","net":0,"host":3}}"#
        );
        let next = Seats::default();
        let (found, adopted) = read_note(&text, &next).unwrap();
        assert_eq!((found, adopted.network()), (dyno, Network::Central));
        let beside = next.take(owner()).unwrap().seat();
        assert_eq!((beside.net(), beside.host()), (0, 4));

        let way = Way::choose(Mode::Isolated, &facts(None), &seats, owner());
        let (_, read) = read_note(&note(dyno, owner(), &way), &next).unwrap();
        assert_eq!(read.network(), way.network());
        let (old, way) = read_note("00000000-0000-4000-8000-000000000002\n", &next).unwrap();
        assert_eq!((old, way.network().mode()), (dyno, Mode::Isolated));
        for bad in ["", "x", "{}", &text.replace("\"host\":3", "\"host\":2")] {
            assert!(read_note(bad, &next).is_none(), "{bad}");
        }
    }
}
