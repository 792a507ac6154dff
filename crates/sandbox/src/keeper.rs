//! Pid 1 of a sandbox: reaps, forwards signals, tells what happens, and ends last.
//!
//! A fork of the nursery that never executes anything, so that it costs a few pages. It has a user
//! of its own whom nobody inside can signal or trace, one capability, and few system calls.

pub(crate) mod listeners;
pub(crate) mod output;
pub(crate) mod status;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};

use crate::app::seccomp;
use crate::cgroup::{MemoryWatch, oom_kills};
use crate::sys::process;
use listeners::Listeners;
use output::Output;
use status::Status;

/// How often ports are looked at until the dyno is up (issue: 5 ms), and afterwards.
const PORTS_BOOTING: Duration = Duration::from_millis(5);
const PORTS_UP: Duration = Duration::from_secs(2);
/// How often the memory counter is looked at after an event, and for how long.
const MEMORY_LOOK: Duration = Duration::from_millis(2);
const MEMORY_LOOKS: u32 = 500;
/// How long the end waits for somebody to read the rest of the output. Ours: longer than any
/// restart of dynod.
const LAST_WORDS: Duration = Duration::from_hours(1);
/// How often it looks whether that happened, should an event be lost.
const LAST_WORDS_LOOK_MS: u16 = 5_000;
const CAP_KILL: u64 = 1 << 5;

/// What a keeper keeps.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The command's process id inside.
    pub(crate) app: i32,
    pub(crate) status: Status,
    pub(crate) output: Option<Output>,
    pub(crate) lifeline: Option<OwnedFd>,
    pub(crate) memory: MemoryWatch,
    pub(crate) watched: Option<(Listeners, u16)>,
    pub(crate) signals: SignalFd,
}

/// All signals, which are blocked, as something to wait for.
pub(crate) fn signals() -> io::Result<SignalFd> {
    Ok(SignalFd::with_flags(
        &SigSet::all(),
        SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
    )?)
}

/// The signal by which the nursery asks for one to be forwarded; its value is the signal's number.
pub(crate) fn forward_signal() -> i32 {
    libc::SIGRTMIN() + 3
}

/// Becomes the keeper's own user, with the one power to signal, and the keeper's few system calls.
pub(crate) fn give_up_powers(id: u32) -> io::Result<()> {
    nix::sys::prctl::set_keepcaps(true)?;
    nix::unistd::setgroups(&[])?;
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)?;
    process::set_capabilities(CAP_KILL, CAP_KILL)?;
    nix::sys::prctl::set_no_new_privs()?;
    process::filter(&seccomp::keeper())
}

/// Keeps until everything has ended. After an error the sandbox dies with its keeper.
pub(crate) fn run(kept: Kept) {
    let app = Pid::from_raw(kept.app);
    let Ok(mut keeper) = Keeper::new(kept) else {
        return;
    };
    let outcome = keeper.watch(app);
    kill_all();
    match outcome {
        Ok(Some(ended)) => drop(keeper.tell_end(ended)),
        Ok(None) => {}
        Err(error) => {
            let text = error.to_string().replace('\n', " ");
            drop(keeper.status.say(&format!("failed {text}")));
        }
    }
}

#[derive(Debug)]
struct Keeper {
    status: Status,
    output: Option<Output>,
    lifeline: Option<OwnedFd>,
    memory: Memory,
    ports: Option<Ports>,
    signals: SignalFd,
}

#[derive(Debug)]
struct Memory {
    watch: MemoryWatch,
    kills: u64,
    looks_left: u32,
}

#[derive(Debug)]
struct Ports {
    listeners: Listeners,
    port: u16,
    seen: Vec<SocketAddr>,
    is_up: bool,
}

impl Keeper {
    fn new(kept: Kept) -> io::Result<Self> {
        let kills = read_kills(&kept.memory)?;
        Ok(Self {
            status: kept.status,
            output: kept.output,
            lifeline: kept.lifeline,
            memory: Memory {
                watch: kept.memory,
                kills,
                looks_left: 0,
            },
            ports: kept.watched.map(|(listeners, port)| Ports {
                listeners,
                port,
                seen: Vec::new(),
                is_up: false,
            }),
            signals: kept.signals,
        })
    }

    /// Until the command ends, memory runs out, or the lifeline closes (then there is no end to
    /// tell).
    fn watch(&mut self, app: Pid) -> io::Result<Option<WaitStatus>> {
        // None: not before the next write.
        let mut next_output = Some(Instant::now());
        let mut next_ports = Instant::now();
        loop {
            if let Some(ended) = reap(app)? {
                return Ok(Some(ended));
            }
            let now = Instant::now();
            let is_due = next_output.is_some_and(|at| now >= at);
            if let Some(output) = self.output.as_mut().filter(|_| is_due) {
                next_output = output.relieve()?.map(|pause| now + pause);
                self.tell_lost_lines()?;
            }
            if let Some(ports) = self.ports.as_mut().filter(|_| now >= next_ports) {
                next_ports = now + ports.look(&mut self.status)?;
            }
            if self.memory.has_killed()? {
                return Ok(Some(WaitStatus::Signaled(app, Signal::SIGKILL, false)));
            }
            let mut wait = self.memory.pause();
            let ports = self.ports.as_ref().map(|_| next_ports);
            let output = next_output.filter(|_| self.output.is_some());
            for at in ports.into_iter().chain(output) {
                let left = at.saturating_duration_since(Instant::now());
                wait = Some(wait.map_or(left, |w| w.min(left)));
            }
            match self.wait(wait, next_output.is_none())? {
                Woken::Lifeline => return Ok(None),
                Woken::Write => next_output = Some(Instant::now()),
                Woken::Other => {}
            }
        }
    }

