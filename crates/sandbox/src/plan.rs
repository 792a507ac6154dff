//! All that a start needs, opened and checked by the nursery, for the forked child to carry out.
//!
//! The child opens no path of the host any more, except its staging folder.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::cgroup::MemoryWatch;
use crate::spec::Window;

/// The child's orders.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) hostname: String,
    pub(crate) groups: Groups,
    /// Entered; without one, the fork made a new one with nothing but `lo`.
    pub(crate) net_ns: Option<OwnedFd>,
    pub(crate) root: Root,
    pub(crate) mounts: Vec<PlannedMount>,
    pub(crate) command: Command,
    /// To the nursery, until the command runs: steps, a terminal, a failure.
    pub(crate) channel: OwnedFd,
    pub(crate) keeping: Keeping,
    pub(crate) watch_port: Option<u16>,
    pub(crate) terminal: Option<Window>,
    /// The keeper's own user and group on the host.
    pub(crate) keeper_id: u32,
}

/// The cgroup's part.
#[derive(Debug)]
pub(crate) struct Groups {
    /// v1 files that a `0` is written to.
    pub(crate) join: Vec<OwnedFd>,
    /// A detached clone for `/sys/fs/cgroup`, and what comes on its `memory`.
    pub(crate) seen: OwnedFd,
    pub(crate) seen_memory: OwnedFd,
    pub(crate) watch: MemoryWatch,
}

/// The root file system's part. Mounts are detached clones.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) way: LayerWay,
    /// The folder of the nursery that overlays are put together and attached in.
    pub(crate) staging: String,
    /// Topmost first.
    pub(crate) lowers: Vec<OwnedFd>,
    pub(crate) upper: RootUpper,
    /// The read-only `/dev`, and four clones of its `null` as masks.
    pub(crate) dev: OwnedFd,
    pub(crate) masks: Vec<OwnedFd>,
    /// The host's id of the inside 0.
    pub(crate) base: u32,
}

/// How this kernel takes detached mounts as layers; probed once when the nursery starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerWay {
    /// As files, `lowerdir+` (Linux 6.15).
    Files,
    /// Attached in the staging folder, as one list of names.
    Names,
}

/// Where writes to the root go.
#[derive(Debug)]
pub(crate) enum RootUpper {
    ReadOnly,
    Memory { max_bytes: u64 },
    Volume { root: OwnedFd, dir: String },
}

/// Something mounted inside, in order.
#[derive(Debug)]
pub(crate) enum PlannedMount {
    Tree {
        mount: OwnedFd,
        to: String,
    },
    Overlay {
        lowers: Vec<OwnedFd>,
        volume: OwnedFd,
        dir: String,
        to: String,
    },
    Files {
        to: String,
    },
    Tmpfs {
        to: String,
        max_bytes: u64,
    },
}

impl PlannedMount {
    pub(crate) fn to(&self) -> &str {
        match self {
            Self::Tree { to, .. }
            | Self::Overlay { to, .. }
            | Self::Files { to }
            | Self::Tmpfs { to, .. } => to,
        }
    }
}

/// The command's part.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) argv: Vec<CString>,
    pub(crate) cwd: CString,
    /// Inside.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The host's id of the inside 0.
    pub(crate) base: u32,
    pub(crate) user_ns: OwnedFd,
    /// Sealed; read by the child that becomes the command, and by nobody else.
    pub(crate) secrets: OwnedFd,
    /// Become 0, 1, 2 and so on.
    pub(crate) files: Vec<OwnedFd>,
}

/// What the keeper holds.
#[derive(Debug)]
pub(crate) enum Keeping {
    Dyno { status: File, fifo: OwnedFd },
    Job { exit: File, lifeline: OwnedFd },
}

impl Plan {
    /// Every file of the plan, sorted: the child closes all others. Each struct is taken apart
    /// without `..`, so that a new file cannot be forgotten here.
    pub(crate) fn files(&self) -> Vec<RawFd> {
        let Self {
            hostname: _,
            groups:
                Groups {
                    join,
                    seen,
                    seen_memory,
                    watch: MemoryWatch { event, counter },
                },
            net_ns,
            root:
                Root {
                    way: _,
                    staging: _,
                    lowers,
                    upper,
                    dev,
                    masks,
                    base: _,
                },
            mounts,
            command:
                Command {
                    argv: _,
                    cwd: _,
                    uid: _,
                    gid: _,
                    base: _,
                    user_ns,
                    secrets,
                    files,
                },
            channel,
            keeping,
            watch_port: _,
            terminal: _,
            keeper_id: _,
        } = self;
        let mut all: Vec<RawFd> = [seen, seen_memory, dev, user_ns, secrets, channel]
            .into_iter()
            .chain(event)
            .chain(net_ns)
            .chain(join)
            .chain(lowers)
            .chain(masks)
            .chain(files)
            .map(AsRawFd::as_raw_fd)
            .collect();
        all.push(counter.as_raw_fd());
        if let RootUpper::Volume { root, dir: _ } = upper {
            all.push(root.as_raw_fd());
        }
        all.extend(mounts.iter().flat_map(mount_files));
        all.extend(match keeping {
            Keeping::Dyno { status, fifo } => [status.as_raw_fd(), fifo.as_raw_fd()],
            Keeping::Job { exit, lifeline } => [exit.as_raw_fd(), lifeline.as_raw_fd()],
        });
        all.sort_unstable();
        all
    }
}

fn mount_files(mount: &PlannedMount) -> Vec<RawFd> {
    match mount {
        PlannedMount::Tree { mount, to: _ } => vec![mount.as_raw_fd()],
        PlannedMount::Overlay {
            lowers,
            volume,
            dir: _,
            to: _,
        } => lowers
            .iter()
            .chain([volume])
            .map(AsRawFd::as_raw_fd)
            .collect(),
        PlannedMount::Files { to: _ }
        | PlannedMount::Tmpfs {
            to: _,
            max_bytes: _,
        } => Vec::new(),
    }
}
