//! `paas up` and `paas down`: the platform's processes on this machine.
//!
//! `paas up --foreground` is the supervisor: it opens the listening sockets, starts nursery and
//! roles with them, and starts again what dies. It parses nothing that comes from the network.
//! Started again it adopts what still runs, listeners included, and replaces what is of another
//! build or configuration, one after the other. `paas up` alone is for people and for `make up`:
//! it brings the supervisor into the background and waits until the platform is healthy.

mod role;

pub(crate) mod accounts;
pub(crate) mod folders;
mod sockets;

mod process;
pub(crate) mod state;

mod delegation;
mod dynos;
pub(crate) mod handover;
mod modules;
mod start;
mod supervise;

mod background;
pub(crate) mod down;
mod logs;

use anyhow::Context as _;
use link::config::Config;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) use state::State;

/// `paas up`
#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// The data folder
    #[arg(long, value_name = "DIR", default_value = super::DEFAULT_DATA_DIR)]
    data: PathBuf,
    /// Stay in the foreground, as systemd wants it
    #[arg(long)]
    foreground: bool,
    /// Leave the terminal; given by `paas up` to itself.
    #[arg(long, hide = true)]
    detached: bool,
}

/// Runs `paas up`.
pub(crate) fn run(up: &Up) -> anyhow::Result<ExitCode> {
    only_root("paas up")?;
    let data = canonical(&up.data)?;
    let config = Config::load(&data)?;
    if !up.foreground {
        return background::run(&config);
    }
    if up.detached {
        nix::unistd::setsid().context("leave the terminal")?;
    }
    link::logging::start("up");
    supervise::run(config)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses whoever is not root, saying how to be it.
pub(crate) fn only_root(command: &str) -> anyhow::Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    anyhow::bail!("only root may do this: sudo {command}")
}

/// The data folder as an absolute path; it is made when it is missing.
fn canonical(data: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    data.canonicalize()
        .with_context(|| format!("cannot use {}", data.display()))
}
