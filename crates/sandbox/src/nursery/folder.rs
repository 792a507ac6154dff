//! A dyno's run folder, `<run>/dynos/<slot>/`: what dynod reads, and finds again after a restart.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::Trouble;
use super::home::Home;

/// Bytes that a dyno's FIFO holds (docs/sandbox.md).
const FIFO_BYTES: i32 = 1024 * 1024;

/// A new dyno's folder; removed when dropped, unless the dyno started.
#[derive(Debug)]
pub(super) struct Folder {
    at: PathBuf,
    is_kept: bool,
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
        note: &str,
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
        let ends = folder.fill(home, note, owner);
        let ends = ends.map_err(Trouble::failed::<io::Error>("fill the dyno's folder"))?;
        Ok((folder, ends))
    }

    fn fill(&self, home: &Home, note: &str, owner: u32) -> io::Result<Ends> {
        let group = Some(home.group.as_raw());
        chown(&self.at, None, group)?;
        self.write(home, "spec", note)?;
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
        let path = self.at.join(name);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(&path)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        chown(&path, None, Some(home.group.as_raw()))
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
}
