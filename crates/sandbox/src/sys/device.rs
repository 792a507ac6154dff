//! Requests to devices (`ioctl(2)`): loop devices, terminals, pipes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{check, own};

const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const EXT4_IOC_SHUTDOWN: libc::Ioctl = 0x8004_587D;

#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// The number of a loop device that nobody uses now.
pub(crate) fn free_loop(control: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: LOOP_CTL_GET_FREE (loop(4)) takes no argument.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    check(result.into())
}

/// Puts a file behind a loop device, which frees itself when its last user is gone (Linux 5.8).
pub(crate) fn configure_loop(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the struct is plain numbers; all zero is a valid value (linux/loop.h).
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = file.as_raw_fd().cast_unsigned();
    config.block_size = 4096;
    config.info.flags = LO_FLAGS_AUTOCLEAR;
    // SAFETY: LOOP_CONFIGURE reads a loop_config, which lives across the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    check(result.into()).map(drop)
}

/// Stops an ext4 file system at once, unwritten data lost: for those that nobody needs any more.
pub(crate) fn stop_ext4(root: BorrowedFd<'_>) -> io::Result<()> {
    let without_log: u32 = 2;
    // SAFETY: EXT4_IOC_SHUTDOWN (fs/ext4/ext4.h) reads a u32, which lives across the call.
    let result =
        unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_SHUTDOWN, &raw const without_log) };
    check(result.into()).map(drop)
}

/// Unlocks a new terminal's inner side, gives it a size, and opens it (`ioctl_tty(2)`).
pub(crate) fn terminal_inner(
    master: BorrowedFd<'_>,
    rows: u16,
    columns: u16,
) -> io::Result<OwnedFd> {
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads an int, which lives across the call.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) };
    check(result.into())?;
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads a winsize, which lives across the call.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    check(result.into())?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER reads flags and returns a new file number (Linux 4.13).
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    check(result.into()).map(own)
}

/// Makes a terminal the controlling one of this session.
pub(crate) fn take_terminal(inner: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TIOCSCTTY reads a number.
    let result = unsafe { libc::ioctl(inner.as_raw_fd(), libc::TIOCSCTTY, 0) };
    check(result.into()).map(drop)
}

/// Bytes that wait in a pipe.
pub(crate) fn waiting_bytes(pipe: BorrowedFd<'_>) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes an int, which lives across the call.
    let result = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    check(result.into())?;
    usize::try_from(count).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Brings `lo` up in this net namespace (`netdevice(7)`).
pub(crate) fn bring_up_loopback() -> io::Result<()> {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain numbers; all zero is a valid value (netdevice(7)).
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("0x41");
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives across the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(result.into()).map(drop)
}
