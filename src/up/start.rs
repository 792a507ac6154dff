//! Starting one process with its listeners, as its user.
//!
//! Descriptors have to arrive under the numbers 3, 4, …, and `LISTEN_PID` has to hold the pid of
//! the process itself: both can only be done between fork and exec, where safe Rust has nothing to
//! say. So the program first starts itself as [`super::handover`], gets the descriptors over a
//! socket that is its standard input, and executes the real program in the same process.

use super::accounts::{self, Account};
use super::process::Identity;
use super::role::Role;
use super::sockets::Sockets;
use super::{handover, logs};
use anyhow::{Context as _, bail};
use link::config::Config;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::{Gid, Uid};
use std::io::{IoSlice, Read as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long the program may take to execute: it reads one file from the disk.
const EXECUTE_TIMEOUT: Duration = Duration::from_secs(10);
/// All that is passed on from our own environment: where logs go, and how many.
const ENVIRONMENT: [&str; 3] = ["RUST_LOG", "RUST_BACKTRACE", "JOURNAL_STREAM"];

/// Starts a role; it has executed its program when this returns.
pub(super) fn start(config: &Config, sockets: &Sockets, role: Role) -> anyhow::Result<Identity> {
    let listeners = sockets.of(role);
    let names: Vec<&str> = listeners.iter().map(|(name, _)| *name).collect();
    let (near, far) = UnixStream::pair()?;
    near.set_read_timeout(Some(EXECUTE_TIMEOUT))?;
    send(&near, listeners.iter().map(|(_, fd)| *fd))?;
    near.shutdown(std::net::Shutdown::Write)?;

    let account = match role.user() {
        Some(user) => accounts::find(user)?,
        None => Account {
            uid: Uid::from_raw(0),
            gid: Gid::from_raw(0),
        },
    };
    let mut command = Command::new(config.program_dir.join("paas"));
    command
        .arg(handover::COMMAND)
        .args(["--uid", &account.uid.to_string()])
        .args(["--gid", &account.gid.to_string()])
        .args(["--names", &names.join(":"), "--"])
        .arg(role.program(config))
        .args(role.arguments(config)?);
    let pid = spawn(command, far, logs::open(&config.data_dir, role.name())?)?;
    wait_for_execute(near).with_context(|| format!("cannot start {}", role.name()))?;
    Identity::of(pid)
}

fn send<'a>(
    socket: &UnixStream,
    listeners: impl Iterator<Item = BorrowedFd<'a>>,
) -> nix::Result<()> {
    let numbers: Vec<RawFd> = listeners.map(|fd| fd.as_raw_fd()).collect();
    let rights = ControlMessage::ScmRights(&numbers);
    let messages = if numbers.is_empty() {
        &[][..]
    } else {
        &[rights]
    };
    let byte = [IoSlice::new(b"!")];
    sendmsg::<()>(socket.as_raw_fd(), &byte, messages, MsgFlags::empty(), None).map(drop)
}

/// Its end is waited for by `Process::ended`, also by a supervisor after this one.
fn spawn(mut command: Command, stdin: UnixStream, log: Stdio) -> anyhow::Result<i32> {
    let kept = std::env::vars_os().filter(|(key, _)| ENVIRONMENT.iter().any(|name| key == name));
    let child = command
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("LANG", "C.UTF-8")
        .envs(kept)
        .current_dir("/")
        .stdin(OwnedFd::from(stdin))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    Ok(i32::try_from(child.id())?)
}

/// The other end closes when the program is executed; before that it may say what went wrong.
fn wait_for_execute(mut near: UnixStream) -> anyhow::Result<()> {
    let mut message = String::new();
    near.read_to_string(&mut message)
        .context("it did not execute in time")?;
    if !message.is_empty() {
        bail!("{message}");
    }
    Ok(())
}
