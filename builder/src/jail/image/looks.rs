//! Owner, mode and time of what is copied.

use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};
use std::io;
use std::os::fd::OwnedFd;

/// What a copied thing looks like.
pub(super) struct Looks {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) time: TimeSpec,
}

/// Owner, then mode: a change of the owner takes setuid away.
pub(super) fn dress(fd: &impl std::os::fd::AsFd, looks: &Looks) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(looks.uid), Gid::from_raw(looks.gid));
    fchown(fd.as_fd(), Some(uid), Some(gid))?;
    fchmod(fd.as_fd(), Mode::from_bits_truncate(looks.mode))?;
    Ok(())
}

/// Owner and time of something that is not opened.
pub(super) fn own(at: &OwnedFd, name: &[u8], looks: &Looks) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(looks.uid), Gid::from_raw(looks.gid));
    fchownat(at, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    utimensat(
        at,
        name,
        &looks.time,
        &looks.time,
        UtimensatFlags::NoFollowSymlink,
    )
}
