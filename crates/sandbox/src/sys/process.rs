//! Making processes, and taking their powers away.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::{check, own};

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Side {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// Forks with these `CLONE_NEW*` flags, the child in that v2 cgroup at once (`clone3(2)`).
///
/// Only for a program with one thread: the child may then do all that a program may do.
pub(crate) fn clone_into(flags: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain numbers; all zero is a valid value (clone3(2)).
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from((flags | libc::CLONE_PIDFD).cast_unsigned());
    args.pidfd = (&raw mut pidfd).addr() as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(cgroup) = cgroup {
        args.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP, Linux 5.7
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM the child runs on a copy of this process's memory, like fork(2);
    // this program has one thread, so no lock is held by a thread that the child lacks. The kernel
    // writes `pidfd`, which lives across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    match check(result)? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent {
            pid,
            pidfd: own(pidfd),
        }),
    }
}

/// Ends this process at once: no destructor runs, nothing is flushed.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit(2) does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

/// A handle on a process that may be anybody's child (`pidfd_open(2)`, Linux 5.3).
pub(crate) fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) reads two numbers.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    check(result).map(own)
}

/// Sends a signal to a process; `value` makes it a queued one that carries this number.
pub(crate) fn send_signal(
    pidfd: BorrowedFd<'_>,
    signal: i32,
    value: Option<i32>,
) -> io::Result<()> {
    #[repr(C)]
    struct Queued {
        signal: i32,
        errno: i32,
        code: i32,
        padding: i32,
        pid: i32,
        uid: u32,
        value: u64,
        rest: [u64; 12],
    }
    const { assert!(size_of::<Queued>() == size_of::<libc::siginfo_t>()) };
    let info = Queued {
        signal,
        errno: 0,
        code: libc::SI_QUEUE,
        padding: 0,
        pid: 0,
        uid: 0,
        value: u64::from(value.unwrap_or(0).cast_unsigned()),
        rest: [0; 12],
    };
    let info = if value.is_some() {
        &raw const info
    } else {
        std::ptr::null()
    };
    // SAFETY: pidfd_send_signal(2) reads a siginfo_t of this size and layout, or null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            0,
        )
    };
    check(result).map(drop)
}

/// Closes all files from `first` to `last`, both included (`close_range(2)`, Linux 5.9).
///
/// Whoever owns one of them must never use or drop it again: for forked children, which leave the
/// memory of their parent behind.
pub(crate) fn close_range(first: RawFd, last: u32) -> io::Result<()> {
    // SAFETY: close_range(2) reads three numbers; the caller gave up the files.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    check(result).map(drop)
}

/// Lets all files from `first` on close when another program is run.
pub(crate) fn close_on_execute(first: RawFd) -> io::Result<()> {
    // SAFETY: close_range(2) with CLOSE_RANGE_CLOEXEC (Linux 5.11) sets a flag, closes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    check(result).map(drop)
}

/// Makes `new` refer to the same open file as `old`; it stays open across execve (`dup2(2)`).
pub(crate) fn place(old: BorrowedFd<'_>, new: RawFd) -> io::Result<()> {
    if old.as_raw_fd() == new {
        // SAFETY: F_SETFD changes a flag of a number that `old` keeps open.
        let result = unsafe { libc::fcntl(new, libc::F_SETFD, 0) };
        return check(result.into()).map(drop);
    }
    // SAFETY: dup2(2) reads two numbers; what `new` was, its owner gave up.
    let result = unsafe { libc::dup2(old.as_raw_fd(), new) };
    check(result.into()).map(drop)
}

/// Copies a file to a number at or above `least`, so that lower ones are free for [`place`].
pub(crate) fn copy_above(fd: BorrowedFd<'_>, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC reads two numbers and returns a new one.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) };
    check(result.into()).map(own)
}

/// Leaves this process only these capabilities, none of them inheritable (`capset(2)`).
pub(crate) fn set_capabilities(effective: u64, permitted: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Half {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let low = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).expect("32 bits");
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let half = |shift: u32| Half {
        effective: low(effective >> shift),
        permitted: low(permitted >> shift),
        inheritable: 0,
    };
    let halves = [half(0), half(32)];
    // SAFETY: capset(2) version 3 reads a header and two halves, which live across the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) };
    check(result).map(drop)
}

/// Takes a capability out of the bounding set for good. False: the kernel does not know it.
pub(crate) fn drop_bounding(capability: u32) -> io::Result<bool> {
    // SAFETY: PR_CAPBSET_DROP (prctl(2)) reads a number.
    let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    match check(result.into()) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Empties the ambient capabilities.
pub(crate) fn clear_ambient() -> io::Result<()> {
    // SAFETY: PR_CAP_AMBIENT (prctl(2)) reads numbers.
    let result = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    };
    check(result.into()).map(drop)
}

/// Installs a seccomp filter (`seccomp(2)`); it needs `no_new_privs` or `CAP_SYS_ADMIN`.
pub(crate) fn filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel only reads the program, which lives across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    check(result).map(drop)
}

/// Gives every signal its default action and lets all through, as a new program expects.
pub(crate) fn default_signals() -> io::Result<()> {
    // SAFETY: signal(2) with SIG_DFL installs no handler.
    let result = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if result == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// Replaces this program; returns only with the reason why not.
pub(crate) fn execute(path: &CString, argv: &[CString], env: &[CString]) -> io::Error {
    match nix::unistd::execve(path, argv, env) {
        Ok(never) => match never {},
        Err(error) => error.into(),
    }
}
