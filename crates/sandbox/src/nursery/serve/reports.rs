//! What is asked about the machine and about sandboxes, and changes nothing.

use std::io;

use model::network;

use crate::net::Seat;
use crate::nursery::table::State;
use crate::nursery::{Nursery, Trouble, folder, ports};
use crate::spec::{Kind, Network};
use crate::wire::{Answer, Facts, Living, PortMode, PortReport};

/// Dynos in one answer: some 80 bytes each.
const LIST_MAX: usize = 500;

pub(super) fn list(nursery: &Nursery, after: u16) -> Answer {
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

pub(super) fn usage(nursery: &Nursery, id: &str) -> Result<Answer, Trouble> {
    let usage = nursery.table.find(id)?.group.usage();
    Ok(Answer::Usage(
        usage.map_err(Trouble::failed("read the cgroup"))?,
    ))
}

pub(super) fn facts(nursery: &Nursery) -> Answer {
    Answer::Facts(Facts {
        central: nursery.central.refusal(&nursery.networks),
        isolated: nursery.networks.host.as_ref().err().cloned(),
        cgroups: nursery.cgroups.world().to_owned(),
        lacks: nursery.central.lacks(),
    })
}

pub(super) fn port(nursery: &Nursery, id: &str) -> Result<Answer, Trouble> {
    let sandbox = nursery.table.find(id)?;
    let none = || Trouble::refused(format!("{id} has no PORT"));
    let Kind::Dyno { slot } = sandbox.kind else {
        return Err(none());
    };
    let status = folder::path(&nursery.home, slot).join("status");
    let status = std::fs::read_to_string(status);
    let status = status.map_err(Trouble::failed("read the dyno's status"))?;
    let listening = folder::listening(&status);
    match sandbox.networked.network {
        Network::Central { net, host, port } => {
            let seat = network::Seat::new(net, host).map_err(Trouble::refused)?;
            let policy = nursery.central.policy();
            let report = policy
                .map(|policy| policy.report(sandbox.cgroup))
                .transpose();
            let report = report.map_err(Trouble::failed("read what was counted"))?;
            let report = report.unwrap_or_default();
            Ok(Answer::Port(PortReport {
                mode: PortMode::Central,
                port,
                address: nursery.networks.range.central_address(seat),
                listening,
                refusals: report.refusals.iter().map(ports::refusal).collect(),
                bytes_in: report.bytes_in,
                bytes_out: report.bytes_out,
            }))
        }
        Network::Isolated { port } => {
            let seat = Seat::Dyno { slot, port };
            let cable = seat.cable(&nursery.networks.name);
            let counted = |direction| {
                counted(&cable, direction).map_err(Trouble::failed("read the dyno's cable"))
            };
            Ok(Answer::Port(PortReport {
                mode: PortMode::Isolated,
                port,
                address: seat.address(nursery.networks.range),
                listening,
                refusals: Vec::new(),
                // What goes into the cable on this side comes out of it on the other.
                bytes_in: counted("tx")?,
                bytes_out: counted("rx")?,
            }))
        }
        Network::None | Network::Build => Err(none()),
    }
}

/// Bytes that a cable carried; 0 when it went with the dyno's last process.
fn counted(cable: &str, direction: &str) -> io::Result<u64> {
    let file = format!("/sys/class/net/{cable}/statistics/{direction}_bytes");
    match std::fs::read_to_string(file) {
        Ok(text) => text.trim().parse().map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

pub(super) fn start_steps(nursery: &Nursery, id: &str) -> Result<Answer, Trouble> {
    let Kind::Dyno { slot } = nursery.table.find(id)?.kind else {
        return Err(Trouble::refused(format!("{id} is no dyno")));
    };
    match folder::steps(&nursery.home, slot) {
        Ok(steps) => Ok(Answer::StartSteps(steps)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Trouble::refused(format!("the start of {id} was not kept")))
        }
        Err(error) => Err(Trouble::failed("read the steps of a start")(error)),
    }
}
