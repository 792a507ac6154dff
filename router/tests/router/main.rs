//! The router over real sockets: scripted dynos behind it, raw clients in front of it.

mod answers;
mod drain;
mod failures;
mod platform;
mod requests;
mod streams;
mod tunnels;
mod world;
