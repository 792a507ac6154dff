//! The system calls that no safe crate offers, each as one small function with a safe signature.
//!
//! All `unsafe` of the platform is below this module. Nothing here decides anything.
#![expect(unsafe_code, reason = "system calls without a safe wrapper in nix")]

pub(crate) mod bpf;
pub(crate) mod device;
pub(crate) mod landlock;
pub(crate) mod mount;
pub(crate) mod process;
pub(crate) mod helper;
pub(crate) mod netlink;
pub(crate) mod pidfd_getfd;
pub(crate) mod probe;
pub(crate) mod socket;

use std::ffi::CStr;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::inotify::Inotify;
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Takes ownership of a file that a system call has just returned.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    debug_assert!(fd >= 0, "a successful system call returned it");
    // SAFETY: the callers pass a number that the kernel has just opened for them and that nothing
    // else refers to (open(2): lowest number not in use).
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes the file that was open under this number when the program started.
pub(crate) fn handed_over(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only asks whether the number is open.
    let result = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    check(result.into()).map(|_| own(fd))
}

/// Takes an inotify instance that somebody else has made.
pub(crate) fn inotify(fd: OwnedFd) -> Inotify {
    // SAFETY: the callers pass what `inotify_init1` returned; with any other file, reads fail.
    unsafe { Inotify::from_owned_fd(fd) }
}

/// Gives memory that is not used any more back to the kernel (`malloc_trim(3)`).
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes what the allocator keeps for later, nothing that anybody has.
    let _is_less = unsafe { libc::malloc_trim(0) };
}

/// The value that a system call returned, or its error.
fn check(result: libc::c_long) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(|_| io::ErrorKind::InvalidData.into())
}

const NAME: &CStr = c"secrets";

/// What nobody can change any more: size and content of a sealed file are final.
pub(crate) fn seals() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

/// A sealed file in memory with this content.
pub(crate) fn memory_file(content: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(NAME, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(content)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
    Ok(file.into())
}
