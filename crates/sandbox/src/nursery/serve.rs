//! The nursery's loop: one request after the other, and the events of what runs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use model::limits;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{SockFlag, accept4, getsockopt, sockopt::PeerCredentials};

use super::ids::Slot;
use super::table::{Sandbox, Starting, State};
use super::volumes::Formatting;
use super::{Nursery, Trouble, say};
use crate::keeper::forward_signal;
use crate::spec::{Kind, check_id};
use crate::sys::{own, process, socket};
use crate::wire::{Answer, Living, Request};
use crate::world::steps::{Word, hear};

/// Dynos in one answer: some 80 bytes each.
const LIST_MAX: usize = 500;
/// How soon a removal is tried again that found the kernel busy.
const REMOVAL_PAUSE: Duration = Duration::from_millis(1);
/// Signals that may be sent: the standard ones.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=31;

/// What an event is about. The number is a client's, a sandbox's or a volume's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Listener,
    Client(u32),
    Channel(u32),
    End(u32),
    Format(u32),
    Lifeline(u32),
    Pool,
}

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
}

/// What became of a request.
enum Reply {
    Now(Answer, Vec<OwnedFd>),
    /// The answer follows an event; nothing else is read from the client until then.
    Later,
}

impl Source {
    fn token(self) -> u64 {
        let (kind, number) = match self {
            Self::Listener => (0, 0),
            Self::Client(n) => (1, n),
            Self::Channel(n) => (2, n),
            Self::End(n) => (3, n),
            Self::Format(n) => (4, n),
            Self::Lifeline(n) => (5, n),
            Self::Pool => (6, 0),
        };
        kind << 32 | u64::from(number)
    }

