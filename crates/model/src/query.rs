//! What the api asks a node about a dyno that runs there, and what the node answers. Carried by
//! [`crate::feed::Down::Query`] and [`crate::feed::Up::Reply`].

use crate::dyno;
use std::net::{Ipv4Addr, SocketAddr};

/// A question about one dyno. Asking changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "query")]
pub enum Query {
    /// What its network lets in, and what it refused. -> [`Reply::Port`]
    Port {
        /// Which dyno.
        dyno: dyno::Id,
    },
    /// What each step of its start took. -> [`Reply::Start`]
    Start {
        /// Which dyno.
        dyno: dyno::Id,
    },
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum Reply {
    /// To `Port`.
    Port(Port),
    /// To `Start`.
    Start {
        /// In the order in which they were made; the last may be `boot`, the app's own.
        steps: Vec<Step>,
    },
    /// There is no answer, with a sentence for the person.
    None {
        /// The sentence, without a full stop.
        message: String,
    },
}

/// What the network of a dyno lets in, and what it refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Port {
    /// Who holds the port.
    pub network: dyno::Network,
    /// Where the router reaches it.
    pub address: Ipv4Addr,
    /// PORT.
    pub port: u16,
    /// Where it has listened so far, as its own processes see it; bounded, sorted.
    pub listening: Vec<SocketAddr>,
    /// What was refused, one of each kind; empty for an isolated dyno, whose iptables do not tell.
    pub refusals: Vec<Refusal>,
    /// Bytes of IP packets that came in so far.
    pub bytes_in: u64,
    /// Bytes of IP packets that went out so far.
    pub bytes_out: u64,
}

/// One kind of what a dyno tried and was refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Refusal {
    /// What was tried, such as `connect to 10.201.3.7:10004`.
    pub what: String,
    /// What the dyno got, such as 111 for ECONNREFUSED.
    pub errno: i32,
    /// How often.
    pub count: u64,
}

/// A step of a start.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What it took, microseconds.
    pub duration_us: u32,
}