    fn wait(&mut self, at_most: Option<Duration>, for_writes: bool) -> io::Result<Woken> {
        // Rounded up, so that a deadline is over when it is looked at.
        let at_most = at_most
            .map(|d| d.as_millis() + 1)
            .and_then(|ms| u16::try_from(ms).ok());
        let timeout = at_most.map_or(PollTimeout::NONE, PollTimeout::from);
        let memory = match &self.memory.watch.event {
            Some(event) => PollFd::new(event.as_fd(), PollFlags::POLLIN),
            None => PollFd::new(self.memory.watch.counter.as_fd(), PollFlags::POLLPRI),
        };
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN), memory];
        // A dyno has an output, a job has a lifeline.
        let output = self.output.as_ref().filter(|_| for_writes);
        fds.extend(output.map(|o| PollFd::new(o.changes(), PollFlags::POLLIN)));
        let lifeline = self.lifeline.as_ref();
        fds.extend(lifeline.map(|l| PollFd::new(l.as_fd(), PollFlags::empty())));
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => return Ok(Woken::Other),
            other => other?,
        };
        let is_ready = |n: usize| fds.get(n).and_then(PollFd::any).unwrap_or(false);
        let (is_signal, is_memory, is_third) = (is_ready(0), is_ready(1), is_ready(2));
        if is_memory {
            self.memory.event()?;
        }
        if is_signal {
            self.forward()?;
        }
        Ok(match (is_third, &self.lifeline) {
            (true, Some(_)) => Woken::Lifeline,
            (true, None) => Woken::Write,
            (false, _) => Woken::Other,
        })
    }

    /// Forwards what the nursery asks for; the other signals only wake.
    fn forward(&self) -> io::Result<()> {
        while let Some(info) = self.signals.read_signal()? {
            if info.ssi_signo.cast_signed() != forward_signal() {
                continue;
            }
            if let Ok(signal) = Signal::try_from(info.ssi_int) {
                match kill(Pid::from_raw(-1), signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn tell_lost_lines(&mut self) -> io::Result<()> {
        match self.output.as_mut().map_or(0, Output::take_lost_lines) {
            0 => Ok(()),
            lost => self.status.say(&format!("dropped {lost}")),
        }
    }

    /// All others are gone: tells the end, then stays for as long as the output has not been read,
    /// because the FIFO's content goes with its last holder.
    fn tell_end(&mut self, ended: WaitStatus) -> io::Result<()> {
        self.tell_lost_lines()?;
        let is_oom = read_kills(&self.memory.watch)? > self.memory.kills;
        self.status.end(ended, is_oom)?;
        let since = Instant::now();
        while let Some(output) = &self.output {
            if output.is_empty()? || since.elapsed() > LAST_WORDS {
                break;
            }
            // SIGKILL, by which the nursery ends this, needs no reading.
            let mut fds = [PollFd::new(output.changes(), PollFlags::POLLIN)];
            match poll(&mut fds, LAST_WORDS_LOOK_MS) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// By what.
#[derive(Debug, PartialEq, Eq)]
enum Woken {
    Lifeline,
    Write,
    Other,
}

impl Memory {
    /// v1 tells when memory runs out, before anything is killed: the counter is looked at for a
    /// while. Reading resets the event.
    fn event(&mut self) -> io::Result<()> {
        if let Some(event) = &self.watch.event {
            let mut count = [0; 8];
            nix::unistd::read(event, &mut count)?;
        }
        self.looks_left = MEMORY_LOOKS;
        Ok(())
    }

    fn has_killed(&mut self) -> io::Result<bool> {
        if self.looks_left == 0 {
            return Ok(false);
        }
        self.looks_left -= 1;
        Ok(read_kills(&self.watch)? > self.kills)
    }

    fn pause(&self) -> Option<Duration> {
        (self.looks_left > 0).then_some(MEMORY_LOOK)
    }
}

impl Ports {
    /// Looks, tells what changed, and when to look again.
    fn look(&mut self, status: &mut Status) -> io::Result<Duration> {
        let now = self.listeners.read()?;
        if now != self.seen {
            status.say(&format!("listening {}", listeners::text(&now)))?;
            self.seen = now;
        }
        if !self.is_up
            && self
                .seen
                .iter()
                .any(|a| listeners::is_reached(a, self.port))
        {
            self.is_up = true;
            status.say("up")?;
        }
        Ok(if self.is_up { PORTS_UP } else { PORTS_BOOTING })
    }
}

fn read_kills(watch: &MemoryWatch) -> io::Result<u64> {
    let mut content = [0; 1024];
    let length = watch.counter.read_at(&mut content, 0)?;
    Ok(oom_kills(&String::from_utf8_lossy(
        content.get(..length).unwrap_or_default(),
    )))
}

/// Reaps whoever has ended; tells how the command did.
fn reap(app: Pid) -> io::Result<Option<WaitStatus>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(ended) if ended.pid() == Some(app) => return Ok(Some(ended)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills and reaps until nobody else is left in this pid namespace.
fn kill_all() {
    loop {
        // Whoever was forked between the kill and here is met by the next round.
        match kill(Pid::from_raw(-1), Signal::SIGKILL) {
            Ok(()) | Err(_) => {} // ESRCH: nobody is left; waitpid tells the same
        }
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
