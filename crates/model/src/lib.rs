//! The nouns of the platform and their rules: pure, no input or output, no clock, no environment.
//!
//! Read in this order: names, what is built, what runs, how the roles tell each other about it.

pub mod app;
pub mod account;
pub mod config_vars;
pub mod process;
pub mod procfile;
pub mod digest;
pub mod slug;
pub mod span;
pub mod image;
pub mod release;
pub mod size;
pub mod formation;
pub mod dyno;
pub mod route;
pub mod network;
pub mod instance;
pub mod query;
pub mod feed;
pub mod limits;
mod text;
