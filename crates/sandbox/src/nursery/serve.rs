//! The nursery's loop: one request after the other, and the events of what runs.

mod clients;
mod reports;
mod sandboxes;
mod source;
mod volumes;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use model::limits;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::ids::Slot;
use super::table::State;
use super::volumes::Formatting;
use super::{Nursery, Trouble, say};
use source::Source;

/// How soon a removal is tried again that found the kernel busy.
const REMOVAL_PAUSE: Duration = Duration::from_millis(1);
/// How long nobody must have asked for anything before something is made ahead: who asks once often
/// asks again at once. Ours: a few times what a start takes.
const QUIET: Duration = Duration::from_millis(5);

/// The sockets, and who waits for what.
#[derive(Debug)]
pub(super) struct Server {
    epoll: Epoll,
    listener: OwnedFd,
    allowed_uids: Vec<u32>,
    clients: BTreeMap<u32, OwnedFd>,
    formatting: BTreeMap<u32, (u32, Formatting)>,
    /// The volumes that there are, by their event's number.
    volumes: BTreeMap<u32, String>,
    next: u32,
    /// What is made ahead may be missing something.
    is_changed: bool,
    last_asked: Instant,
}

impl Server {
    pub(super) fn new(listener: OwnedFd, allowed_uids: Vec<u32>) -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            listener,
            allowed_uids,
            clients: BTreeMap::new(),
            formatting: BTreeMap::new(),
            volumes: BTreeMap::new(),
            next: 0,
            is_changed: true,
            last_asked: Instant::now(),
        })
    }

    /// Serves until it is killed or the machine fails it.
    pub(super) fn run(mut self, mut nursery: Nursery) -> io::Result<std::convert::Infallible> {
        self.watch(&self.listener, Source::Listener, EpollFlags::EPOLLIN)?;
        for (number, sandbox) in nursery.table.iter() {
            if let Some(pidfd) = &sandbox.pidfd {
                self.watch(pidfd, Source::End(number), EpollFlags::EPOLLIN)?;
            }
        }
        if let Some(policy) = nursery.central.policy() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, Source::Policy.token());
            self.epoll.add(policy.events(), event)?;
        }
        if let Ok(host) = &nursery.networks.host {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, Source::Rules.token());
            self.epoll.add(host.rules_fd(), event)?;
        }
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let timeout = self.tidy(&mut nursery)?;
            let count = match self.epoll.wait(&mut events, timeout) {
                Err(Errno::EINTR) => 0,
                other => other?,
            };
            for event in events.iter().take(count) {
                if let Some(source) = Source::of_token(event.data()) {
                    self.event(&mut nursery, source, event.events())?;
                }
            }
        }
    }

    fn watch(&self, fd: &OwnedFd, source: Source, flags: EpollFlags) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(flags, source.token()))?)
    }

    fn event(
        &mut self,
        nursery: &mut Nursery,
        source: Source,
        flags: EpollFlags,
    ) -> io::Result<()> {
        match source {
            Source::Listener => self.accept(),
            Source::Client(number) if flags.contains(EpollFlags::EPOLLIN) => {
                self.read(nursery, number)
            }
            Source::Client(number) => {
                self.clients.remove(&number);
                Ok(())
            }
            Source::Channel(number) => {
                self.hear(nursery, number);
                Ok(())
            }
            Source::End(number) => {
                sandboxes::ended(nursery, number);
                Ok(())
            }
            Source::Format(number) => self.formatted(nursery, number),
            Source::Lifeline(number) => {
                self.lifeline_closed(nursery, number);
                Ok(())
            }
            Source::Policy => {
                sandboxes::hear_kernel(nursery);
                Ok(())
            }
            Source::Rules => {
                hear_of_rules(nursery);
                Ok(())
            }
            Source::Pool => {
                self.is_changed = true;
                if let Err(error) = nursery.networks.pool.collect() {
                    say(&Trouble::failed("make networks ahead")(error).reason);
                }
                Ok(())
            }
        }
    }

    /// What is due between events: removals, starts that take too long, what is made ahead.
    fn tidy(&mut self, nursery: &mut Nursery) -> io::Result<EpollTimeout> {
        let mut next: Option<Duration> = None;
        let mut sooner = |wait: Duration| next = Some(next.map_or(wait, |n: Duration| n.min(wait)));
        let mut gone = Vec::new();
        for (number, sandbox) in nursery.table.all_mut() {
            match &sandbox.state {
                State::Starting(starting) => {
                    let most = Duration::from_millis(limits::SANDBOX_START_TIMEOUT_MS);
                    let left = most.saturating_sub(starting.since.elapsed());
                    if left.is_zero() {
                        sandbox.kill()?;
                    }
                    sooner(left.max(REMOVAL_PAUSE));
                }
                State::Ending { .. } => match sandbox.remove_rest(&nursery.home) {
                    Ok(true) => gone.push((number, None)),
                    Ok(false) if sandbox.pidfd.is_some() => {}
                    Ok(false) => sooner(REMOVAL_PAUSE),
                    Err(error) => gone.push((number, Some(error))),
                },
                State::Started => {}
            }
        }
        for (number, error) in gone {
            self.removed(nursery, number, error);
        }
        let quiet = self.last_asked.elapsed();
        if self.is_changed && quiet < QUIET {
            sooner(QUIET.saturating_sub(quiet));
        } else if self.make_ahead(nursery)? {
            return Ok(EpollTimeout::ZERO);
        }
        dismiss(nursery);
        if let Some(left) = nursery.central.next_due() {
            next = Some(next.map_or(left, |n| n.min(left)));
        }
        // Rounded up, so that a deadline is over when it is looked at.
        let next = next
            .map(|d| d.as_millis() + 1)
            .and_then(|ms| u16::try_from(ms).ok());
        Ok(next.map_or(EpollTimeout::NONE, EpollTimeout::from))
    }

    /// Makes one thing that the next starts need, while nobody waits for one; true: there may be
    /// more to make.
    fn make_ahead(&mut self, nursery: &mut Nursery) -> io::Result<bool> {
        if !self.is_changed || nursery.table.is_starting() {
            return Ok(false);
        }
        self.is_changed = nursery.make_ahead().unwrap_or_else(|trouble| {
            say(&format!("make sandboxes ahead: {}", trouble.reason));
            false
        });
        if self.is_changed {
            return Ok(true);
        }
        let taken = nursery.table.slots();
        let Ok(host) = &nursery.networks.host else {
            return Ok(false);
        };
        let pool = &mut nursery.networks.pool;
        if let Err(error) = pool.refill(host, |seat| taken.contains(&Slot::at(seat))) {
            say(&Trouble::failed("make networks ahead")(error).reason);
        }
        if let Some(fd) = pool.poll_fd() {
            match self.epoll.add(
                fd,
                EpollEvent::new(EpollFlags::EPOLLIN, Source::Pool.token()),
            ) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn removed(&mut self, nursery: &mut Nursery, number: u32, error: Option<io::Error>) {
        self.is_changed = true;
        let Some(sandbox) = nursery.table.take(number) else {
            return;
        };
        if let Some(net) = sandbox.dyno_net() {
            nursery.central.leave(sandbox.cgroup, Some(net));
        }
        let failed = error.map(|error| {
            let trouble = Trouble::failed(&format!("remove {}", sandbox.id))(error);
            say(&trouble.reason);
            trouble.answer()
        });
        if let State::Ending { clients } = sandbox.state {
            for (client, answer) in clients {
                self.answer(client, failed.as_ref().unwrap_or(&answer), &[]);
            }
        }
    }
}

/// Gives up the seats of dynos that are gone for a while, and dyno nets with the last of them: a
/// restart finds its net as it was.
fn dismiss(nursery: &mut Nursery) {
    for net in nursery.central.dismiss() {
        let is_used = nursery.table.is_net_used(net) || nursery.central.lingers_in(net);
        if let (false, Ok(host)) = (is_used, &mut nursery.networks.host) {
            host.release_dyno_net(net);
        }
    }
}

/// Somebody changed the machine's rules; ours come back.
fn hear_of_rules(nursery: &mut Nursery) {
    let Ok(host) = &mut nursery.networks.host else {
        return;
    };
    match host.on_rules_changed() {
        Ok(None) => {}
        Ok(Some(line)) => say(&line),
        Err(error) => say(&Trouble::failed("keep the rules")(error).reason),
    }
}
