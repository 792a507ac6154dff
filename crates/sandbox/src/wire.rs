//! What client and nursery say to each other: one JSON message per packet, files beside it.
//!
//! A connection carries one request at a time; its answer comes before the next request is read.

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
