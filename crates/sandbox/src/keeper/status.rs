//! What a keeper tells: lines in a dyno's file `status`, or in a job's exit pipe.

use std::fs::File;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::wait::WaitStatus;

/// Where the lines go.
#[derive(Debug)]
pub(crate) enum Status {
    /// `WORD ARGS UNIX_US`, kept until the dyno is removed.
    Dyno(File),
    /// `oom`, `exit N`, `signal N`, read by the client.
    Job(File),
}

impl Status {
    /// Tells how far the dyno is. Jobs tell only how they end.
    pub(crate) fn say(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Dyno(file) => file.write_all(stamped(text).as_bytes()),
            Self::Job(_) => Ok(()),
        }
    }

    /// Tells how it ended, and makes that safe.
    pub(crate) fn end(&mut self, ended: WaitStatus, is_oom: bool) -> io::Result<()> {
        let last = end_text(ended);
        match self {
            Self::Dyno(file) => {
                if is_oom {
                    file.write_all(stamped("oom").as_bytes())?;
                }
                file.write_all(stamped(&last).as_bytes())?;
                file.sync_all()
            }
            Self::Job(pipe) => {
                let oom = if is_oom { "oom\n" } else { "" };
                pipe.write_all(format!("{oom}{last}\n").as_bytes())
            }
        }
    }
}

fn end_text(ended: WaitStatus) -> String {
    match ended {
        WaitStatus::Exited(_, code) => format!("exit {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("signal {}", signal as i32),
        other => format!("exit 255 {other:?}"),
    }
}

/// A line of a dyno's status, with the time.
pub(crate) fn stamped(text: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_micros());
    format!("{text} {now}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;
    use nix::unistd::Pid;

    #[test]
    fn says_how_it_ended() {
        let pid = Pid::from_raw(2);
        assert_eq!(end_text(WaitStatus::Exited(pid, 3)), "exit 3");
        assert_eq!(
            end_text(WaitStatus::Signaled(pid, Signal::SIGKILL, false)),
            "signal 9"
        );
        let line = stamped("up");
        assert!(line.starts_with("up 1") && line.ends_with('\n'), "{line}");
    }
}
