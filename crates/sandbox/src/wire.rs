//! What client and nursery say to each other: one JSON message per packet, files beside it.
//!
//! A connection carries one request at a time; its answer comes before the next request is read.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::spec::Spec;

/// Asked by a client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Files: the secrets, then those of the job.
    Start(Box<Spec>),
    /// To every process of a sandbox but its keeper.
    Signal { id: String, signal: i32 },
    /// Of a dyno: everything that is left.
    Remove { id: String },
    /// What a sandbox uses now.
    Usage { id: String },
    /// Dynos with an id that sorts after this one.
    List { after: u16 },
    /// A new volume.
    Volume { id: String, size_bytes: u64 },
    /// What can be had on this machine.
    Facts,
    /// What the network of a dyno lets in, and what it refused.
    Port { id: String },
    /// What each step of a dyno's start took.
    StartSteps { id: String },
}

/// Answered by the nursery.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Files: pidfd, the terminal if there is one, and for a job exit pipe and lifeline.
    Started {
        pid: i32,
        terminal: bool,
        job: bool,
        steps: Vec<(String, u32)>,
    },
    /// Nothing more to tell.
    Done,
    /// To `Usage`.
    Usage(Usage),
    /// To `List`: slots in rising order, and whether there are more.
    Living { dynos: Vec<Living>, more: bool },
    /// To `Volume`. File: its lifeline.
    Volume,
    /// To `Facts`.
    Facts(Facts),
    /// To `Port`.
    Port(PortReport),
    /// To `StartSteps`.
    StartSteps(Vec<(String, u32)>),
    /// It did not work.
    Failed { failure: Failure, reason: String },
}

/// What a client can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// Ask something else: this breaks a rule.
    Refused,
    /// There is no such sandbox or volume.
    Unknown,
    /// The name is taken.
    Exists,
    /// The machine said no.
    Failed,
}

/// A dyno that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Living {
    /// `dyno-<slot>`.
    pub id: String,
    /// Its slot.
    pub slot: u16,
    /// The keeper's process id.
    pub pid: i32,
    /// The keeper's start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
}

/// What a sandbox uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of memory, page cache included.
    pub memory_bytes: u64,
    /// Bytes of memory less page cache that could be dropped.
    pub memory_without_cache_bytes: u64,
    /// Most bytes of memory ever, page cache included; 0 where the kernel does not tell.
    pub memory_peak_bytes: u64,
    /// Processes killed for want of memory so far.
    pub oom_kills: u64,
    /// Processor time so far, in microseconds.
    pub cpu_us: u64,
    /// Processes and threads now, the keeper among them.
    pub pids: u64,
}

/// What can be had on this machine, as the nursery found it when it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Why [`crate::Network::Central`] cannot be had; `None`: it can.
    pub central: Option<String>,
    /// Why [`crate::Network::Isolated`] cannot be had; `None`: it can.
    pub isolated: Option<String>,
    /// Where the cgroup controllers are: `v2`, or `hybrid`.
    pub cgroups: String,
    /// What this kernel refuses of what holds a central dyno, although central mode can be had;
    /// each a sentence for people.
    pub lacks: Vec<String>,
}

/// In which way a dyno has its PORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortMode {
    /// In its owner's net namespace, held by the kernel for its cgroup.
    Central,
    /// In a net namespace of its own, held by iptables inside.
    Isolated,
}

/// What the network of a dyno lets in, and what it refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    /// Who holds the port.
    pub mode: PortMode,
    /// PORT.
    pub port: u16,
    /// Where the router reaches it.
    pub address: Ipv4Addr,
    /// Where it has listened so far, as its own processes see it; bounded, sorted. Central mode: an
    /// unspecified address is a socket that was never bound, which nobody reaches.
    pub listening: Vec<SocketAddr>,
    /// What was refused, by kind; empty for an isolated dyno, whose iptables do not tell.
    pub refusals: Vec<Refusal>,
    /// Bytes of IP packets that came in so far.
    pub bytes_in: u64,
    /// Bytes of IP packets that went out so far.
    pub bytes_out: u64,
}

/// One kind of what a dyno tried and was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What was tried, such as `connect to 10.201.3.7:10004`.
    pub what: String,
    /// What the dyno got, such as 111 for ECONNREFUSED.
    pub errno: i32,
    /// How often.
    pub count: u64,
}
