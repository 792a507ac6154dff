//! What the nursery has opened, checked and made for a start, on its way to the cradle.
//!
//! A cradle is forked ahead and inherits what it is made of ([`Cradle`]). A start sends two packets
//! to it: [`Orders`] to its keeper, [`Command`] to the process that becomes the command. Both carry
//! files; on the way a number stands for each, its place beside the packet. Neither process opens
//! any path of the host.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cgroup::MemoryWatch;
use crate::spec::Window;
use crate::sys::socket;

/// What a cradle is made of.
#[derive(Debug)]
pub(crate) struct Cradle {
    pub(crate) groups: Groups,
    /// The folder of the nursery that the empty root is attached in.
    pub(crate) staging: String,
    pub(crate) way: LayerWay,
    /// A detached clone of the read-only `/dev`, and four of its `null` as masks.
    pub(crate) dev: OwnedFd,
    pub(crate) masks: Vec<OwnedFd>,
    /// Whether it is in a new net namespace, in which it shall bring up `lo`.
    pub(crate) has_own_net: bool,
    /// The host's id of the inside 0.
    pub(crate) base: u32,
    /// The keeper's own user and group on the host.
    pub(crate) keeper_id: u32,
    pub(crate) user_ns: OwnedFd,
    /// An inotify instance that outlives the keeper.
    pub(crate) changes: OwnedFd,
    /// With the nursery, until the command runs: orders; steps, a terminal, a failure.
    pub(crate) channel: OwnedFd,
    /// From the nursery: the command.
    pub(crate) command: OwnedFd,
}

/// The cgroup's part.
#[derive(Debug)]
pub(crate) struct Groups {
    /// v1 files that a `0` is written to.
    pub(crate) join: Vec<OwnedFd>,
    /// A detached clone for `/sys/fs/cgroup`; hybrid: and one for its `memory`.
    pub(crate) seen: OwnedFd,
    pub(crate) seen_memory: Option<OwnedFd>,
    pub(crate) watch: MemoryWatch,
}

/// How this kernel takes detached mounts as layers; probed once when the nursery starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerWay {
    /// As files, `lowerdir+` (Linux 6.15).
    Files,
    /// Attached in the staging folder, as one list of names.
    Names,
}

/// The keeper's orders. Mounts are detached clones.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Orders<F = OwnedFd> {
    /// When they were sent: nanoseconds of the monotonic clock.
    pub(crate) sent_ns: u64,
    pub(crate) hostname: String,
    /// Entered; without one, the cradle was forked into a new one with nothing but `lo`.
    pub(crate) net_ns: Option<F>,
    /// Topmost first.
    pub(crate) lowers: Vec<F>,
    pub(crate) upper: RootUpper<F>,
    pub(crate) mounts: Vec<PlannedMount<F>>,
    /// v2: what comes on `/sys/fs/cgroup/memory`.
    pub(crate) seen_memory: Option<F>,
    pub(crate) keeping: Keeping<F>,
    /// Where the kernel tells nobody about listeners: the keeper looks for this port.
    pub(crate) watch_port: Option<u16>,
    pub(crate) terminal: Option<Window>,
    /// The command's user and group on the host.
    pub(crate) owner: (u32, u32),
}

/// Where writes to the root go.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum RootUpper<F = OwnedFd> {
    ReadOnly,
    Memory { max_bytes: u64 },
    Volume { root: F, dir: String },
}

/// Something mounted inside, in order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum PlannedMount<F = OwnedFd> {
    Tree {
        mount: F,
        to: String,
    },
    Overlay {
        lowers: Vec<F>,
        volume: F,
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

impl<F> PlannedMount<F> {
    pub(crate) fn to(&self) -> &str {
        match self {
            Self::Tree { to, .. }
            | Self::Overlay { to, .. }
            | Self::Files { to }
            | Self::Tmpfs { to, .. } => to,
        }
    }
}

/// What the keeper holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Keeping<F = OwnedFd> {
    Dyno { status: F, fifo: F },
    Job { exit: F, lifeline: F },
}

