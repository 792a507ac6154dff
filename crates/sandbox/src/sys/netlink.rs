//! Netlink by hand: a message builder, a blocking socket that sends one message and reads its
//! acknowledgement, and a socket that hears of changes.
//!
//! In: bytes of a request; out: nothing, dumped messages, or the kernel's errno. Called by
//! `net::link` and `net::tables`, which know what the messages mean. No `ip` is executed and no
//! crate for netlink is linked: a few kinds of messages do not pay for one. netlink(7),
//! rtnetlink(7).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    socket,
};

/// `nlmsghdr`: length u32, kind u16, flags u16, sequence u32, port u32.
const HEADER_BYTES: usize = 16;
/// Longest datagram that we read. A dump fills at most 32 KiB (`netlink_dump` in `af_netlink.c`).
const RECEIVE_MAX_BYTES: usize = 64 * 1024;

/// One request under construction: header, fixed part, attributes. Everything is padded to 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Starts a request of `kind` with the fixed part that belongs to it (`ifinfomsg`, …).
    pub(crate) fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let flags =
            u16::try_from(flags | libc::NLM_F_REQUEST).expect("all NLM_F flags are 16 bits");
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(0_u64.to_ne_bytes());
        bytes.extend(fixed);
        Self { bytes }.padded()
    }

    /// Adds an attribute.
    pub(crate) fn attribute(mut self, kind: u16, payload: &[u8]) -> Self {
        let length = u16::try_from(payload.len() + 4).expect("our payloads are short");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(payload);
        self.padded()
    }

    /// Adds an attribute that holds a zero-terminated text.
    pub(crate) fn text(self, kind: u16, text: &str) -> Self {
        let mut payload = text.as_bytes().to_vec();
        payload.push(0);
        self.attribute(kind, &payload)
    }

    /// Adds an attribute whose payload is whatever `inner` appends.
    pub(crate) fn nest(mut self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend(0_u16.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        let mut whole = inner(self);
        let length = u16::try_from(whole.bytes.len() - start).expect("our nests are short");
        whole.put(start, &length.to_ne_bytes());
        whole
    }

    /// Appends raw bytes inside a nest (the `ifinfomsg` before a veth peer's attributes).
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self.padded()
    }

    fn padded(mut self) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        let place = self.bytes.get_mut(at..at + value.len());
        place.expect("written before").copy_from_slice(value);
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("our messages are short");
        self.put(0, &length.to_ne_bytes());
        self.put(8, &sequence.to_ne_bytes());
        self.bytes
    }
}

/// A blocking netlink socket. It stays in the net namespace in which it was opened,
/// wherever its process goes afterwards.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens one for links, addresses and routes in the calling thread's net namespace.
    pub(crate) fn open() -> io::Result<Self> {
        Self::of(SockProtocol::NetlinkRoute)
    }

    /// Opens one for the tables of nftables.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::of(SockProtocol::NetlinkNetFilter)
    }

    fn of(protocol: SockProtocol) -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends a request and waits until the kernel has answered it: with its errno, or with the
    /// messages asked for (none, if the request was to do something).
    pub(crate) fn ask(&mut self, message: Message) -> io::Result<Vec<(u16, Vec<u8>)>> {
        self.exchange(message, libc::NLM_F_ACK)
    }

    /// Sends a dump request and returns kind and payload of every message of the answer.
    pub(crate) fn dump(&mut self, message: Message) -> io::Result<Vec<(u16, Vec<u8>)>> {
        self.exchange(message, libc::NLM_F_DUMP)
    }

    fn exchange(&mut self, mut message: Message, flag: i32) -> io::Result<Vec<(u16, Vec<u8>)>> {
        self.sequence += 1;
        let flags = field(&message.bytes, 6, u16::from_ne_bytes)?;
        let flag = u16::try_from(flag).expect("all NLM_F flags are 16 bits");
        message.put(6, &(flags | flag).to_ne_bytes());
        let request = message.finish(self.sequence);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.fd.as_raw_fd(), &request, &kernel, MsgFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; RECEIVE_MAX_BYTES];
        loop {
            let count = match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(nix::Error::EINTR) => continue,
                other => other?,
            };
            let datagram = buffer.get(..count).ok_or_else(torn)?;
            if read(datagram, Some(self.sequence), &mut answers)? {
                return Ok(answers);
            }
        }
    }
}

/// Hears of every change of the tables of nftables in the net namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Changes(OwnedFd);

/// `NFNLGRP_NFTABLES` of `linux/netfilter/nfnetlink.h`, as a bit.
const TABLES_GROUP: u32 = 1 << 6;
/// Datagrams that are read at one go; the rest keeps the socket readable.
const CHANGES_AT_ONCE: usize = 64;

