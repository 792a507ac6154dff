//! The policy on the real kernel: what a dyno in central mode may do with sockets, tried from
//! inside, by itself, by a neighbour of the same owner and by the router.
//!
//! Needs root. Everything is in cgroups and net namespaces that it makes and removes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first thing that goes wrong"
)]

#[path = "policy/harness.rs"]
mod harness;
#[path = "policy/life.rs"]
mod life;
#[path = "policy/neighbours.rs"]
mod neighbours;
#[path = "policy/ports.rs"]
mod ports;