/// What runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Command<F = OwnedFd> {
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: String,
    /// Inside.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// As in [`Orders`]: the process was forked before its keeper entered it.
    pub(crate) net_ns: Option<F>,
    /// Sealed; read by the process that becomes the command, and by nobody else.
    pub(crate) secrets: F,
    /// Become 0, 1, 2 and so on; none when there is a terminal.
    pub(crate) files: Vec<F>,
    /// Where the secret files go, if the spec has a place for them.
    pub(crate) files_to: Option<String>,
}

impl Cradle {
    /// Every file of it, sorted: the child closes all others. Each struct is taken apart without
    /// `..`, so that a new file cannot be forgotten here.
    pub(crate) fn files(&self) -> Vec<RawFd> {
        let Self {
            groups:
                Groups {
                    join,
                    seen,
                    seen_memory,
                    watch: MemoryWatch { event, counter },
                },
            staging: _,
            way: _,
            dev,
            masks,
            has_own_net: _,
            base: _,
            keeper_id: _,
            user_ns,
            changes,
            channel,
            command,
        } = self;
        let mut all: Vec<RawFd> = [seen, dev, user_ns, changes, channel, command]
            .into_iter()
            .chain(event)
            .chain(seen_memory)
            .chain(join)
            .chain(masks)
            .map(AsRawFd::as_raw_fd)
            .collect();
        all.push(counter.as_raw_fd());
        all.sort_unstable();
        all
    }
}

/// A packet whose files travel beside it: the same shape with files, and with their numbers.
pub(crate) trait Carried: Sized {
    type Numbered: Serialize + DeserializeOwned;
    fn take_files(self, files: &mut Vec<OwnedFd>) -> Self::Numbered;
    fn give_files(numbered: Self::Numbered, files: &mut Files) -> io::Result<Self>;
}

/// Files that came beside a packet; each is taken once.
#[derive(Debug)]
pub(crate) struct Files(Vec<Option<OwnedFd>>);

impl Files {
    fn take(&mut self, number: usize) -> io::Result<OwnedFd> {
        let place = self.0.get_mut(number);
        let file = place.and_then(Option::take);
        file.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a file is missing"))
    }
}

/// Sends a packet to one of a cradle's processes.
pub(crate) fn send(to: BorrowedFd<'_>, packet: impl Carried) -> io::Result<()> {
    let mut files = Vec::new();
    let message = serde_json::to_vec(&packet.take_files(&mut files))?;
    let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
    socket::send(to, &message, &files)
}

/// Waits for a packet; `None`: the nursery is gone.
pub(crate) fn receive<T: Carried>(from: BorrowedFd<'_>) -> io::Result<Option<T>> {
    let packet = socket::receive_orders(from)?;
    if packet.message.is_empty() {
        return Ok(None);
    }
    let mut files = Files(packet.fds.into_iter().map(Some).collect());
    T::give_files(serde_json::from_slice(&packet.message)?, &mut files).map(Some)
}

impl Carried for Orders {
    type Numbered = Orders<usize>;

    fn take_files(self, files: &mut Vec<OwnedFd>) -> Orders<usize> {
        let numbered = self.map(&mut |file| {
            files.push(file);
            Ok::<_, std::convert::Infallible>(files.len() - 1)
        });
        let Ok(numbered) = numbered;
        numbered
    }

    fn give_files(numbered: Orders<usize>, files: &mut Files) -> io::Result<Self> {
        numbered.map(&mut |number| files.take(number))
    }
}

impl Carried for Command {
    type Numbered = Command<usize>;

    fn take_files(self, files: &mut Vec<OwnedFd>) -> Command<usize> {
        let numbered = self.map(&mut |file| {
            files.push(file);
            Ok::<_, std::convert::Infallible>(files.len() - 1)
        });
        let Ok(numbered) = numbered;
        numbered
    }

    fn give_files(numbered: Command<usize>, files: &mut Files) -> io::Result<Self> {
        numbered.map(&mut |number| files.take(number))
    }
}

