//! PORT, held by the kernel: a dyno in central mode shares a net namespace with its neighbours, and
//! BPF programs on the cgroup hold it to its own address and its `$PORT`.
//!
//! [`Policy::set_up`] attaches the programs once for a node, [`Policy::admit`] gives one dyno its
//! seat: an entry in a map, keyed by its cgroup's id. **No entry, no socket.** What the programs do
//! is told in docs/policy.md. Programs and maps are pinned below `<run>/bpf`, so they hold on when
//! the nursery dies; the next one takes them over.
//!
//! Called by the nursery, before it leaves the host's mount namespace. This module knows nothing of
//! namespaces: what it holds is a cgroup.

mod hooks;
mod object;
mod pins;
mod record;
mod tree;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::maps::{Map as AyaMap, MapData, RingBuf};

use crate::sys::bpf::Map;
use pins::{Links, Pins};
use tree::Attachments;

/// Where dynos live in the v2 tree: two folders side by side, which exist.
#[derive(Clone, Debug)]
pub struct Trees {
    /// `<root>/dynos/central`.
    pub central: PathBuf,
    /// `<root>/dynos/isolated`: only listen events come from there.
    pub isolated: PathBuf,
}

/// What one dyno may call its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its address for the outside.
    pub addr4: Ipv4Addr,
    /// Its private 127.0.0.1, an address of 127/8 that no other dyno of the node has.
    pub lo4: Ipv4Addr,
    /// The port on which the outside reaches it.
    pub port: u16,
    /// The number of its owner's network on this node.
    pub net: u8,
}

/// Addresses that no dyno reaches, but for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deny {
    /// The first address.
    pub address: Ipv4Addr,
    /// Count of the leading bits that matter, at most 32. The longest match decides.
    pub prefix: u8,
    /// The exception.
    pub allows: Allows,
}

/// What may be reached in spite of a [`Deny`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allows {
    /// Nothing.
    Nothing,
    /// Port 53, over UDP and TCP: for the resolver.
    Dns,
}

/// Where something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// `socket()`: neither TCP nor UDP; `port` is the protocol's number.
    Socket,
    /// `bind()` to an address that is not the dyno's.
    Bind,
    /// `connect()` to what it must not reach.
    Connect,
    /// `sendto()` to what it must not reach.
    Send,
    /// `listen()` on a socket that was not bound.
    Listen,
    /// A packet that came in; `port` is the one it was for.
    In,
    /// A packet that went out; `port` is the one it was for.
    Out,
    /// An abstract Unix socket of another dyno.
    Unix,
    /// A file below /proc that lists the sockets of all.
    File,
}

/// A kind of refusal. Without an address: all that came after the first 64 kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// Where.
    pub hook: Hook,
    /// To or from which address.
    pub ip: Option<IpAddr>,
    /// Which port, or 0.
    pub port: u16,
    /// What the system call returned.
    pub errno: i32,
}

/// What the kernel tells at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A TCP socket listens. At most 64 in a second are told for one dyno.
    Listen {
        /// The dyno's cgroup.
        cgroup: u64,
        /// Where: the private loopback is told as 127.0.0.1 or `::1`.
        address: SocketAddr,
        /// In central mode: `listen()` without `bind()`, on an address that reaches nobody.
        is_unbound: bool,
    },
    /// The first refusal of a kind, at most 64 for one dyno.
    Refused {
        /// The dyno's cgroup.
        cgroup: u64,
        /// What.
        what: Refused,
    },
}

/// What a dyno's port has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Each kind of refusal and how often, sorted.
    pub refusals: Vec<(Refused, u64)>,
    /// Bytes received from others, with IP headers.
    pub bytes_in: u64,
    /// Bytes sent to others, with IP headers.
    pub bytes_out: u64,
    /// Whether it has ever listened on its address and PORT, even if the event was lost.
    pub has_listened: bool,
}