impl Changes {
    /// Begins to listen.
    pub(crate) fn listen() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkNetFilter;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, TABLES_GROUP))?;
        Ok(Self(fd))
    }

    /// Takes what there is to hear, without waiting: whether `concerns` holds for any of it. True
    /// as well when the kernel had to drop some.
    pub(crate) fn any(&self, concerns: impl Fn(&(u16, Vec<u8>)) -> bool) -> io::Result<bool> {
        let mut buffer = vec![0; RECEIVE_MAX_BYTES];
        let mut is_any = false;
        for _ in 0..CHANGES_AT_ONCE {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(nix::Error::EAGAIN) => break,
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::ENOBUFS) => is_any = true,
                Err(error) => return Err(error.into()),
                Ok(count) => {
                    let mut changes = Vec::new();
                    // Changes carry the sequence number of whoever made them.
                    read(buffer.get(..count).unwrap_or(&[]), None, &mut changes)?;
                    is_any |= changes.iter().any(&concerns);
                }
            }
        }
        Ok(is_any)
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads the messages of one datagram, those with this sequence number or all; true when the
/// answer is complete.
fn read(
    mut rest: &[u8],
    sequence: Option<u32>,
    answers: &mut Vec<(u16, Vec<u8>)>,
) -> io::Result<bool> {
    while !rest.is_empty() {
        let length = field(rest, 0, u32::from_ne_bytes)? as usize;
        let kind = field(rest, 4, u16::from_ne_bytes)?;
        let payload = rest.get(HEADER_BYTES..length).ok_or_else(torn)?;
        let is_meant = sequence.is_none_or(|number| {
            field(rest, 8, u32::from_ne_bytes).is_ok_and(|found| found == number)
        });
        if is_meant {
            match i32::from(kind) {
                libc::NLMSG_ERROR => return errno(payload).map(|()| true),
                libc::NLMSG_DONE => return Ok(true),
                _ => answers.push((kind, payload.to_vec())),
            }
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(false)
}

fn errno(payload: &[u8]) -> io::Result<()> {
    match field(payload, 0, i32::from_ne_bytes)? {
        0 => Ok(()),
        negative => Err(io::Error::from_raw_os_error(-negative)),
    }
}

/// The attributes in `bytes`: kind without its flag bits, and payload. Stops at a torn one.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(field(bytes, 0, u16::from_ne_bytes).ok()?);
        let kind = field(bytes, 2, u16::from_ne_bytes).ok()?;
        let payload = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind & 0x3fff, payload))
    })
}

/// Reads a number of `N` bytes at an offset.
pub(crate) fn field<T, const N: usize>(
    bytes: &[u8],
    at: usize,
    read: fn([u8; N]) -> T,
) -> io::Result<T> {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk::<N>);
    found.map(|chunk| read(*chunk)).ok_or_else(torn)
}

fn torn() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel's netlink answer is torn",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_nested_and_padded_attributes() {
        let message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE, &[0xaa; 16])
            .text(libc::IFLA_IFNAME, "pt-d1")
            .nest(libc::IFLA_LINKINFO, |m| {
                m.attribute(libc::IFLA_INFO_KIND, b"veth")
            });
        let mut wanted = Vec::new();
        wanted.extend(56_u32.to_ne_bytes());
        wanted.extend(libc::RTM_NEWLINK.to_ne_bytes());
        wanted.extend(0x0401_u16.to_ne_bytes());
        wanted.extend(7_u32.to_ne_bytes());
        wanted.extend([0; 4]);
        wanted.extend([0xaa; 16]);
        wanted.extend([10, 0, 3, 0]);
        wanted.extend(b"pt-d1\0\0\0");
        wanted.extend([12, 0, 18, 0, 8, 0, 1, 0]);
        wanted.extend(b"veth");
        assert_eq!(message.finish(7), wanted);
    }

    #[test]
    fn reads_acknowledgements() {
        let answer = |kind: i32, sequence: u32, payload: &[u8]| {
            let kind = u16::try_from(kind).unwrap();
            Message::new(kind, 0, payload).finish(sequence)
        };
        let check = |datagram: &[u8], expected: Result<bool, i32>| {
            let found = read(datagram, Some(7), &mut Vec::new());
            assert_eq!(found.map_err(|e| e.raw_os_error().unwrap_or(-1)), expected);
        };
        let refused = (-libc::EEXIST).to_ne_bytes();
        check(&answer(libc::NLMSG_ERROR, 7, &[0; 4]), Ok(true));
        check(&answer(libc::NLMSG_ERROR, 7, &refused), Err(libc::EEXIST));
        check(&answer(libc::NLMSG_ERROR, 6, &refused), Ok(false));
        check(&answer(libc::NLMSG_DONE, 7, &[0; 4]), Ok(true));
        check(&answer(16, 7, &[1; 16]), Ok(false));
        check(&[40, 0, 0, 0, 2, 0], Err(-1));
    }

    #[test]
    fn walks_attributes() {
        let bytes = [
            6, 0, 3, 0x80, 1, 2, 0, 0, 5, 0, 4, 0, 9, 0, 0, 0, 99, 0, 1, 0,
        ];
        let found: Vec<_> = attributes(&bytes).collect();
        assert_eq!(found, [(3, &[1, 2][..]), (4, &[9][..])]);
    }
}
