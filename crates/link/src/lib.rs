//! What every role does alike: configuration, tracing, stop, listeners from `paas up`, the feed
//! from the api, the platform's certificate authority, and the HTTP client of `paas`.
//!
//! Everything here is about talking to other processes of the platform; what they talk about is
//! in `model`.

pub mod config;
pub mod logging;
pub mod stop;

pub mod listeners;

pub mod frame;

pub mod feed;

pub mod authority;

pub mod http;

#[cfg(test)]
#[path = "../../../tests/unit/scratch.rs"]
mod scratch;
