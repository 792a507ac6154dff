//! What networks cost: `networks COUNT`, as root, on a host of its own (a net namespace).
//!
//! Prints median and 99th percentile in microseconds of: making a dyno network, another dyno of
//! the same owner, an isolated namespace made while one waits, and each of the calls that the
//! nursery's loop makes while the pool is filled and after a flush of all rules.

use std::io::{self, Write};
use std::process::Command;
use std::time::Instant;

use model::instance;
use model::network::Range;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use sandbox::net::{Host, NetworkError, Pool, Seat};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let count: u8 = std::env::args().nth(1).ok_or("networks COUNT")?.parse()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let name = instance::Name::parse("ptbench")?;
    let mut host = Host::set_up(&name, Range::parse("10.250.0.0/16")?)?;

    let mut first = Vec::new();
    let mut second = Vec::new();
    for net in 0..count.min(128) {
        first.push(timed(|| host.dyno_net(net))?);
        second.push(timed(|| host.dyno_net(net))?);
    }
    tell("dyno network, an owner's first dyno", first)?;
    tell("dyno network, each further one", second)?;
    let isolated = (0..u16::from(count)).map(|number| {
        let slot = 1000 + number;
        timed(|| host.namespace(Seat::Dyno { slot, port: 5000 }))
    });
    tell(
        "isolated namespace, waited for",
        isolated.collect::<Outcome<_>>()?,
    )?;
    tell("loop: fill of the pool", fill(&host, usize::from(count))?)?;
    tell("loop: rules flushed and restored", flushed(&mut host)?)?;
    Ok(())
}

/// The calls that fill the pool, again and again: each takes what is ready away.
fn fill(host: &Host, count: usize) -> Outcome<Vec<u128>> {
    let mut calls = Vec::new();
    for _ in 0..count.div_ceil(10) {
        let mut pool = Pool::new();
        while pool.ready().count() < 10 {
            calls.push(timed(|| pool.refill(host, |_| false))?);
            if let Some(fd) = pool.poll_fd() {
                poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::NONE)?;
            }
            calls.push(timed(|| pool.collect())?);
        }
        for slot in 0..8 {
            let seat = Seat::Dyno { slot, port: 5000 };
            calls.push(timed(|| pool.take(host, seat))?);
        }
    }
    Ok(calls)
}

fn flushed(host: &mut Host) -> Outcome<Vec<u128>> {
    let mut calls = Vec::new();
    Command::new("nft").args(["flush", "ruleset"]).status()?;
    let start = Instant::now();
    loop {
        let mut fds = [PollFd::new(host.rules_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE)?;
        let mut said = None;
        calls.push(timed(|| {
            said = host.on_rules_changed()?;
            Ok(())
        })?);
        if said.is_some() {
            tell(
                "a flush until all is back",
                vec![start.elapsed().as_micros()],
            )?;
            return Ok(calls);
        }
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T, NetworkError>) -> Outcome<u128> {
    let start = Instant::now();
    let made = work()?;
    let us = start.elapsed().as_micros();
    drop(made);
    Ok(us)
}

fn tell(what: &str, mut us: Vec<u128>) -> io::Result<()> {
    us.sort_unstable();
    let at = |share: usize| us.get(us.len() * share / 100).copied().unwrap_or_default();
    let most = us.last().copied().unwrap_or_default();
    writeln!(
        io::stdout(),
        "{what:36} p50 {:7} p99 {:7} most {most:7} of {}",
        at(50),
        at(99),
        us.len()
    )
}
