//! A dyno's run folder, `<run>/dynos/<slot>/`: what dynod reads, and finds again after a restart.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use serde::{Deserialize, Serialize};

use super::Trouble;
use super::home::Home;
use crate::spec::{Network, Spec};

/// Bytes that a dyno's FIFO holds (docs/sandbox.md).
const FIFO_BYTES: i32 = 1024 * 1024;

/// A new dyno's folder; removed when dropped, unless the dyno started.
#[derive(Debug)]
pub(super) struct Folder {
    at: PathBuf,
    is_kept: bool,
}

/// What the file `network` holds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Networked {
    pub(super) network: Network,
    pub(super) watch_port: Option<u16>,
}

impl Networked {
    pub(super) const fn of(spec: &Spec) -> Self {
        Self {
            network: spec.network,
            watch_port: spec.watch_port,
        }
    }
}

/// The open ends of its FIFO, and its status file.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) status: File,
    pub(super) fifo: OwnedFd,
    /// For the command's 1 and 2.
    pub(super) write: [OwnedFd; 2],
}

/// Where the folder of a slot is.
pub(super) fn path(home: &Home, slot: u16) -> PathBuf {
    home.run.join("dynos").join(slot.to_string())
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = remove(&self.at)
        {
            super::say(&format!("remove {}: {error}", self.at.display()));
        }
    }
}

impl Folder {
    /// Makes it with everything but `pid`. `owner`: the host's id of the command's user.
    pub(super) fn make(
        home: &Home,
        slot: u16,
        spec: &Spec,
        owner: u32,
    ) -> Result<(Self, Ends), Trouble> {
        let at = path(home, slot);
        match DirBuilder::new().mode(0o750).create(&at) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Trouble::exists(&format!("dyno-{slot}")));
            }
            other => other.map_err(Trouble::failed("make the dyno's folder"))?,
        }
        let folder = Self { at, is_kept: false };
        let ends = folder.fill(home, spec, owner);
        let ends = ends.map_err(Trouble::failed::<io::Error>("fill the dyno's folder"))?;
        Ok((folder, ends))
    }

    fn fill(&self, home: &Home, spec: &Spec, owner: u32) -> io::Result<Ends> {
        let group = Some(home.group.as_raw());
        chown(&self.at, None, group)?;
        self.write(home, "spec", &spec.note)?;
        let network = serde_json::to_string(&Networked::of(spec))?;
        self.write(home, "network", &network)?;
        let status = self.at.join("status");
        let status_file = File::options()
            .append(true)
            .create_new(true)
            .mode(0o640)
            .open(&status)?;
        chown(&status, None, group)?;
        let out = self.at.join("out");
        mkfifo(&out, Mode::from_bits_truncate(0o640))?;
        // The command owns it, so that it can open /dev/stdout again.
        chown(&out, Some(owner), group)?;
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fifo = open(&out, flags, Mode::empty())?;
        fcntl(&fifo, FcntlArg::F_SETPIPE_SZ(FIFO_BYTES))?;
        let write = open(&out, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let write = [write.try_clone()?, write];
        Ok(Ends {
            status: status_file,
            fifo,
            write,
        })
    }

    fn write(&self, home: &Home, name: &str, text: &str) -> io::Result<()> {
        write(home, &self.at.join(name), text)
    }

    /// Writes `pid`, by which a later nursery knows the dyno.
    pub(super) fn tell_pid(&self, home: &Home, pid: i32, start_time: u64) -> io::Result<()> {
        self.write(home, "pid", &format!("{pid} {start_time}\n"))
    }

    /// From now on, only [`remove`] removes it.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }
}

fn write(home: &Home, path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    chown(path, None, Some(home.group.as_raw()))
}

/// Keeps what each step of a start took: lines `NAME US` in the file `start`.
pub(super) fn tell_steps(home: &Home, slot: u16, steps: &[(String, u32)]) -> io::Result<()> {
    let lines: Vec<String> = steps.iter().map(|(n, us)| format!("{n} {us}\n")).collect();
    write(home, &path(home, slot).join("start"), &lines.concat())
}

/// Reads what [`tell_steps`] kept, and adds how long the app then took to listen on its PORT.
pub(super) fn steps(home: &Home, slot: u16) -> io::Result<Vec<(String, u32)>> {
    let at = path(home, slot);
    let text = fs::read_to_string(at.join("start"))?;
    let step = |line: &str| {
        let (name, us) = line.split_once(' ')?;
        Some((name.to_owned(), us.parse().ok()?))
    };
    let mut steps: Vec<_> = text.lines().filter_map(step).collect();
    let boot = boot_us(&fs::read_to_string(at.join("status"))?);
    steps.extend(boot.map(|us| ("boot".to_owned(), us)));
    Ok(steps)
}

/// Microseconds between `started` and `up` in a status file.
fn boot_us(status: &str) -> Option<u32> {
    let at = |word: &str| {
        let mut lines = status.lines().map(|line| line.split(' '));
        let us = lines.find_map(|mut l| (l.next() == Some(word)).then(|| l.next())?)?;
        us.parse::<u64>().ok()
    };
    u32::try_from(at("up")?.checked_sub(at("started")?)?).ok()
}

/// Where a dyno has listened so far: its status' last word about it.
pub(super) fn listening(status: &str) -> Vec<SocketAddr> {
    let mut told = status.lines().filter_map(|l| l.strip_prefix("listening "));
    let last = told.next_back().and_then(|rest| rest.split(' ').next());
    let all = last.unwrap_or_default().split(',');
    all.filter_map(|address| address.parse().ok()).collect()
}

/// Which network a dyno was started with. One without the file is from a version that knew only
/// networks of its own, whose port the keeper watches.
pub(super) fn networked(at: &Path) -> io::Result<Networked> {
    match fs::read_to_string(at.join("network")) {
        Ok(text) => Ok(serde_json::from_str(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Networked {
            network: Network::None,
            watch_port: None,
        }),
        Err(error) => Err(error),
    }
}

/// Removes a folder; one that is not there is fine.
pub(super) fn remove(at: &Path) -> io::Result<()> {
    match fs::remove_dir_all(at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The process that a folder's `pid` names, if it still is that one.
pub(super) fn living(at: &Path) -> Option<(i32, u64)> {
    let text = fs::read_to_string(at.join("pid")).ok()?;
    let (pid, start_time) = text.trim().split_once(' ')?;
    let (pid, start_time) = (pid.parse().ok()?, start_time.parse().ok()?);
    (self::start_time(pid) == Some(start_time)).then_some((pid, start_time))
}

/// When a process started, in clock ticks since boot; `None`: it is gone, or a zombie.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start_time(&stat)
}

/// Field 22 of `/proc/PID/stat` (`proc_pid_stat(5)`); the name, field 2, may hold anything.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_start_times() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(own).is_some());
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_start_time(stat), Some(4711));
        assert_eq!(parse_start_time("7 (a) Z 1"), None);
        assert_eq!(parse_start_time(""), None);
    }

    #[test]
    fn the_boot_ends_when_the_dyno_is_up() {
        let check = |status: &str, wanted| assert_eq!(boot_us(status), wanted, "{status}");
        check("started 100\nlistening [::]:5000 140\nup 150\n", Some(50));
        check("started 100\nlistening [::]:1 140\n", None);
        check("", None);
        check("started x\nup 1\n", None);
    }
}
