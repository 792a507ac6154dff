//! Slugs and images as content-addressed blobs; it knows no apps or releases, only digests.
//!
//! The way of a slug: a build's folder is [`pack`]ed into one tar + zstd stream, sealed as a blob
//! in [`Blobs`], named by a manifest ([`slug`]); on a node the blob is [`unpack`]ed once into the
//! [`Shelf`] and all dynos mount that folder. [`Names`] finds a blob by what it was made from.
//!
//! Builder, dynod and api call this, each from its own process and with its own user: every folder
//! here is shared through the group `paas`, and every race between them ends with both content.
//! All of it blocks; async callers use `spawn_blocking`.

pub mod blobs;
pub mod disk;
pub mod hash;
pub mod names;
pub mod pack;
pub mod shelf;
mod shown;
pub mod slug;
pub mod unpack;

#[cfg(test)]
mod scratch;

pub use blobs::{Blobs, Incoming};
pub use hash::sha256;
pub use names::Names;
pub use pack::pack;
pub use shelf::Shelf;
pub use unpack::unpack;
