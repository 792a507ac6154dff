//! The file-descriptor mount API: `open_tree(2)`, `move_mount(2)`, `mount_setattr(2)`, `fsopen(2)`,
//! `fsconfig(2)`, `fsmount(2)`. Linux 5.2, `mount_setattr` 5.12.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{check, own};

/// Attributes of a mount, from `linux/mount.h`.
pub(crate) mod attribute {
    pub(crate) const RDONLY: u64 = 0x1;
    pub(crate) const NOSUID: u64 = 0x2;
    pub(crate) const NODEV: u64 = 0x4;
    pub(crate) const NOEXEC: u64 = 0x8;
    pub(crate) const IDMAP: u64 = 0x10_0000;
}

const OPEN_TREE_CLONE: libc::c_uint = 1;
const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC.cast_unsigned();
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_SET_FD: libc::c_uint = 5;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A detached clone of the mount that a folder or file lies on, with it as its root.
pub(crate) fn clone_tree(of: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let below = if recursive {
        libc::AT_RECURSIVE.cast_unsigned()
    } else {
        0
    };
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | below | libc::AT_EMPTY_PATH.cast_unsigned();
    // SAFETY: open_tree(2) reads a file number, a zero-terminated text and flags.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, of.as_raw_fd(), c"".as_ptr(), flags) };
    check(result).map(own)
}

/// Sets attributes of a mount that is not attached yet; `ids`: the user namespace that maps its
/// owners.
pub(crate) fn set_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    ids: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: set | if ids.is_some() { attribute::IDMAP } else { 0 },
        attr_clr: 0,
        propagation: 0,
        userns_fd: ids.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
    };
    // SAFETY: mount_setattr(2) reads a struct of the given size that lives across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(result).map(drop)
}

/// Attaches a detached mount on a folder or file.
pub(crate) fn attach(mount: BorrowedFd<'_>, on: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: move_mount(2) reads two file numbers, two zero-terminated texts and flags.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            on.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    };
    check(result).map(drop)
}

/// A file system that is being configured.
#[derive(Debug)]
pub(crate) struct Context(OwnedFd);

impl Context {
    /// Starts with the kernel's name of the file system, such as `overlay`.
    pub(crate) fn open(kind: &CStr) -> io::Result<Self> {
        // SAFETY: fsopen(2) reads a zero-terminated text and flags.
        let result = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) };
        check(result).map(|fd| Self(own(fd)))
    }

    pub(crate) fn flag(&self, key: &CStr) -> io::Result<()> {
        self.configure(FSCONFIG_SET_FLAG, Some(key), None, 0)
    }

    pub(crate) fn text(&self, key: &CStr, value: &str) -> io::Result<()> {
        let value = CString::new(value)?;
        self.configure(FSCONFIG_SET_STRING, Some(key), Some(&value), 0)
    }

    pub(crate) fn file(&self, key: &CStr, value: BorrowedFd<'_>) -> io::Result<()> {
        self.configure(FSCONFIG_SET_FD, Some(key), None, value.as_raw_fd())
    }

    /// Makes it: a detached mount with these attributes.
    pub(crate) fn mount(self, attributes: u64) -> io::Result<OwnedFd> {
        self.configure(FSCONFIG_CMD_CREATE, None, None, 0)?;
        // SAFETY: fsmount(2) reads a file number and flags.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsmount,
                self.0.as_raw_fd(),
                FSMOUNT_CLOEXEC,
                attributes,
            )
        };
        check(result).map(own)
    }

    fn configure(
        &self,
        command: libc::c_uint,
        key: Option<&CStr>,
        value: Option<&CStr>,
        aux: i32,
    ) -> io::Result<()> {
        let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: fsconfig(2) reads zero-terminated texts that live across the call, or null.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                command,
                pointer(key),
                pointer(value),
                aux,
            )
        };
        check(result).map(drop)
    }
}