    fn of_token(token: u64) -> Option<Self> {
        let number = u32::try_from(token & u64::from(u32::MAX)).ok()?;
        Some(match token >> 32 {
            0 => Self::Listener,
            1 => Self::Client(number),
            2 => Self::Channel(number),
            3 => Self::End(number),
            4 => Self::Format(number),
            5 => Self::Lifeline(number),
            6 => Self::Pool,
            _ => return None,
        })
    }
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
            Source::Channel(number) => self.hear(nursery, number),
            Source::End(number) => {
                ended(nursery, number);
                Ok(())
            }
            Source::Format(number) => self.formatted(nursery, number),
            Source::Lifeline(number) => {
                let Some(id) = self.volumes.remove(&number) else {
                    return Ok(());
                };
                let is_used = nursery.table.is_volume_used(&id);
                if let Err(error) = nursery.volumes.remove(&id, is_used) {
                    say(&format!("remove the volume {id}: {error}"));
                }
                Ok(())
            }
            Source::Pool => {
                self.is_changed = true;
                if let Err(error) = nursery.network.pool.collect() {
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
        self.make_ahead(nursery)?;
        let next = next
            .map(|d| d.as_millis())
            .and_then(|ms| u16::try_from(ms).ok());
        Ok(next.map_or(EpollTimeout::NONE, EpollTimeout::from))
    }

    /// Makes what the next starts need, while nobody waits for one.
    fn make_ahead(&mut self, nursery: &mut Nursery) -> io::Result<()> {
        if !self.is_changed || nursery.table.is_starting() {
            return Ok(());
        }
        self.is_changed = false;
        let taken = nursery.table.slots();
        nursery.ids.make_ahead(&taken)?;
        let Ok(host) = &nursery.network.host else {
            return Ok(());
        };
        let pool = &mut nursery.network.pool;
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
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let raw = std::os::fd::AsRawFd::as_raw_fd(&self.listener);
        let client = match accept4(raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK) {
            Ok(fd) => own(fd),
            Err(Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let uid = getsockopt(&client, PeerCredentials)?.uid();
        if uid != 0 && !self.allowed_uids.contains(&uid) {
            say(&format!("uid {uid} may not ask"));
            return Ok(());
        }
        if self.clients.len() >= limits::NURSERY_CONNECTIONS_MAX {
            say("too many clients");
            return Ok(());
        }
        let number = self.number();
        self.watch(&client, Source::Client(number), EpollFlags::EPOLLIN)?;
        self.clients.insert(number, client);
        Ok(())
    }

    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn read(&mut self, nursery: &mut Nursery, number: u32) -> io::Result<()> {
        let Some(client) = self.clients.get(&number) else {
            return Ok(());
        };
        let packet = match socket::receive(client.as_fd()) {
            Ok(packet) if packet.message.is_empty() => {
                self.clients.remove(&number);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                say(&format!("a client sends nonsense: {error}"));
                self.clients.remove(&number);
                return Ok(());
            }
            Ok(packet) => packet,
        };
        let reply = match serde_json::from_slice(&packet.message) {
            Ok(request) => self.request(nursery, number, request, packet.fds),
            Err(error) => Err(Trouble::refused(error)),
        };
        match reply {
            Ok(Reply::Now(answer, fds)) => self.answer(number, &answer, &fds),
            Ok(Reply::Later) => self.set_interest(number, EpollFlags::empty())?,
            Err(trouble) => self.answer(number, &trouble.answer(), &[]),
        }
        Ok(())
    }

    fn set_interest(&self, number: u32, flags: EpollFlags) -> io::Result<()> {
        let Some(client) = self.clients.get(&number) else {
            return Ok(());
        };
        let mut event = EpollEvent::new(flags, Source::Client(number).token());
        Ok(self.epoll.modify(client, &mut event)?)
    }

    /// Answers a client that is still there; one that does not take its answer is left.
    fn answer(&mut self, number: u32, answer: &Answer, fds: &[OwnedFd]) {
        let Some(client) = self.clients.get(&number) else {
            return;
        };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let sent = serde_json::to_vec(answer)
            .map_err(io::Error::from)
            .and_then(|message| socket::send(client.as_fd(), &message, &fds));
        if let Err(error) = sent.and_then(|()| self.set_interest(number, EpollFlags::EPOLLIN)) {
            say(&format!("answer a client: {error}"));
            self.clients.remove(&number);
        }
    }

    fn request(
        &mut self,
        nursery: &mut Nursery,
        client: u32,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> Result<Reply, Trouble> {
        let done = || Ok(Reply::Now(Answer::Done, Vec::new()));
        match request {
            Request::Start(spec) => {
                let sandbox = nursery.start(client, &spec, fds)?;
                self.follow(nursery, sandbox)?;
                Ok(Reply::Later)
            }
            Request::Signal { id, signal } => {
                signal_all(nursery, &id, signal).and_then(|()| done())
            }
            Request::Remove { id } => remove(nursery, client, &id),
            Request::Usage { id } => {
                let number = nursery
                    .table
                    .find_id(&id)
                    .ok_or_else(|| Trouble::unknown(&id))?;
                let sandbox = nursery
                    .table
                    .get_mut(number)
                    .ok_or_else(|| Trouble::unknown(&id))?;
                let usage = sandbox
                    .group
                    .usage()
                    .map_err(Trouble::failed("read the cgroup"))?;
                Ok(Reply::Now(Answer::Usage(usage), Vec::new()))
            }
            Request::List { after } => Ok(Reply::Now(list(nursery, after), Vec::new())),
            Request::Volume { id, size_bytes } => {
                self.volume(nursery, client, &id, size_bytes)?;
                Ok(Reply::Later)
            }
        }
    }

    fn follow(&mut self, nursery: &mut Nursery, sandbox: Sandbox) -> Result<(), Trouble> {
        self.is_changed = true;
        let number = nursery.table.add(sandbox);
        let Some(sandbox) = nursery.table.get_mut(number) else {
            return Ok(());
        };
        let mut watched = Ok(());
        if let State::Starting(starting) = &sandbox.state {
            watched = self.watch(
                &starting.channel,
                Source::Channel(number),
                EpollFlags::EPOLLIN,
            );
        }
        if let (Ok(()), Some(pidfd)) = (&watched, &sandbox.pidfd) {
            watched = self.watch(pidfd, Source::End(number), EpollFlags::EPOLLIN);
        }
        watched.map_err(Trouble::failed("watch a sandbox"))
    }

    /// Takes the next word of a start; the end of the channel decides.
    fn hear(&mut self, nursery: &mut Nursery, number: u32) -> io::Result<()> {
        let Some(sandbox) = nursery.table.get_mut(number) else {
            return Ok(());
        };
        let State::Starting(starting) = &mut sandbox.state else {
            return Ok(());
        };
        match hear(starting.channel.as_fd())? {
            Some((Word::Steps(steps), _)) => starting.steps.extend(steps),
            Some((Word::Failed(reason), _)) => starting.failure = Some(reason),
            Some((Word::Terminal, fds)) => starting.terminal = fds.into_iter().next(),
            None => self.decide(nursery, number),
        }
        Ok(())
    }

    fn decide(&mut self, nursery: &mut Nursery, number: u32) {
        let Some(sandbox) = nursery.table.get_mut(number) else {
            return;
        };
        let State::Starting(starting) = std::mem::replace(&mut sandbox.state, State::Started)
        else {
            return;
        };
        let client = starting.client;
        match started(sandbox, *starting) {
            Ok((answer, fds)) => {
                self.answer(client, &answer, &fds);
            }
            Err(trouble) => {
                if let Err(error) = sandbox.kill() {
                    say(&format!("kill {}: {error}", sandbox.id));
                }
                // Told once everything is gone, so that the name is free to be tried again.
                sandbox.state = State::Ending {
                    clients: vec![(client, trouble.answer())],
                };
            }
        }
    }

    fn volume(
        &mut self,
        nursery: &Nursery,
        client: u32,
        id: &str,
        size_bytes: u64,
    ) -> Result<(), Trouble> {
        check_id(id).map_err(Trouble::refused)?;
        let is_known = |other: &Formatting| other.id == id;
        if nursery.volumes.root(id).is_some() || self.formatting.values().any(|(_, f)| is_known(f))
        {
            return Err(Trouble::exists(id));
        }
        if nursery.volumes.len() + self.formatting.len() >= limits::VOLUMES_MAX {
            return Err(Trouble::refused("too many volumes"));
        }
        if !(limits::VOLUME_MIN_BYTES..=limits::VOLUME_MAX_BYTES).contains(&size_bytes) {
            return Err(Trouble::refused("the size of the volume is out of range"));
        }
        let formatting = nursery.volumes.format(id, size_bytes)?;
        let number = self.number();
        self.watch(
            &formatting.pidfd,
            Source::Format(number),
            EpollFlags::EPOLLIN,
        )
        .map_err(Trouble::failed("watch mkfs.ext4"))?;
        self.formatting.insert(number, (client, formatting));
        Ok(())
    }

    fn formatted(&mut self, nursery: &mut Nursery, number: u32) -> io::Result<()> {
        let Some((client, formatting)) = self.formatting.remove(&number) else {
            return Ok(());
        };
        let id = formatting.id.clone();
        match nursery.volumes.mount(formatting) {
            Ok(theirs) => {
                if let Some(ours) = nursery.volumes.lifeline(&id) {
                    self.watch(ours, Source::Lifeline(number), EpollFlags::empty())?;
                }
                self.volumes.insert(number, id);
                self.answer(client, &Answer::Volume, &[theirs]);
            }
            Err(trouble) => self.answer(client, &trouble.answer(), &[]),
        }
        Ok(())
    }

    fn removed(&mut self, nursery: &mut Nursery, number: u32, error: Option<io::Error>) {
        self.is_changed = true;
        let Some(sandbox) = nursery.table.take(number) else {
            return;
        };
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

/// A start is complete when the command's own steps were told before the channel closed.
fn started(sandbox: &Sandbox, starting: Starting) -> Result<(Answer, Vec<OwnedFd>), Trouble> {
    let Starting {
        since,
        mut steps,
        terminal,
        failure,
        job,
        ..
    } = starting;
    if let Some(reason) = failure {
        return Err(Trouble {
            failure: crate::wire::Failure::Failed,
            reason,
        });
    }
    if !steps.iter().any(|(name, _)| name == "identity") {
        let reason = "it died on the way to its command: too little memory, or killed".to_owned();
        return Err(Trouble {
            failure: crate::wire::Failure::Failed,
            reason,
        });
    }
    let told: u32 = steps.iter().map(|(_, us)| *us).sum();
    let all = u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
    steps.push(("exec".to_owned(), all.saturating_sub(told)));
    let pidfd = process::pidfd(sandbox.pid).map_err(Trouble::failed("open the pidfd"))?;
    let answer = Answer::Started {
        pid: sandbox.pid,
        terminal: terminal.is_some(),
        job: job.is_some(),
        steps,
    };
    let mut fds = vec![pidfd];
    fds.extend(terminal);
    fds.extend(
        job.map(|(exit, lifeline)| [exit, lifeline])
            .into_iter()
            .flatten(),
    );
    Ok((answer, fds))
}

/// The processes of a sandbox are gone: a job is removed, a dyno's remains stay.
fn ended(nursery: &mut Nursery, number: u32) {
    let Some(sandbox) = nursery.table.get_mut(number) else {
        return;
    };
    if matches!(sandbox.state, State::Starting(_)) {
        // Its channel is closed, too, and decides; the pid stays ours until then.
        return;
    }
    sandbox.bury();
    if sandbox.kind == Kind::Job && matches!(sandbox.state, State::Started) {
        sandbox.state = State::Ending {
            clients: Vec::new(),
        };
    }
}

fn signal_all(nursery: &mut Nursery, id: &str, signal: i32) -> Result<(), Trouble> {
    if !SIGNALS.contains(&signal) {
        return Err(Trouble::refused("the signal is none"));
    }
    let number = nursery
        .table
        .find_id(id)
        .ok_or_else(|| Trouble::unknown(id))?;
    let sandbox = nursery
        .table
        .get_mut(number)
        .ok_or_else(|| Trouble::unknown(id))?;
    let Some(pidfd) = &sandbox.pidfd else {
        return Ok(()); // ended: there is nobody to send it to
    };
    match process::send_signal(pidfd.as_fd(), forward_signal(), Some(signal)) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map_err(Trouble::failed("send a signal")),
    }
}

fn remove(nursery: &mut Nursery, client: u32, id: &str) -> Result<Reply, Trouble> {
    let found = nursery.table.find_id(id);
    let Some(sandbox) = found.and_then(|number| nursery.table.get_mut(number)) else {
        return Ok(Reply::Now(Answer::Done, Vec::new()));
    };
    sandbox.kill().map_err(Trouble::failed("kill"))?;
    match &mut sandbox.state {
        State::Ending { clients } => clients.push((client, Answer::Done)),
        State::Starting(_) => return Err(Trouble::refused("it is still starting")),
        State::Started => {
            sandbox.state = State::Ending {
                clients: vec![(client, Answer::Done)],
            }
        }
    }
    Ok(Reply::Later)
}

fn list(nursery: &Nursery, after: u16) -> Answer {
    let mut dynos: Vec<Living> = nursery
        .table
        .iter()
        .filter_map(|(_, sandbox)| match (sandbox.kind, &sandbox.state) {
            (Kind::Dyno { slot }, State::Started) if slot >= after && sandbox.pidfd.is_some() => {
                Some(Living {
                    id: sandbox.id.clone(),
                    slot,
                    pid: sandbox.pid,
                    start_time: sandbox.start_time,
                })
            }
            _ => None,
        })
        .collect();
    dynos.sort_by_key(|living| living.slot);
    let more = dynos.len() > LIST_MAX;
    dynos.truncate(LIST_MAX);
    Answer::Living { dynos, more }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_their_tokens() {
        let all = [
            Source::Listener,
            Source::Client(7),
            Source::Channel(u32::MAX),
            Source::End(1),
            Source::Format(2),
            Source::Lifeline(3),
            Source::Pool,
        ];
        for source in all {
            assert_eq!(Source::of_token(source.token()), Some(source));
        }
        assert_eq!(Source::of_token(u64::MAX), None);
    }
}