impl<F> Orders<F> {
    fn map<G, E>(self, each: &mut impl FnMut(F) -> Result<G, E>) -> Result<Orders<G>, E> {
        Ok(Orders {
            sent_ns: self.sent_ns,
            hostname: self.hostname,
            net_ns: self.net_ns.map(&mut *each).transpose()?,
            lowers: map_all(self.lowers, each)?,
            upper: match self.upper {
                RootUpper::ReadOnly => RootUpper::ReadOnly,
                RootUpper::Memory { max_bytes } => RootUpper::Memory { max_bytes },
                RootUpper::Volume { root, dir } => {
                    let root = each(root)?;
                    RootUpper::Volume { root, dir }
                }
            },
            mounts: {
                let mounts = self.mounts.into_iter();
                mounts.map(|m| m.map(each)).collect::<Result<_, E>>()?
            },
            seen_memory: self.seen_memory.map(&mut *each).transpose()?,
            keeping: match self.keeping {
                Keeping::Dyno { status, fifo } => Keeping::Dyno {
                    status: each(status)?,
                    fifo: each(fifo)?,
                },
                Keeping::Job { exit, lifeline } => Keeping::Job {
                    exit: each(exit)?,
                    lifeline: each(lifeline)?,
                },
            },
            watch_port: self.watch_port,
            terminal: self.terminal,
            owner: self.owner,
        })
    }
}

impl<F> PlannedMount<F> {
    fn map<G, E>(self, each: &mut impl FnMut(F) -> Result<G, E>) -> Result<PlannedMount<G>, E> {
        Ok(match self {
            Self::Tree { mount, to } => {
                let mount = each(mount)?;
                PlannedMount::Tree { mount, to }
            }
            Self::Overlay {
                lowers,
                volume,
                dir,
                to,
            } => PlannedMount::Overlay {
                lowers: map_all(lowers, each)?,
                volume: each(volume)?,
                dir,
                to,
            },
            Self::Files { to } => PlannedMount::Files { to },
            Self::Tmpfs { to, max_bytes } => PlannedMount::Tmpfs { to, max_bytes },
        })
    }
}

impl<F> Command<F> {
    fn map<G, E>(self, each: &mut impl FnMut(F) -> Result<G, E>) -> Result<Command<G>, E> {
        Ok(Command {
            argv: self.argv,
            cwd: self.cwd,
            uid: self.uid,
            gid: self.gid,
            net_ns: self.net_ns.map(&mut *each).transpose()?,
            secrets: each(self.secrets)?,
            files: map_all(self.files, each)?,
            files_to: self.files_to,
        })
    }
}

fn map_all<F, G, E>(all: Vec<F>, each: &mut impl FnMut(F) -> Result<G, E>) -> Result<Vec<G>, E> {
    all.into_iter().map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::fs::File;

    #[test]
    fn files_travel_to_their_places() {
        let kind = SockType::SeqPacket;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let file = |text: &str| crate::sys::memory_file(text.as_bytes()).unwrap();
        let command = Command {
            argv: vec!["/bin/true".to_owned()],
            cwd: "/".to_owned(),
            uid: 1,
            gid: 2,
            net_ns: None,
            secrets: file("secrets"),
            files: vec![file("zero"), file("one")],
            files_to: None,
        };
        send(ours.as_fd(), command).unwrap();
        let got: Command = receive(theirs.as_fd()).unwrap().unwrap();
        assert_eq!((got.uid, got.gid, got.argv.len()), (1, 2, 1));
        for (file, wanted) in [&got.secrets]
            .into_iter()
            .chain(&got.files)
            .zip(["secrets", "zero", "one"])
        {
            let mut file = File::from(file.try_clone().unwrap());
            io::Seek::rewind(&mut file).unwrap();
            assert_eq!(io::read_to_string(file).unwrap(), wanted);
        }
        drop(ours);
        assert!(receive::<Command>(theirs.as_fd()).unwrap().is_none());
    }
}
