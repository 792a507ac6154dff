//! Coming back after others have flushed our rules: `nft flush ruleset`, `iptables -F`, a restart
//! of Docker or of nftables.service.
//!
//! The kernel tells every change of its tables to a netlink group (`NFNLGRP_NFTABLES`). A change
//! that may have cost us a rule wakes a helper process a moment later, which compares what is
//! loaded with what was, and loads it again if need be. Nobody looks without a change, and a fight
//! with a tool that keeps removing our rules slows down (`net::pace`).
//!
//! The nursery polls [`Host::rules_fd`] and calls [`Host::on_rules_changed`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::time::TimeSpec;
use nix::sys::timer::Expiration;
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::pace::{Looked, Pace, Step};
use super::tables::{self, Fingerprint};
use super::{Host, NetworkError, firewall, kernel};
use crate::sys::netlink::Changes;
use crate::sys::{helper, socket};

/// What the nursery needs to notice and to restore.
#[derive(Debug)]
pub(super) struct Watch {
    /// One descriptor for the three below.
    epoll: Epoll,
    changes: Changes,
    timer: TimerFd,
    helper: Option<Helper>,
    pace: Pace,
    /// Of the rules that shall be there.
    wanted: Fingerprint,
}

/// A process that looks, and restores if need be.
#[derive(Debug)]
struct Helper {
    pid: Pid,
    socket: OwnedFd,
}

/// The helper's only word.
#[derive(Debug, Serialize, Deserialize)]
struct Word {
    has_restored: bool,
    loaded: Fingerprint,
    error: Option<String>,
}

const CHANGES: u64 = 0;
const TIMER: u64 = 1;
const HELPER: u64 = 2;

impl Watch {
    /// Begins to listen. What changes from now on is noticed, so it comes before the first look.
    pub(super) fn begin() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let changes = Changes::listen()?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        epoll.add(&changes, EpollEvent::new(EpollFlags::EPOLLIN, CHANGES))?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        Ok(Self {
            epoll,
            changes,
            timer,
            helper: None,
            pace: Pace::default(),
            wanted: Fingerprint::default(),
        })
    }

    fn arm(&self, step: Option<Step>) -> io::Result<()> {
        let Some(Step::Wait(time)) = step else {
            return Ok(());
        };
        let once = Expiration::OneShot(TimeSpec::from_duration(time));
        Ok(self.timer.set(once, TimerSetTimeFlags::empty())?)
    }
}

impl Host {
    /// What to poll for reading: then call [`Self::on_rules_changed`].
    pub fn rules_fd(&self) -> BorrowedFd<'_> {
        self.watch.epoll.0.as_fd()
    }

    /// Does what is next after a change of the machine's rules, without waiting (0.2 ms when it
    /// forks a helper). A line for the log when rules of ours had to be restored.
    pub fn on_rules_changed(&mut self) -> Result<Option<String>, NetworkError> {
        let mut events = [EpollEvent::empty(); 3];
        let ready = self.watch.epoll.wait(&mut events, EpollTimeout::ZERO);
        let ready = ready.map_err(io::Error::from);
        let ready = ready.map_err(kernel("look for changed rules"))?;
        let mut said = Ok(None);
        for event in events.iter().take(ready) {
            let step = match event.data() {
                CHANGES => self.hear()?,
                TIMER => match self.look() {
                    Ok(()) => None,
                    // No process to be had: try again, as after a look that failed.
                    Err(error) => {
                        said = Err(error);
                        self.watch.pace.looked(Looked::Failed, Instant::now())
                    }
                },
                _ => {
                    let (step, word) = self.looked();
                    said = word;
                    step
                }
            };
            self.watch.arm(step).map_err(kernel("set a timer"))?;
        }
        said
    }

    /// Remembers what was loaded, as what shall be there.
    pub(super) fn remember_rules(&mut self) -> Result<(), NetworkError> {
        let loaded = tables::fingerprint(&self.name).map_err(kernel("read rules back"))?;
        self.watch.wanted = loaded;
        Ok(())
    }

    fn hear(&mut self) -> Result<Option<Step>, NetworkError> {
        let name = &self.name;
        let touched = self
            .watch
            .changes
            .any(|change| tables::touches(name, change));
        let is_touched = touched.map_err(kernel("hear of changed rules"))?;
        Ok(is_touched
            .then(|| self.watch.pace.touched(Instant::now()))
            .flatten())
    }

    fn look(&mut self) -> Result<(), NetworkError> {
        self.watch.pace.looking();
        self.watch
            .timer
            .wait()
            .map_err(io::Error::from)
            .map_err(kernel("read a timer"))?;
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(io::Error::from)
        .map_err(kernel("make a socket pair"))?;
        let pid = helper::fork(theirs.as_fd(), || self.restore(theirs.as_fd()))
            .map_err(kernel("fork a helper"))?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, HELPER);
        let watched = self.watch.epoll.add(&ours, event).map_err(io::Error::from);
        watched.map_err(kernel("wait for a helper"))?;
        self.watch.helper = Some(Helper { pid, socket: ours });
        Ok(())
    }

    /// The helper's whole life. Nobody listens any more when the send fails.
    fn restore(&self, to: BorrowedFd<'_>) {
        let word = self.look_and_restore().unwrap_or_else(|error| Word {
            has_restored: false,
            loaded: self.watch.wanted,
            error: Some(error.chain()),
        });
        let word = serde_json::to_vec(&word).expect("plain data");
        drop(socket::send(to, &word, &[]));
    }

    fn look_and_restore(&self) -> Result<Word, NetworkError> {
        let look = || tables::fingerprint(&self.name).map_err(kernel("read rules back"));
        let is_whole = look()? == self.watch.wanted;
        if !is_whole {
            self.load_tables()?;
        }
        let has_passed = firewall::let_pass(&self.name)?;
        Ok(Word {
            has_restored: !is_whole || has_passed,
            loaded: look()?,
            error: None,
        })
    }

    fn looked(&mut self) -> (Option<Step>, Result<Option<String>, NetworkError>) {
        let Some(helper) = self.watch.helper.take() else {
            return (None, Ok(None));
        };
        let word = socket::receive(helper.socket.as_fd()).ok();
        let word = word.and_then(|packet| serde_json::from_slice::<Word>(&packet.message).ok());
        // Closing takes it out of the epoll. Somebody else may have reaped the process.
        drop(helper.socket);
        while waitpid(helper.pid, None) == Err(nix::Error::EINTR) {}
        let (looked, said) = match word {
            None => (
                Looked::Failed,
                Err(NetworkError::Helper("it died".to_owned())),
            ),
            Some(Word {
                error: Some(error), ..
            }) => (Looked::Failed, Err(NetworkError::Helper(error))),
            Some(word) if word.has_restored => {
                self.watch.wanted = word.loaded;
                (Looked::Restored, Ok(Some(RESTORED.to_owned())))
            }
            Some(_) => (Looked::Whole, Ok(None)),
        };
        (self.watch.pace.looked(looked, Instant::now()), said)
    }
}

const RESTORED: &str = "somebody removed rules of ours (nft flush ruleset, iptables -F, a restart \
                        of Docker or nftables?): they are back";
