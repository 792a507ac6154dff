//! `paas exec-role`: the moment between fork and exec of a process that the supervisor starts.
//!
//! Takes listeners from standard input, user and group from its arguments, gives up what the
//! program shall not have, and becomes it. See [`super::start`] for why.

use anyhow::{Context as _, ensure};
use nix::sys::prctl;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::stat::{Mode, umask};
use std::io::{IoSliceMut, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

/// Its name on the command line.
pub(crate) const COMMAND: &str = "exec-role";
/// The first descriptor of `LISTEN_FDS`, `sd_listen_fds(3)`.
const FIRST: RawFd = 3;
/// Count of listeners of one role at most.
const LISTENERS_MAX: usize = 8;

/// `paas exec-role`
#[derive(Debug, clap::Args)]
pub(crate) struct Handover {
    #[arg(long)]
    uid: u32,
    #[arg(long)]
    gid: u32,
    /// Names of the listeners, joined by colons
    #[arg(long)]
    names: String,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Becomes the program; comes back only when that fails.
pub(crate) fn run(handover: &Handover) -> anyhow::Result<ExitCode> {
    close_inherited()?;
    let stdin = std::io::stdin();
    receive(
        stdin.as_raw_fd(),
        handover
            .names
            .split(':')
            .filter(|name| !name.is_empty())
            .count(),
    )?;
    // After the listeners, which have to get the lowest numbers. It closes with the execute.
    let mut supervisor = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
    let error = become_program(handover);
    supervisor.write_all(format!("{error:#}").as_bytes())?;
    Ok(ExitCode::FAILURE)
}

fn become_program(handover: &Handover) -> anyhow::Error {
    let Some((program, arguments)) = handover.command.split_first() else {
        return anyhow::anyhow!("there is no program");
    };
    let count = handover
        .names
        .split(':')
        .filter(|name| !name.is_empty())
        .count();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDS", count.to_string())
        .env("LISTEN_FDNAMES", &handover.names)
        .stdin(Stdio::null());
    if handover.uid == 0 {
        umask(Mode::from_bits_truncate(0o022));
    } else {
        // What roles make is for their group, too, and for nobody else.
        umask(Mode::from_bits_truncate(0o007));
        if let Err(error) = prctl::set_no_new_privs() {
            return error.into();
        }
        // Group first, then no other groups (std does that for a root that sets a user), then the
        // user, which takes all capabilities away.
        command.gid(handover.gid).uid(handover.uid);
    }
    let error = command.exec();
    anyhow::Error::new(error).context(format!("cannot execute {program}"))
}

/// Whatever else the starting shell had open.
fn close_inherited() -> anyhow::Result<()> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    let numbers: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number >= FIRST)
        .collect();
    for number in numbers {
        match nix::unistd::close(number) {
            // The list itself was among them, and is closed.
            Ok(()) | Err(nix::Error::EBADF) => {}
            Err(error) => return Err(error).context("cannot close an inherited file"),
        }
    }
    Ok(())
}

/// Receives the listeners, which get the lowest free numbers in their order and stay open.
fn receive(socket: RawFd, count: usize) -> anyhow::Result<()> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; LISTENERS_MAX]);
    let message = recvmsg::<()>(socket, &mut parts, Some(&mut space), MsgFlags::empty())
        .context("cannot receive the listeners; only `paas up` runs this")?;
    let mut numbers = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            numbers.extend(received);
        }
    }
    let expected: Vec<RawFd> = (FIRST..).take(count).collect();
    ensure!(
        numbers == expected,
        "the listeners arrived as {numbers:?} instead of {expected:?}"
    );
    Ok(())
}
