//! Questions to the kernel that change nothing.

use super::check;

const CREATE_RULESET_VERSION: libc::c_uint = 1;

/// The version of Landlock's interface (`landlock_create_ruleset(2)`); 0: it is not there or off.
pub(crate) fn landlock_abi() -> u32 {
    // SAFETY: with the version flag no attributes are read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0,
            CREATE_RULESET_VERSION,
        )
    };
    check(result)
        .ok()
        .and_then(|abi| u32::try_from(abi).ok())
        .unwrap_or(0)
}
