//! `paas down`: nothing of the platform runs any more, dynos included, and nothing is left of it
//! on the machine but its data.

use super::background;
use super::process::Identity;
use super::state::{Entry, State};
use crate::output;
use anyhow::{Context as _, bail};
use link::config::Config;
use model::limits::{ROLE_STOP_TIMEOUT_MS, STOP_TIMEOUT_MS};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use sandbox::handle::Handle;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// `paas down`
#[derive(Debug, clap::Args)]
pub(crate) struct Down {
    /// The data folder
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_DATA_DIR)]
    data: PathBuf,
}

/// Runs `paas down`.
pub(crate) fn run(down: &Down) -> anyhow::Result<ExitCode> {
    super::only_root("paas down")?;
    let config = Config::load(&down.data)?;
    all(&config)?;
    output::aside(&format!(
        "       {} is down, its data is kept",
        config.instance
    ));
    Ok(ExitCode::SUCCESS)
}

/// Stops everything and removes what it made on the machine.
pub(crate) fn all(config: &Config) -> anyhow::Result<()> {
    stop(config)?;
    tear_down(config)?;
    if config.run_dir.exists() {
        std::fs::remove_dir_all(&config.run_dir)
            .with_context(|| format!("cannot remove {}", config.run_dir.display()))?;
    }
    Ok(())
}

/// Stops the supervisor, which stops roles and dynos; then whatever a killed supervisor left.
fn stop(config: &Config) -> anyhow::Result<()> {
    let state = State::read(&config.run_dir)?;
    if let Some(handle) = state.up.and_then(Identity::open) {
        // It stops all roles one after the other, and the dynos.
        end(
            &handle,
            Signal::SIGUSR1,
            5 * ROLE_STOP_TIMEOUT_MS + STOP_TIMEOUT_MS,
        )?;
    }
    if background::has_unit(config) {
        // Whatever systemd is about to do with it.
        background::systemctl("stop", config)?;
    }
    let state = State::read(&config.run_dir)?;
    for Entry { identity, .. } in state.roles.iter().chain(&state.leaving) {
        if let Some(handle) = identity.open() {
            end(&handle, Signal::SIGTERM, ROLE_STOP_TIMEOUT_MS)?;
        }
    }
    Ok(())
}

/// The signal, and SIGKILL after the time.
fn end(handle: &Handle, signal: Signal, limit_ms: u64) -> anyhow::Result<()> {
    for (signal, wait_ms) in [(signal, limit_ms), (Signal::SIGKILL, 10_000)] {
        if handle.signal(signal as i32).is_err() {
            return Ok(());
        }
        let timeout = PollTimeout::try_from(Duration::from_millis(wait_ms))?;
        let mut wait = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        if poll(&mut wait, timeout)? > 0 {
            return Ok(());
        }
    }
    bail!("a process of the platform does not end, not even by SIGKILL: see `ps`, state D")
}

/// Dynos, networks and cgroups, whoever made them.
fn tear_down(config: &Config) -> anyhow::Result<()> {
    Ok(sandbox::tear_down(&config.instance, &config.run_dir)?)
}
