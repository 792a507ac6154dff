//! Whether it runs, and what is left of it when it does not.

use super::Finding;
use crate::status;
use crate::up;
use link::config::Config;
use model::dyno::Mode;
use sandbox::Client;
use sandbox::net::Host;
use std::net::{Ipv4Addr, TcpListener};

pub(super) fn is_running(config: &Config) -> bool {
    up::State::read(&config.run_dir)
        .ok()
        .and_then(|state| state.up)
        .is_some_and(|up| up.open().is_some())
}

pub(super) fn look(config: &Config, is_running: bool) -> Vec<Finding> {
    let mut findings = if is_running {
        let mut findings = vec![health(config)];
        findings.extend(restarts(config));
        findings.push(slugs(config));
        findings
    } else {
        let mut findings = vec![Finding::poor("platform", "does not run: paas up")];
        findings.extend(ports(config));
        findings
    };
    findings.extend(network(config, is_running));
    findings.push(leftovers(config));
    findings
}

fn health(config: &Config) -> Finding {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Finding::broken("platform", format!("cannot ask it: {error}")),
    };
    let answer = runtime.block_on(status::fetch(config.loopback_port));
    match answer
        .map_err(anyhow::Error::from)
        .and_then(|d| status::read(&d))
    {
        Ok(status) if status.healthy => Finding::well("platform", "healthy"),
        Ok(_) => Finding::broken("platform", "runs, but not all of it: paas status"),
        Err(error) => Finding::broken("platform", format!("runs, but cannot answer: {error:#}")),
    }
}

/// Where the nursery that runs lets slugs be, which may differ from what the machine offers.
fn slugs(config: &Config) -> Finding {
    if config.dynod.slug_network == Mode::Isolated {
        return Finding::well("slugs", "isolated, as config.toml says");
    }
    let socket = config.run_dir.join("nursery.sock");
    match Client::connect(&socket).and_then(|mut client| client.facts()) {
        Ok(facts) => match facts.central {
            None => Finding::well("slugs", "central: the kernel holds each to its PORT"),
            Some(reason) => Finding::poor("slugs", format!("isolated, not central: {reason}")),
        },
        Err(error) => Finding::poor("slugs", format!("cannot {error}")),
    }
}

fn restarts(config: &Config) -> Option<Finding> {
    let ended = up::State::read(&config.run_dir).ok()?.ended;
    let last = ended.last()?;
    let logs = config.data_dir.join("log");
    Some(Finding::poor(
        "roles",
        format!(
            "{last} since `paas up` started: see {} or the journal",
            logs.display()
        ),
    ))
}

fn ports(config: &Config) -> Vec<Finding> {
    let wanted = [
        (Ipv4Addr::UNSPECIFIED, config.http_port),
        (Ipv4Addr::LOCALHOST, config.loopback_port),
        (Ipv4Addr::UNSPECIFIED, config.rendezvous_port),
    ];
    let taken = wanted.into_iter().filter_map(|(address, port)| {
        let error = TcpListener::bind((address, port)).err()?;
        Some(Finding::broken(
            "ports",
            format!("{address}:{port}: {error}; see it with `ss -ltnp`, or change config.toml"),
        ))
    });
    let taken: Vec<Finding> = taken.collect();
    if taken.is_empty() {
        let ports = wanted.map(|(_, port)| port.to_string());
        return vec![Finding::well(
            "ports",
            format!("{} are free", ports.join(", ")),
        )];
    }
    taken
}

/// Forwarding, its policy, name servers, rules.
fn network(config: &Config, is_running: bool) -> Vec<Finding> {
    if !is_running {
        return Vec::new();
    }
    match Host::doctor(&config.instance) {
        Ok(lines) if lines.is_empty() => vec![Finding::well("network", config.network.to_string())],
        Ok(lines) => lines
            .into_iter()
            .map(|line| Finding::poor("network", line))
            .collect(),
        Err(error) => vec![Finding::broken("network", format!("cannot {error}"))],
    }
}

fn leftovers(config: &Config) -> Finding {
    match Host::strays(&config.instance) {
        Ok(strays) if strays.is_empty() => Finding::well("leftovers", "none"),
        Ok(strays) => Finding::poor(
            "leftovers",
            format!("{}: paas doctor --fix", strays.join(", ")),
        ),
        Err(error) => Finding::poor("leftovers", format!("cannot {error}")),
    }
}
