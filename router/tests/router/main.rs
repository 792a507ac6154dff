//! The router over real sockets: scripted dynos behind it, raw clients in front of it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails where it panics"
)]

mod answers;
mod drain;
mod failures;
mod platform;
mod requests;
mod streams;
mod tunnels;
mod world;
