//! The clients: who may ask, what they ask, and their answers.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use model::limits;
use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::socket::{SockFlag, accept4, getsockopt, sockopt::PeerCredentials};

use super::source::Source;
use super::{Server, reports, sandboxes};
use crate::nursery::{Nursery, Trouble, say};
use crate::sys::{own, socket};
use crate::wire::{Answer, Request};

/// What became of a request.
pub(super) enum Reply {
    Now(Answer, Vec<OwnedFd>),
    /// The answer follows an event; nothing else is read from the client until then.
    Later,
}

impl Server {
    pub(super) fn accept(&mut self) -> io::Result<()> {
        let raw = self.listener.as_raw_fd();
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

    pub(super) fn read(&mut self, nursery: &mut Nursery, number: u32) -> io::Result<()> {
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
        self.last_asked = Instant::now();
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
    pub(super) fn answer(&mut self, number: u32, answer: &Answer, fds: &[OwnedFd]) {
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
        let now = |answer: Answer| Reply::Now(answer, Vec::new());
        match request {
            Request::Start(spec) => {
                let sandbox = nursery.start(client, &spec, fds)?;
                self.follow(nursery, sandbox)?;
                Ok(Reply::Later)
            }
            Request::Signal { id, signal } => {
                sandboxes::signal_all(nursery, &id, signal).map(|()| now(Answer::Done))
            }
            Request::Remove { id } => sandboxes::remove(nursery, client, &id),
            Request::Usage { id } => reports::usage(nursery, &id).map(now),
            Request::List { after } => Ok(now(reports::list(nursery, after))),
            Request::Facts => Ok(now(reports::facts(nursery))),
            Request::Port { id } => reports::port(nursery, &id).map(now),
            Request::StartSteps { id } => reports::start_steps(nursery, &id).map(now),
            Request::Volume { id, size_bytes } => {
                self.volume(nursery, client, &id, size_bytes)?;
                Ok(Reply::Later)
            }
        }
    }
}
