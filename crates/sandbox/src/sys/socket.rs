//! Packets with files over a Unix socket (`unix(7)`, `SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use model::limits;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

use super::own;

/// Files beside one packet (`SCM_MAX_FD` in the kernel's `net/scm.h`).
pub(crate) const ORDERS_FDS_MAX: usize = 253;
/// Bytes of what a cradle tells at a time: its steps, or an error's text.
const WORD_MAX_BYTES: usize = 4096;

/// One packet: empty when the other side has closed.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) message: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// Sends one packet; the other side gets copies of the files.
pub(crate) fn send(to: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    let parts = [IoSlice::new(message)];
    let sent = sendmsg::<UnixAddr>(
        to.as_raw_fd(),
        &parts,
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    debug_assert_eq!(sent, message.len(), "a packet is sent whole or not at all");
    Ok(())
}

/// Receives one packet. One that is longer than it may be, or carries more files, is an error;
/// its files are closed.
pub(crate) fn receive(from: BorrowedFd<'_>) -> io::Result<Packet> {
    let control = nix::cmsg_space!([RawFd; limits::SANDBOX_FDS_MAX]);
    receive_into(from, limits::SANDBOX_MESSAGE_MAX_BYTES, control)
}

/// Receives one short packet, with at most one file.
pub(crate) fn receive_word(from: BorrowedFd<'_>) -> io::Result<Packet> {
    receive_into(from, WORD_MAX_BYTES, nix::cmsg_space!(RawFd))
}

/// Receives one packet of the nursery's own, with as many files as the kernel lets pass.
pub(crate) fn receive_orders(from: BorrowedFd<'_>) -> io::Result<Packet> {
    let control = nix::cmsg_space!([RawFd; ORDERS_FDS_MAX]);
    receive_into(from, 2 * limits::SANDBOX_MESSAGE_MAX_BYTES, control)
}

fn receive_into(
    from: BorrowedFd<'_>,
    max_bytes: usize,
    mut control: Vec<u8>,
) -> io::Result<Packet> {
    let mut message = vec![0; max_bytes];
    let mut parts = [IoSliceMut::new(&mut message)];
    let received = recvmsg::<UnixAddr>(
        from.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for part in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            fds.extend(raw.into_iter().map(own));
        }
    }
    let (length, flags) = (received.bytes, received.flags);
    if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a packet is longer than it may be",
        ));
    }
    message.truncate(length);
    Ok(Packet { message, fds })
}
