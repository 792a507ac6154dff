//! The dynos' own time to end, when the whole platform goes down.

use super::process::Identity;
use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use sandbox::Client;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// SIGTERM to every process of every dyno, and time to end for all of them together. What still
/// runs then is killed by `paas down` with the cgroups. Blocking; nobody starts dynos meanwhile.
pub(super) fn stop_all(nursery: &Path, time: Duration) -> anyhow::Result<()> {
    let mut client = Client::connect(nursery).context("cannot reach the nursery")?;
    let dynos = client.list().context("cannot list the dynos")?;
    let mut keepers = Vec::new();
    for dyno in dynos {
        let keeper = Identity {
            pid: dyno.pid,
            start_time: dyno.start_time,
        };
        keepers.extend(keeper.open());
        if let Err(error) = client.signal(&dyno.id, Signal::SIGTERM as i32) {
            tracing::debug!(%error, dyno.id, "it has ended by itself");
        }
    }
    let until = Instant::now() + time;
    for keeper in keepers {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        poll(
            &mut [PollFd::new(keeper.as_fd(), PollFlags::POLLIN)],
            timeout,
        )?;
    }
    Ok(())
}
