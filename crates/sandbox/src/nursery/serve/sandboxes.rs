//! Sandboxes between their fork and their removal, and what is asked about them.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::epoll::EpollFlags;

use super::Server;
use super::clients::Reply;
use super::source::Source;
use crate::keeper::forward_signal;
use crate::nursery::folder;
use crate::nursery::home::Home;
use crate::nursery::table::{Sandbox, Starting, State};
use crate::nursery::{Nursery, Trouble, say};
use crate::policy::Event;
use crate::spec::Kind;
use crate::sys::process;
use crate::wire::{Answer, Failure};
use crate::world::steps::{Word, hear};

/// Signals that may be sent: the standard ones.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=31;

impl Server {
    pub(super) fn follow(
        &mut self,
        nursery: &mut Nursery,
        sandbox: Sandbox,
    ) -> Result<(), Trouble> {
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
    pub(super) fn hear(&mut self, nursery: &mut Nursery, number: u32) {
        let Some(sandbox) = nursery.table.get_mut(number) else {
            return;
        };
        let State::Starting(starting) = &mut sandbox.state else {
            return;
        };
        match hear(starting.channel.as_fd()) {
            Ok(Some((Word::Steps(steps), _))) => starting.steps.extend(steps),
            Ok(Some((Word::Failed(reason), _))) => starting.failure = Some(reason),
            Ok(Some((Word::Terminal, fds))) => starting.terminal = fds.into_iter().next(),
            Ok(None) => self.decide(nursery, number),
            Err(error) => {
                let trouble = Trouble::failed("hear of a start")(error);
                sandbox.fail(trouble.reason);
                self.decide(nursery, number);
            }
        }
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
                keep_steps(&nursery.home, sandbox.kind, &answer);
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
            failure: Failure::Failed,
            reason,
        });
    }
    if !steps.iter().any(|(name, _)| name == "go") {
        let reason = "it died on the way to its command: too little memory, or killed".to_owned();
        return Err(Trouble {
            failure: Failure::Failed,
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

/// A dyno's steps stay with it; without them it runs as well.
fn keep_steps(home: &Home, kind: Kind, answer: &Answer) {
    let (Kind::Dyno { slot }, Answer::Started { steps, .. }) = (kind, answer) else {
        return;
    };
    if let Err(error) = folder::tell_steps(home, slot, steps) {
        say(&format!("keep the steps of dyno-{slot}: {error}"));
    }
}

/// The processes of a sandbox are gone: a job is removed, a dyno's remains stay.
pub(super) fn ended(nursery: &mut Nursery, number: u32) {
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

/// Writes what the kernel tells into the status of the dyno that it is about.
pub(super) fn hear_kernel(nursery: &mut Nursery) {
    for event in nursery.central.events() {
        let (Event::Listen { cgroup, .. } | Event::Refused { cgroup, .. }) = event;
        let Some(sandbox) = nursery.table.of_cgroup(cgroup) else {
            continue; // it was removed meanwhile
        };
        let is_central = sandbox.dyno_net().is_some();
        let Some(port) = &mut sandbox.port else {
            continue;
        };
        let told = match event {
            Event::Listen {
                address,
                is_unbound,
                ..
            } => port.listens(address, is_unbound && is_central),
            Event::Refused { what, .. } => port.refused(&what),
        };
        if let Err(error) = told {
            say(&format!("tell of {}: {error}", sandbox.id));
        }
    }
}

pub(super) fn signal_all(nursery: &mut Nursery, id: &str, signal: i32) -> Result<(), Trouble> {
    if !SIGNALS.contains(&signal) {
        return Err(Trouble::refused("the signal is none"));
    }
    let sandbox = nursery.table.find(id)?;
    let Some(pidfd) = &sandbox.pidfd else {
        return Ok(()); // ended: there is nobody to send it to
    };
    if signal == libc::SIGKILL {
        // The keeper that shall do it may be frozen with the rest.
        sandbox.group.thaw().map_err(Trouble::failed("thaw it"))?;
    }
    match process::send_signal(pidfd.as_fd(), forward_signal(), Some(signal)) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map_err(Trouble::failed("send a signal")),
    }
}

pub(super) fn remove(nursery: &mut Nursery, client: u32, id: &str) -> Result<Reply, Trouble> {
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
