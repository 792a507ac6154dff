//! What the child tells the nursery about its way: steps with their times, or where it failed.
//!
//! One packet each over the channel: `step NAME US`, `fail STEP: REASON`, and `terminal` with the
//! terminal's outer side. The channel closes when the command runs.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::time::{ClockId, clock_gettime};

use crate::sys::socket;

/// Bytes of an error's text; it may quote the whole command.
const TEXT_MAX_BYTES: usize = 1024;

/// A step did not work.
#[derive(Debug)]
pub(crate) struct Fail {
    doing: String,
    source: io::Error,
}

/// Makes a [`Fail`] of an error, for `map_err`.
pub(crate) fn failed<E: Into<io::Error>>(doing: &str) -> impl FnOnce(E) -> Fail {
    let doing = doing.to_owned();
    move |error| Fail {
        doing,
        source: error.into(),
    }
}

/// A stopwatch over the steps of one process.
#[derive(Debug)]
pub(crate) struct Steps {
    since_ns: u64,
    done: Vec<(&'static str, u64)>,
}

/// The monotonic clock in nanoseconds, the same for all processes.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    let [seconds, nanoseconds] =
        [time.tv_sec(), time.tv_nsec()].map(|n| u64::try_from(n).expect("counts from the boot"));
    seconds * 1_000_000_000 + nanoseconds
}

/// What came over the channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Steps(Vec<(String, u32)>),
    Failed(String),
    Terminal,
}

impl Steps {
    /// Begins at a time of another process's [`now_ns`].
    pub(crate) const fn since(since_ns: u64) -> Self {
        Self {
            since_ns,
            done: Vec::new(),
        }
    }

    /// Ends a step.
    pub(crate) fn done(&mut self, name: &'static str) {
        let now = now_ns();
        self.done
            .push((name, now.saturating_sub(self.since_ns) / 1000));
        self.since_ns = now;
    }

    /// Tells the nursery all of them.
    pub(crate) fn tell(&self, channel: &OwnedFd) -> io::Result<()> {
        let lines: Vec<String> = self
            .done
            .iter()
            .map(|(n, us)| format!("step {n} {us}"))
            .collect();
        socket::send(channel.as_fd(), lines.join("\n").as_bytes(), &[])
    }
}

/// Tells the nursery why there is no command.
pub(crate) fn tell_failure(channel: &OwnedFd, fail: &Fail) {
    let mut text = format!("fail {}: {}", fail.doing, fail.source);
    text.truncate(text.floor_char_boundary(TEXT_MAX_BYTES));
    // Nobody is left to tell if this fails; the nursery sees the channel close.
    drop(socket::send(channel.as_fd(), text.as_bytes(), &[]));
}

/// Hands the terminal's outer side over.
pub(crate) fn tell_terminal(channel: &OwnedFd, outer: &OwnedFd) -> io::Result<()> {
    socket::send(channel.as_fd(), b"terminal", &[outer.as_fd()])
}

/// Reads what came over the channel; `None`: it closed.
pub(crate) fn hear(channel: BorrowedFd<'_>) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
    debug_assert!(channel.as_raw_fd() >= 0, "an open channel");
    let packet = socket::receive_word(channel)?;
    if packet.message.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&packet.message);
    Ok(Some((parse(&text), packet.fds)))
}

fn parse(text: &str) -> Word {
    if let Some(reason) = text.strip_prefix("fail ") {
        return Word::Failed(reason.to_owned());
    }
    if text == "terminal" {
        return Word::Terminal;
    }
    let step = |line: &str| {
        let (name, us) = line.strip_prefix("step ")?.split_once(' ')?;
        Some((name.to_owned(), us.parse().ok()?))
    };
    Word::Steps(text.lines().filter_map(step).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let steps = vec![("proc".to_owned(), 12), ("dev".to_owned(), 3)];
        assert_eq!(parse("step proc 12\nstep dev 3"), Word::Steps(steps));
        assert_eq!(parse("terminal"), Word::Terminal);
        assert_eq!(
            parse("fail mount /x: no"),
            Word::Failed("mount /x: no".to_owned())
        );
    }
}
