//! What shall run, and in which world: plain data that a caller fills in, and its one check.
//!
//! Everything here crosses the nursery's socket as JSON, so it is checked again on the other side
//! before anything is done with it. Nothing here touches the machine.

mod check;

pub(crate) use check::check_id;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One command and its world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Names the cgroup and the run folder: `[a-z0-9][a-z0-9-]{0,39}`. A dyno's is `dyno-<slot>`;
    /// a job's is the caller's choice and unique among the jobs that run.
    pub id: String,
    /// Whether it outlives its client.
    pub kind: Kind,
    /// What `hostname` says inside, such as `web.1`: 1 to 63 letters, digits, `.` and `-`.
    pub hostname: String,
    /// The root file system, topmost layer first; all of them stay read-only. At least one.
    pub lowers: Vec<Place>,
    /// Where writes to the root file system go.
    pub upper: Upper,
    /// What else is seen inside, mounted in this order.
    pub mounts: Vec<Mount>,
    /// The program and its arguments. A program without `/` is looked up in the PATH of
    /// [`Secrets::env`].
    pub argv: Vec<String>,
    /// The working directory, absolute; resolved inside.
    pub cwd: String,
    /// The user id inside, 0 to 65,535.
    pub uid: u32,
    /// The group id inside, 0 to 65,535.
    pub gid: u32,
    /// What it may use.
    pub limits: Limits,
    /// What it can reach.
    pub network: Network,
    /// `Some`: a terminal of this size takes the place of the log FIFO or the given files.
    pub terminal: Option<Window>,
    /// `Some`: the dyno's status tells which ports listen, and `up` once this one does.
    pub watch_port: Option<u16>,
    /// Opaque to this crate: a dyno's is kept in its folder as the file `spec`, so that whoever
    /// adopts the dyno knows which one it is.
    pub note: String,
}

/// Whether the command outlives the client that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Lives on when client and nursery die; has a folder `<run>/dynos/<slot>`.
    Dyno {
        /// Gives address and range of user ids; below [`model::network::SLOTS_MAX`].
        slot: u16,
    },
    /// Dies when its lifeline closes.
    Job,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

/// Where writes to the root file system go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upper {
    /// Nowhere: they fail with EROFS. `/tmp` and `/var/tmp` are a small tmpfs.
    ReadOnly,
    /// Into memory that counts against [`Limits::memory_max_bytes`]; gone afterwards.
    Memory {
        /// Bytes; more fail with ENOSPC.
        max_bytes: u64,
    },
    /// Into a folder of a volume, which the next job of the same volume finds again.
    Volume {
        /// The volume's id.
        volume: String,
        /// The folder in it, made when missing; `<dir>.work` beside it is taken, too.
        dir: String,
    },
}

/// A file or folder outside, named without naming any path of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The folder that the path starts in.
    pub base: Base,
    /// Relative, without `.`, `..` and symbolic links; empty for the base itself.
    pub path: String,
}

/// The folders that places start in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// The data folder.
    Data,
    /// The run folder.
    Run,
    /// The folder of stacks. The first component alone may be a symbolic link to its neighbour.
    Stack,
    /// The folder of the installed programs.
    Program,
    /// The volume with this id.
    Volume(String),
}

/// Something seen inside beside the root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount {
    /// A folder or file from outside.
    Bind {
        /// What.
        from: Place,
        /// Where: absolute, made when missing.
        to: String,
        /// Whether it may be written.
        write: bool,
    },
    /// An overlay of its own.
    Overlay {
        /// Topmost first.
        lowers: Vec<Place>,
        /// In a volume: made when missing, with `<upper>.work` beside it.
        upper: Place,
        /// Where: absolute, made when missing.
        to: String,
    },
    /// A small tmpfs that holds [`Secrets::files`], mode 0400, owned by the inside user.
    Files {
        /// Where: absolute, made when missing.
        to: String,
    },
    /// An empty tmpfs, mode 1777.
    Tmpfs {
        /// Where: absolute, made when missing.
        to: String,
        /// Bytes; more fail with ENOSPC.
        max_bytes: u64,
    },
}

impl Mount {
    /// Where it is seen inside.
    pub fn to(&self) -> &str {
        match self {
            Self::Bind { to, .. }
            | Self::Overlay { to, .. }
            | Self::Files { to }
            | Self::Tmpfs { to, .. } => to,
        }
    }
}

/// What a command may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory, page cache included; more and the whole sandbox is killed. No swap.
    pub memory_max_bytes: u64,
    /// Processes and threads at a time.
    pub pids_max: u32,
    /// Share of the processors under contention, 1 to 10,000; 100 is the default of cgroup v2.
    pub cpu_weight: u32,
}

/// What a command can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Its own loopback.
    None,
    /// The outside, and be reached on one port at the address of its slot. Dynos only.
    Isolated {
        /// The port that its INPUT chain lets in.
        port: u16,
    },
    /// The outside, and be reached on its port at the address of its seat, in the net namespace
    /// that all dynos of one owner share: the kernel holds the port for the dyno's cgroup. Dynos
    /// only, and where [`crate::Facts::central`] is `None`.
    Central {
        /// The owner's dyno net, one per owner on a node.
        net: u8,
        /// The place in it, which no other living dyno has.
        host: u8,
        /// PORT, which no other living dyno of the node has.
        port: u16,
    },
    /// The outside and the resolver, reached by nobody. Jobs only.
    Build,
}

/// What only the command may read; it never enters a message, a file or a log.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// The whole environment of the command.
    pub env: BTreeMap<String, String>,
    /// File name -> content, for [`Mount::Files`].
    pub files: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Secrets({} variables, {} files)",
            self.env.len(),
            self.files.len()
        )
    }
}

/// A spec breaks a rule; the text says which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);
