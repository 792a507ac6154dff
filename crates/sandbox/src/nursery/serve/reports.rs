//! What is asked about the machine and about sandboxes, and changes nothing.

use std::io;

use crate::net::Seat;
use crate::nursery::table::State;
use crate::nursery::{Nursery, Trouble, folder};
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
        central: Some(nursery.network.central.clone()),
        isolated: nursery.network.host.as_ref().err().cloned(),
        cgroups: nursery.cgroups.world().to_owned(),
        lacks: Vec::new(),
    })
}

pub(super) fn port(nursery: &Nursery, id: &str) -> Result<Answer, Trouble> {
    let sandbox = nursery.table.find(id)?;
    let (Kind::Dyno { slot }, Network::Isolated { port }) =
        (sandbox.kind, sandbox.networked.network)
    else {
        return Err(Trouble::refused(format!("{id} has no PORT")));
    };
    let seat = Seat::Dyno { slot, port };
    let counted = |direction: &str| {
        let cable = seat.cable(&nursery.network.name);
        let file = format!("/sys/class/net/{cable}/statistics/{direction}_bytes");
        match std::fs::read_to_string(file) {
            Ok(text) => text.trim().parse().map_err(io::Error::other),
            // It went with the dyno's last process.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    };
    let counted = |direction| counted(direction).map_err(Trouble::failed("read the cable"));
    Ok(Answer::Port(PortReport {
        mode: PortMode::Isolated,
        port,
        address: seat.address(nursery.network.range),
        listening: folder::listening(&nursery.home, slot)
            .map_err(Trouble::failed("read the dyno's status"))?,
        refusals: Vec::new(),
        // What goes into the cable on this side comes out of it on the other.
        bytes_in: counted("tx")?,
        bytes_out: counted("rx")?,
    }))
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