/// Why central mode cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The kernel refused a step.
    #[error("{doing}")]
    Kernel {
        /// The step.
        doing: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// The object was not taken at all: bpf(2) is forbidden here, or a map is unknown.
    #[error("load the programs that hold PORT")]
    Load(#[source] Box<aya::EbpfError>),
    /// The kernel does not take a program.
    #[error("load {hook}")]
    Hook {
        /// The program.
        hook: &'static str,
        /// The kernel's answer, with the verifier's log.
        source: Box<aya::programs::ProgramError>,
    },
    /// A hook is missing.
    #[error("attach {hook} to the dynos' cgroup")]
    Attach {
        /// The program.
        hook: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Somebody took a program away.
    #[error("find {hook} attached to the dynos' cgroup: somebody detached it")]
    Detached {
        /// The program.
        hook: &'static str,
    },
    /// Pins of another version.
    #[error("take over the map {map}: its records have another layout; stop all dynos first")]
    Layout {
        /// Its name.
        map: &'static str,
    },
}

fn kernel(doing: &'static str) -> impl FnOnce(io::Error) -> PolicyError {
    move |source| PolicyError::Kernel { doing, source }
}

/// The attached programs, and the maps they judge by.
pub struct Policy {
    attachments: Attachments,
    links: Links,
    dynos: Map,
    refusals: Map,
    events: RingBuf<MapData>,
    lacks: Vec<String>,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { links, lacks, .. } = self;
        let mut text = f.debug_struct("Policy");
        text.field("links", links).field("lacks", lacks);
        text.finish_non_exhaustive()
    }
}

impl Policy {
    /// Attaches and pins the programs, or takes over those of a former nursery; replaces those of
    /// another version without a moment in which none holds. Afterwards the kernel has been asked
    /// for each of them. Entries of dynos stay as they are; `deny` replaces what was denied.
    ///
    /// # Errors
    /// Why central mode cannot be had. Nothing is open then: without entries there are no sockets.
    pub fn set_up(run: &Path, trees: &Trees, deny: &[Deny]) -> Result<Self, PolicyError> {
        let attachments = Attachments::open(trees).map_err(kernel("open the dynos' cgroups"))?;
        let pins = Pins::open(run)?;
        let links = match pins.find(&attachments)? {
            Some(links) => links,
            None => pins.make(&attachments)?,
        };
        let map = |name, key_bytes, value_bytes| open_map(&pins, name, key_bytes, value_bytes);
        replace_denied(&map("deny", record::DENY_KEY_BYTES, 4)?, deny)
            .map_err(kernel("fill the map of what is denied"))?;
        pins.forget_others(&links)
            .map_err(kernel("remove the former links"))?;
        let lsm = pins.complete(&links, &attachments);
        Ok(Self {
            links,
            dynos: map("dynos", 8, record::DYNO_BYTES)?,
            refusals: map("refusals", record::REFUSAL_BYTES, 8)?,
            events: open_events(&pins)?,
            lacks: lsm.err().as_deref().map(without_lsm).into_iter().collect(),
            attachments,
        })
    }

    /// Gives a dyno its seat. To be done before a process is in the cgroup.
    ///
    /// # Errors
    /// A program of the law is not attached any more, or the map is full: the dyno must not start.
    pub fn admit(&self, cgroup: u64, seat: &Seat) -> io::Result<()> {
        let law = self.links.verify_law(&self.attachments);
        law.map_err(io::Error::other)?;
        self.dynos.set(&cgroup.to_ne_bytes(), &record::dyno(seat))
    }

    /// Takes the seat away, with all that was counted: nothing in the cgroup sends or receives any
    /// more. To be done when the cgroup has no sockets or 60 s after its last process, since the
    /// last packets of a connection come after its process. What is not there is fine.
    pub fn dismiss(&self, cgroup: u64) -> io::Result<()> {
        self.dynos.remove(&cgroup.to_ne_bytes())?;
        for key in self.refusals.keys()? {
            if record::refusal(&key).is_none_or(|(whose, _)| whose == cgroup) {
                self.refusals.remove(&key)?;
            }
        }
        Ok(())
    }

    /// The cgroups that have a seat, in no order: what a former nursery admitted, too.
    pub fn admitted(&self) -> io::Result<Vec<u64>> {
        let keys = self.dynos.keys()?;
        let ids = keys.iter().filter_map(|key| key.first_chunk().copied());
        Ok(ids.map(u64::from_ne_bytes).collect())
    }

    /// Readable (level-triggered) while there are events.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Hands over all events that are there, those that nobody read from a former nursery, too.
    pub fn drain(&mut self, mut each: impl FnMut(Event)) {
        while let Some(bytes) = self.events.next() {
            if let Some(event) = record::event(&bytes) {
                each(event);
            }
        }
    }

    /// What was counted for a dyno; all zero when it has no seat.
    pub fn report(&self, cgroup: u64) -> io::Result<Report> {
        let Some(dyno) = self.dynos.get(&cgroup.to_ne_bytes())? else {
            return Ok(Report::default());
        };
        let counted = record::counted(&dyno).ok_or(io::ErrorKind::InvalidData)?;
        let mut refusals = Vec::new();
        for key in self.refusals.keys()? {
            let Some((_, what)) = record::refusal(&key).filter(|(whose, _)| *whose == cgroup)
            else {
                continue;
            };
            let count = self.refusals.get(&key)?;
            let count = count.and_then(|bytes| bytes.first_chunk().copied());
            refusals.extend(count.map(|bytes| (what, u64::from_ne_bytes(bytes))));
        }
        refusals.sort_unstable();
        Ok(Report {
            refusals,
            bytes_in: counted.bytes_in,
            bytes_out: counted.bytes_out,
            has_listened: counted.has_listened,
        })
    }

    /// Asks the kernel whether each program is still attached. [`Self::admit`] asks for those that
    /// no other one stands in for.
    pub fn verify(&self) -> Result<(), PolicyError> {
        self.links.verify(&self.attachments)
    }

    /// Whether abstract Unix sockets, unbound listens and lists of sockets are held by BPF LSM
    /// programs. Without them a dyno needs a Landlock scope, or a net namespace of its own.
    pub fn has_lsm(&self) -> bool {
        self.lacks.is_empty()
    }

    /// What of the policy this kernel refuses though central mode can be had, a sentence each.
    pub fn lacks(&self) -> &[String] {
        &self.lacks
    }
}

fn without_lsm(why: &str) -> String {
    format!(
        "BPF LSM programs are refused ({why}): /proc/net lists the sockets of all of an owner's \
         dynos on this node, a listen() without bind() takes a port above 49151 from all of them, \
         and only Landlock holds abstract Unix sockets; next: a kernel with CONFIG_BPF_LSM and \
         `bpf` in its lsm= list"
    )
}

/// The id by which the kernel's programs know a cgroup: the inode of its v2 folder.
pub fn cgroup_id(folder: &Path) -> io::Result<u64> {
    std::fs::metadata(folder).map(|found| std::os::unix::fs::MetadataExt::ino(&found))
}

/// Whether this kernel takes the programs, and the BPF LSM ones beside them, or what it says. They
/// are loaded, attached nowhere and forgotten.
pub fn probe() -> (Result<(), String>, Result<(), String>) {
    (object::probe(), object::probe_lsm())
}

/// Detaches the programs, forgets the maps and unmounts `<run>/bpf`: for an instance without
/// dynos. What is not there is fine.
pub fn tear_down(run: &Path) -> io::Result<()> {
    pins::remove(run)
}

fn open_map(
    pins: &Pins,
    name: &'static str,
    key_bytes: usize,
    value_bytes: usize,
) -> Result<Map, PolicyError> {
    let map = Map::pinned(&pins.map(name)).map_err(kernel("open a pinned map"))?;
    if (map.key_bytes, map.value_bytes) == (key_bytes, value_bytes) {
        Ok(map)
    } else {
        Err(PolicyError::Layout { map: name })
    }
}

fn open_events(pins: &Pins) -> Result<RingBuf<MapData>, PolicyError> {
    let opened = MapData::from_pin(pins.map("events"))
        .and_then(|data| RingBuf::try_from(AyaMap::RingBuf(data)));
    opened.map_err(|error| kernel("open the map of the events")(io::Error::other(error)))
}

/// First what is new, then what is not denied any more: nothing is open meanwhile.
fn replace_denied(map: &Map, deny: &[Deny]) -> io::Result<()> {
    let wanted: Vec<_> = deny.iter().copied().map(record::deny).collect();
    for (key, value) in &wanted {
        map.set(key, value)?;
    }
    for key in map.keys()? {
        if wanted.iter().all(|(wanted, _)| key != wanted) {
            map.remove(&key)?;
        }
    }
    Ok(())
}
