//! Slugs and images as content-addressed blobs; it knows no apps or releases, only digests.
//!
//! The way of a slug: a build's folder is [`pack()`]ed into one tar + zstd stream, sealed as a blob
//! in [`Blobs`], named by a manifest ([`slug`]); on a node the blob is [`unpack()`]ed once into the
//! [`Shelf`] and all dynos mount that folder. [`Names`] finds a blob by what it was made from.
//!
//! Builder, dynod and api call this, each from its own process and with its own user: every folder
//! here is shared through the group `paas`, and every race between them ends with both content.
//! Measured 2026-11-24 (two busy cores, ext4, 18,425 entries of `node_modules`, 299 MB, warm
//! cache, `examples/pack_speed.rs`): packed at 250 to 300 MB/s to 80 MB, those hashed in 45 ms,
//! unpacked in 1.2 to 2.1 s. ext4 gives no inode out again within half a minute after its file was
//! removed, and looks long for others: right after the removal of as many files, unpacking took
//! five times as long. So what leaves the shelf should not leave it in front of a push.
//!
//! All of it blocks; async callers use `spawn_blocking`.

pub mod blobs;
pub mod disk;
pub mod hash;
pub mod image;
pub mod layer;
pub mod names;
pub mod pack;
pub mod shelf;
mod shown;
pub mod slug;
pub mod unpack;

#[cfg(test)]
#[path = "../../../tests/unit/scratch.rs"]
mod scratch;

pub use blobs::{Blobs, Incoming};
pub use hash::sha256;
pub use names::Names;
pub use pack::pack;
pub use shelf::Shelf;
pub use unpack::unpack;
