//! The forked child that becomes the command: it loses every power and runs.
//!
//! A cradle forks it ahead of any start. It loses at once what no command may have, then waits for
//! a command and for a root; it is the only process that reads the secrets. What fails is told over
//! the channel, which execve closes.

pub(crate) mod seccomp;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{OFlag, openat};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid};

use crate::plan::{self, Command};
use crate::spec::Secrets;
use crate::sys::{device, landlock, process, socket};
use crate::world::steps::{self, Fail, Steps, failed};

/// What a program without `/` is looked up in when its environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Files are first copied out of the way of those numbers that they get.
const OUT_OF_THE_WAY: RawFd = 64;

/// Capabilities that an image's root keeps inside: CHOWN, `DAC_OVERRIDE`, FOWNER, FSETID, KILL,
/// SETGID, SETUID, SETPCAP, `NET_BIND_SERVICE`, `SYS_CHROOT` (docs/sandbox.md).
const ROOT_KEEPS: u64 =
    1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18;

/// With whom it speaks.
#[derive(Debug)]
pub(crate) struct Lines {
    /// To the nursery: steps, or a failure.
    pub(crate) channel: OwnedFd,
    /// From the nursery: the command.
    pub(crate) command: OwnedFd,
    /// From the keeper: that the root is complete, and the terminal.
    pub(crate) go: OwnedFd,
}

/// Waits for the command and becomes it. Never returns.
pub(crate) fn run(user_ns: &OwnedFd, lines: &Lines) -> ! {
    // Above all numbers that the command's files get.
    let above = |fd: &OwnedFd| process::copy_above(fd.as_fd(), OUT_OF_THE_WAY);
    let Ok(channel) = above(&lines.channel) else {
        process::exit(127);
    };
    let outcome = settle()
        .and_then(|()| above(&lines.go).map_err(failed("copy a line")))
        .and_then(|go| become_command(user_ns, &lines.command, &go, &channel));
    if let Err(fail) = outcome {
        steps::tell_failure(&channel, &fail);
    }
    process::exit(127)
}

/// What needs no command.
fn settle() -> Result<(), Fail> {
    nix::unistd::setsid().map_err(failed("start a session"))?;
    limit_resources().map_err(failed("set resource limits"))
}

/// Returns without an error when the nursery has no use for this cradle any more.
fn become_command(
    user_ns: &OwnedFd,
    line: &OwnedFd,
    go: &OwnedFd,
    channel: &OwnedFd,
) -> Result<(), Fail> {
    let command = plan::receive(line.as_fd()).map_err(failed("read the command"))?;
    let Some(command) = command else {
        return Ok(());
    };
    let Command {
        argv,
        cwd,
        uid,
        gid,
        net_ns,
        secrets,
        files,
        files_to,
    } = command;
    lose_powers(net_ns, user_ns)?;
    let secrets = read_secrets(secrets).map_err(failed("read the secrets"))?;
    let env = environment(&secrets.env).map_err(failed("make the environment"))?;
    let argv = strings(&argv).map_err(failed("read the arguments"))?;
    let path = secrets.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let programs = programs(&argv, path).map_err(failed("find the program"))?;
    become_user(uid, gid).map_err(failed("become the inside user"))?;
    let Some((went_ns, terminal)) = wait_for_world(go).map_err(failed("wait for the root"))? else {
        return Ok(());
    };
    let mut steps = Steps::since(went_ns);
    if let Some(to) = files_to {
        write_files(&to, &secrets.files).map_err(failed("write the secret files"))?;
    }
    let files = match terminal.as_ref() {
        Some(inner) => {
            device::take_terminal(inner.as_fd()).map_err(failed("take the terminal"))?;
            three_times(inner).map_err(failed("copy the terminal"))?
        }
        None => files,
    };
    hand_over(files).map_err(failed("hand over the files"))?;
    nix::unistd::chdir(cwd.as_str()).map_err(failed(&format!("change to {cwd}")))?;
    process::default_signals().map_err(failed("reset signals"))?;
    steps.done("go");
    steps
        .tell(channel)
        .map_err(failed("report to the nursery"))?;
    let name = argv.first().map(|n| n.to_string_lossy().into_owned());
    let error = execute(&programs, &argv, &env);
    Err(failed(&format!("run {}", name.unwrap_or_default()))(error))
}

/// Afterwards this process has power in its user namespace alone, and can make fewer system calls.
fn lose_powers(net_ns: Option<OwnedFd>, user_ns: &OwnedFd) -> Result<(), Fail> {
    if let Some(ns) = net_ns {
        setns(ns, CloneFlags::CLONE_NEWNET).map_err(failed("enter the network"))?;
    }
    setns(user_ns, CloneFlags::CLONE_NEWUSER).map_err(failed("enter the user namespace"))?;
    nix::unistd::setgroups(&[]).map_err(failed("leave all groups"))?;
    nix::sys::prctl::set_no_new_privs().map_err(failed("set no_new_privs"))?;
    if landlock::has_scopes() {
        landlock::scope().map_err(failed("narrow the scope"))?;
    }
    process::filter(&seccomp::app()).map_err(failed("install the system call filter"))
}

/// The keeper's word that the root is complete: when it said so, and the terminal if there is one.
/// `None`: it died.
fn wait_for_world(go: &OwnedFd) -> io::Result<Option<(u64, Option<OwnedFd>)>> {
    let word = socket::receive_word(go.as_fd())?;
    let went_ns = word
        .message
        .first_chunk()
        .map(|bytes| u64::from_ne_bytes(*bytes));
    Ok(went_ns.map(|ns| (ns, word.fds.into_iter().next())))
}

