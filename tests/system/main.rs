//! The whole system as its users see it: the real program, the real git, real namespaces.
//!
//! Every test has a platform of its own, named `pt` and six hex digits, on free ports and a free
//! address range, beside whatever is installed. When a test ends the platform is taken down and
//! anything it left on the machine fails the test.

mod checkout;
mod machine;
mod platform;
mod web;

mod build_world;
mod config_vars;
mod deploys;
mod first_push;
mod formation;
mod hostile_trees;
mod languages;
mod one_off;
mod refusals;
mod release_phase;
mod survival;
