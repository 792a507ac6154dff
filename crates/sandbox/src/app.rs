//! The last steps of the forked child that becomes the command: it loses every power and runs.
//!
//! It is the only process that reads the secrets. What fails is told over the channel, which
//! execve closes.

pub(crate) mod seccomp;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::fcntl::{OFlag, openat};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchown};

use crate::plan::Command;
use crate::spec::Secrets;
use crate::sys::{device, process};
use crate::world::steps::{self, Fail, Steps, failed};

/// What a program without `/` is looked up in when its environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Files are first copied out of the way of those numbers that they get.
const OUT_OF_THE_WAY: RawFd = 64;

/// Capabilities that an image's root keeps inside: CHOWN, `DAC_OVERRIDE`, FOWNER, FSETID, KILL,
/// SETGID, SETUID, SETPCAP, `NET_BIND_SERVICE`, `SYS_CHROOT` (docs/sandbox.md).
const ROOT_KEEPS: u64 =
    1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18;

/// Becomes the command. Never returns.
pub(crate) fn run(
    command: Command,
    files: Option<OwnedFd>,
    terminal: Option<&OwnedFd>,
    channel: &OwnedFd,
    mut steps: Steps,
) -> ! {
    // Above all numbers that the command's files get.
    let Ok(channel) = process::copy_above(channel.as_fd(), OUT_OF_THE_WAY) else {
        process::exit(127);
    };
    let Err(fail) = become_command(command, files, terminal, &channel, &mut steps);
    steps::tell_failure(&channel, &fail);
    process::exit(127)
}

fn become_command(
    command: Command,
    files: Option<OwnedFd>,
    terminal: Option<&OwnedFd>,
    channel: &OwnedFd,
    steps: &mut Steps,
) -> Result<std::convert::Infallible, Fail> {
    let secrets = read_secrets(&command.secrets).map_err(failed("read the secrets"))?;
    let (uid, gid) = (command.base + command.uid, command.base + command.gid);
    if let Some(folder) = files {
        write_files(&folder, &secrets.files, uid, gid).map_err(failed("write the secret files"))?;
    }
    std::fs::write("/proc/self/oom_score_adj", "0")
        .map_err(failed("leave the keeper's protection"))?;
    nix::unistd::setsid().map_err(failed("start a session"))?;
    if let Some(inner) = terminal {
        fchown(inner, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(failed("give the terminal away"))?;
        device::take_terminal(inner.as_fd()).map_err(failed("take the terminal"))?;
    }
    limit_resources().map_err(failed("set resource limits"))?;
    setns(&command.user_ns, CloneFlags::CLONE_NEWUSER)
        .map_err(failed("enter the user namespace"))?;
    drop(command.user_ns);
    drop(command.secrets);
    let files = match terminal {
        Some(inner) => three_times(inner).map_err(failed("copy the terminal"))?,
        None => command.files,
    };
    hand_over(files).map_err(failed("hand over the files"))?;
    become_user(command.uid, command.gid).map_err(failed("become the inside user"))?;
    nix::unistd::chdir(command.cwd.as_c_str()).map_err(failed(&format!(
        "change to {}",
        command.cwd.to_string_lossy()
    )))?;
    let env = environment(&secrets.env).map_err(failed("make the environment"))?;
    let path = secrets.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let programs = programs(&command.argv, path).map_err(failed("find the program"))?;
    steps.done("identity");
    steps
        .tell(channel)
        .map_err(failed("report to the nursery"))?;
    process::default_signals().map_err(failed("reset signals"))?;
    process::filter(&seccomp::app()).map_err(failed("install the system call filter"))?;
    let name = command
        .argv
        .first()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    Err(failed(&format!("run {name}"))(execute(
        &programs,
        &command.argv,
        &env,
    )))
}

fn read_secrets(sealed: &OwnedFd) -> io::Result<Secrets> {
    let mut content = Vec::new();
    // The client wrote it through this very open file, so its position is at the end.
    let path = format!("/proc/self/fd/{}", sealed.as_raw_fd());
    let file = File::open(path)?;
    file.take(model::limits::SANDBOX_SECRETS_MAX_BYTES)
        .read_to_end(&mut content)?;
    let secrets: Secrets = serde_json::from_slice(&content)?;
    secrets.check().map_err(io::Error::other)?;
    Ok(secrets)
}

fn write_files(
    folder: &OwnedFd,
    files: &BTreeMap<String, Vec<u8>>,
    uid: u32,
    gid: u32,
) -> io::Result<()> {
    let give = |fd: &File| fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    for (name, content) in files {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let fd = openat(
            folder,
            name.as_str(),
            flags,
            Mode::from_bits_truncate(0o400),
        )?;
        let mut file = File::from(fd);
        file.write_all(content)?;
        give(&file)?;
    }
    let folder = File::from(openat(
        folder,
        ".",
        OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?);
    fchmod(&folder, Mode::from_bits_truncate(0o500))?;
    give(&folder)?;
    Ok(())
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
    let mut capability = 0;
    loop {
        let is_kept = keeps >> capability & 1 == 1;
        if !is_kept && !process::drop_bounding(capability)? {
            break;
        }
        capability += 1;
    }
    nix::unistd::setgroups(&[])?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)?;
    process::clear_ambient()?;
    process::set_capabilities(keeps, keeps)?;
    nix::sys::prctl::set_no_new_privs()?;
    Ok(())
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
