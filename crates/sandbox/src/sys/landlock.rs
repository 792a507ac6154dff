//! Landlock's scopes (`landlock(7)`, ABI 6, Linux 6.12): what a process and its children reach of
//! what has no file: abstract Unix sockets, and processes to signal.

use std::io;

use super::{check, own};

/// The first ABI that knows scopes.
const ABI_WITH_SCOPES: i32 = 6;
const CREATE_RULESET_VERSION: libc::c_uint = 1;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 2;

#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// Whether this kernel has scopes.
pub(crate) fn has_scopes() -> bool {
    // SAFETY: landlock_create_ruleset(2) with the version flag takes no attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttr>(),
            0,
            CREATE_RULESET_VERSION,
        )
    };
    check(result).is_ok_and(|abi| abi >= ABI_WITH_SCOPES)
}

/// From now on this process and its children reach only their own abstract sockets and signal only
/// each other. It needs `no_new_privs`. 20 us.
pub(crate) fn scope() -> io::Result<()> {
    let attr = RulesetAttr {
        handled_access_fs: 0,
        handled_access_net: 0,
        scoped: SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL,
    };
    // SAFETY: landlock_create_ruleset(2) reads a struct of the given size, which lives across the
    // call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attr,
            size_of::<RulesetAttr>(),
            0,
        )
    };
    let rules = check(result).map(own)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&rules);
    // SAFETY: landlock_restrict_self(2) reads a file number and flags.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, number, 0) };
    check(result).map(drop)
}
