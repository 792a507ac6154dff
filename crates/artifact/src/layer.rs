//! Layers of images: the upper folder of an overlay <-> a tar in the form of the OCI image
//! specification (`layer.md`).
//!
//! In a folder, as overlayfs has it with the option `userxattr`: a name that hides one of the
//! layers below is a character device 0:0, and a folder that hides all that is below it has the
//! attribute `user.overlay.opaque`. In the tar these are `.wh.NAME` and `.wh..wh..opq`. `user.`
//! and not `trusted.`, because both directions run in a jailed child, whose root is nobody.
//!
//! Owners, modes, times, hard links and `user.*` attributes are kept both ways: a file's owner is
//! the id inside. Sockets are left out and devices refused.

mod header;
mod read;
mod write;

pub use read::{decoded, is_archive, unpack, unpack_archive, unpack_within};
pub use write::pack;

/// What a folder carries that hides all below it; the kernel's name for it.
const OPAQUE: &str = "user.overlay.opaque";
/// The kernel's own attributes: never taken from a tar, never put into one.
const KERNELS: &[u8] = b"user.overlay.";
/// In front of a name that is hidden.
const WHITEOUT: &[u8] = b".wh.";
/// What stands for [`OPAQUE`].
const OPAQUE_NAME: &[u8] = b".wh..wh..opq";
/// In front of names that some old tools keep for themselves.
const META: &[u8] = b".wh..wh.";
/// In front of an attribute's name in a PAX record.
const PAX_ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
/// Bytes of one attribute's value; what Linux allows.
const ATTRIBUTE_MAX_BYTES: usize = 64 * 1024;

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