fn read_secrets(sealed: OwnedFd) -> io::Result<Secrets> {
    let sealed = File::from(sealed);
    let size = sealed
        .metadata()?
        .len()
        .min(model::limits::SANDBOX_SECRETS_MAX_BYTES);
    let mut content = vec![0; usize::try_from(size).map_err(|_| io::ErrorKind::InvalidData)?];
    // The client wrote it through this very open file, so its position is at the end.
    sealed.read_exact_at(&mut content, 0)?;
    let secrets: Secrets = serde_json::from_slice(&content)?;
    secrets.check().map_err(io::Error::other)?;
    Ok(secrets)
}

/// Into a folder that belongs to this user already; afterwards it can only be read.
fn write_files(to: &str, files: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    let folder = File::open(to)?;
    for (name, content) in files {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o400);
        let mut file = File::from(openat(&folder, name.as_str(), flags, mode)?);
        file.write_all(content)?;
    }
    Ok(fchmod(&folder, Mode::from_bits_truncate(0o500))?)
}

fn three_times(inner: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    (0..3).map(|_| inner.try_clone()).collect()
}

/// Puts the files at 0, 1, 2, …; all others close with execve.
fn hand_over(files: Vec<OwnedFd>) -> io::Result<()> {
    let mut copies = Vec::new();
    for file in &files {
        copies.push(process::copy_above(file.as_fd(), OUT_OF_THE_WAY)?);
    }
    // Their numbers may be among those that are taken now; nobody but the command uses them again.
    std::mem::forget(files);
    for (number, copy) in (0..).zip(&copies) {
        process::place(copy.as_fd(), number)?;
    }
    let count = RawFd::try_from(copies.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    process::close_on_execute(count)
}

/// docs/sandbox.md. The cgroup counts processes, so NPROC, which counts per user, stays open.
fn limit_resources() -> nix::Result<()> {
    for (resource, soft, hard) in [
        (Resource::RLIMIT_NOFILE, 10_000, 10_000),
        (Resource::RLIMIT_CORE, 0, 0),
        (Resource::RLIMIT_MEMLOCK, 8 << 20, 8 << 20),
        (Resource::RLIMIT_STACK, 8 << 20, libc::RLIM_INFINITY),
        (
            Resource::RLIMIT_NPROC,
            libc::RLIM_INFINITY,
            libc::RLIM_INFINITY,
        ),
        (Resource::RLIMIT_MSGQUEUE, 819_200, 819_200),
        (Resource::RLIMIT_SIGPENDING, 4_096, 4_096),
        (Resource::RLIMIT_NICE, 0, 0),
        (Resource::RLIMIT_RTPRIO, 0, 0),
    ] {
        // A root without CAP_SYS_RESOURCE cannot raise what it was given.
        let (_, most) = getrlimit(resource)?;
        setrlimit(resource, soft.min(most), hard.min(most))?;
    }
    Ok(())
}

/// Inside the user namespace, where this process has every capability and is nobody: becomes the
/// user, and keeps what an image's root may have, or nothing.
fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let keeps = if uid == 0 { ROOT_KEEPS } else { 0 };
    drop_bounding(keeps)?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)?;
    process::clear_ambient()?;
    process::set_capabilities(keeps, keeps)
}

/// Leaves these capabilities to whatever runs later.
fn drop_bounding(keeps: u64) -> io::Result<()> {
    let mut capability = 0;
    loop {
        let is_kept = keeps >> capability & 1 == 1;
        if !is_kept && !process::drop_bounding(capability)? {
            return Ok(());
        }
        capability += 1;
    }
}

fn strings(texts: &[String]) -> io::Result<Vec<CString>> {
    texts
        .iter()
        .map(|text| Ok(CString::new(text.as_str())?))
        .collect()
}

fn environment(env: &BTreeMap<String, String>) -> io::Result<Vec<CString>> {
    env.iter()
        .map(|(name, value)| Ok(CString::new(format!("{name}={value}"))?))
        .collect()
}

/// The files that the program may be, in the order of PATH, as execvp(3) tries them.
fn programs(argv: &[CString], path: &str) -> io::Result<Vec<CString>> {
    let program = argv.first().ok_or(io::ErrorKind::InvalidInput)?;
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![program.clone()]);
    }
    let folders = path.split(':').filter(|folder| folder.starts_with('/'));
    folders
        .map(|folder| {
            let file = [folder.as_bytes(), b"/", program.as_bytes()].concat();
            Ok(CString::new(file)?)
        })
        .collect()
}

fn execute(programs: &[CString], argv: &[CString], env: &[CString]) -> io::Error {
    let mut reason = io::Error::from_raw_os_error(libc::ENOENT);
    for program in programs {
        let error = process::execute(program, argv, env);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => reason = error,
            _ => return error,
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_up_programs() {
        let argv = |name: &str| vec![CString::new(name).unwrap()];
        let found = programs(&argv("sh"), "/a:rel::/b").unwrap();
        assert_eq!(found, [c"/a/sh".to_owned(), c"/b/sh".to_owned()]);
        assert_eq!(programs(&argv("./x"), "/a").unwrap(), [c"./x".to_owned()]);
    }

    #[test]
    fn root_keeps_ten_capabilities() {
        assert_eq!(ROOT_KEEPS.count_ones(), 10);
    }
}
