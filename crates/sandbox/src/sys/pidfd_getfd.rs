//! A duplicate of another process's open file.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::{check, own};

/// Duplicates the file that the process has open under this number (`pidfd_getfd(2)`, Linux 5.6);
/// it is close-on-exec here. For root, or whoever may trace the process.
pub(crate) fn pidfd_getfd(process: BorrowedFd<'_>, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_getfd(2) reads three numbers and returns a descriptor that is new here.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0_u32) };
    check(result).map(own)
}
