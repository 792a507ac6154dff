//! A fork that does one piece of work beside its parent and ends.
//!
//! Used by `net::pool` in the single-threaded nursery, so that the parent neither waits for the
//! kernel's slow parts nor leaves its own net namespace.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid};

/// Forks; the child runs `work` with `keep` as the only open file and exits. It dies with its
/// parent.
///
/// The child ends without running destructors of the parent's values, so what the parent owns
/// (temporary files, namespaces) is not undone twice.
pub(crate) fn fork(keep: BorrowedFd<'_>, work: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: fork(2). The nursery has one thread, so the child may do anything; with more threads
    // (tests) glibc makes its allocator usable in the child, and `work` takes no lock of another
    // thread.
    let result = unsafe { nix::unistd::fork() }?;
    if let ForkResult::Parent { child } = result {
        return Ok(child);
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        close_all_but(keep);
        if nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).is_ok() {
            work();
        }
    }));
    // SAFETY: _exit(2) ends the process at once and touches none of its memory.
    unsafe { libc::_exit(i32::from(outcome.is_err())) }
}

/// Lifelines and pipes of jobs must not stay open because a helper happens to hold a copy.
fn close_all_but(keep: BorrowedFd<'_>) {
    let keep = u32::try_from(keep.as_raw_fd()).expect("an open descriptor is not negative");
    close_range(3, keep.saturating_sub(1));
    close_range(keep + 1, u32::MAX);
}

fn close_range(first: u32, last: u32) {
    if first <= last {
        // SAFETY: close_range(2). The child owns its table of descriptors and never returns to code
        // that believes in the closed ones; an error (none is possible here) would only leave them
        // open.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) };
    }
}
