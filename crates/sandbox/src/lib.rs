//! One command in its own world: root file system, namespaces, cgroup, network, from a spec.
//!
//! Builder and dynod hold a [`Client`] and describe what shall run with a [`Spec`]; the small root
//! program `nursery` (a bin of this crate) makes the world and forks the command into it. This
//! crate knows neither apps nor builds, only a spec to run.

pub mod client;
pub mod handle;
mod tear_down;
pub mod net;
pub mod spec;
mod wire;

mod app;
mod cgroup;
mod keeper;
pub mod nursery;
mod plan;
pub mod policy;
pub mod doctor;
mod world;

mod sys;

pub use client::{Client, ClientError as Error, Started, Volume};
pub use spec::{Base, Kind, Limits, Mount, Network, Place, Secrets, Spec, Upper, Window};
pub use tear_down::{TearDownError, tear_down};
pub use wire::{Facts, Living, PortMode, PortReport, Refusal, Usage};
