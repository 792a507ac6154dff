//! The nouns of the platform and their rules: pure, no input or output, no clock, no environment.
//!
//! Read in this order: names, what is built, what runs, how the roles tell each other about it.

pub mod account;
pub mod app;
pub mod config_vars;
pub mod digest;
pub mod dyno;
pub mod feed;
pub mod formation;
pub mod instance;
pub mod limits;
pub mod network;
pub mod process;
pub mod procfile;
pub mod release;
pub mod route;
pub mod size;
pub mod slug;
mod text;
