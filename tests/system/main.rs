//! The whole system as its users see it: the real program, the real git, real namespaces.
//!
//! Every test has a platform of its own, named `pt` and six hex digits, on free ports and a free
//! address range, beside whatever is installed. When a test ends the platform is taken down and
//! anything it left on the machine fails the test.

#[cfg(test)]
mod checkout;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod platform;
#[cfg(test)]
mod web;

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod build_world;
#[cfg(test)]
mod builds;
#[cfg(test)]
mod remote_buildpacks;
#[cfg(test)]
mod central;
#[cfg(test)]
mod config_vars;
#[cfg(test)]
mod deploys;
#[cfg(test)]
mod domains;
#[cfg(test)]
mod first_push;
#[cfg(test)]
mod formation;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod given_back;
#[cfg(test)]
mod hostile_trees;
#[cfg(test)]
mod image_exchange;
#[cfg(test)]
mod images;
#[cfg(test)]
mod languages;
#[cfg(test)]
mod one_off;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod release_phase;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod supervisor;
#[cfg(test)]
mod survival;
#[cfg(test)]
mod time_limits;
