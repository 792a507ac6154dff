//! Central mode: whether it can be had, seats in owners' dyno nets, and what the kernel tells of
//! them. Listen events of isolated dynos come from here, too.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use model::network;

use super::table::{Sandbox, Table, Tree};
use super::{Networks, Trouble, say};
use crate::cgroup::Cgroups;
use crate::policy::{Allows, Deny, Event, Policy, Seat, Trees};
use crate::spec::Network;
use crate::sys::landlock;

/// How long a seat outlives its dyno: the last packets of a connection come after its process.
/// `tcp_fin_timeout` of tcp(7), the longest that Linux waits for an answer to its FIN.
const LINGER: Duration = Duration::from_mins(1);

/// What no dyno reaches, whatever the host looks like: this host, link-local, multicast and beyond.
const DENIED: [(Ipv4Addr, u8); 3] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// The network that a sandbox starts with.
#[derive(Debug, Default)]
pub(super) struct Net {
    pub(super) ns: Option<OwnedFd>,
    /// Its own, where others reach it or it speaks from.
    pub(super) address: Option<Ipv4Addr>,
    /// Central mode: what the policy holds it to.
    pub(super) seat: Option<Seat>,
}

/// The policy, and the seats that wait to be given up.
#[derive(Debug)]
pub(super) struct Central {
    policy: Result<Policy, String>,
    /// By cgroup: since when its dyno is gone, and the dyno net it was in, if that is known.
    gone: BTreeMap<u64, (Instant, Option<u8>)>,
}

impl Central {
    /// Loads the policy or takes it over. To be done in the host's mount namespace.
    pub(super) fn set_up(run: &Path, cgroups: &Cgroups, networks: &Networks) -> Self {
        let policy = make_trees(cgroups)
            .map_err(Trouble::failed("make the dynos' cgroups"))
            .and_then(|trees| {
                let denied = denied(networks).map_err(Trouble::failed("list own addresses"))?;
                Policy::set_up(run, &trees, &denied)
                    .map_err(Trouble::failed("load the port policy"))
            })
            .map_err(|trouble| trouble.reason);
        Self {
            policy,
            gone: BTreeMap::new(),
        }
    }

    /// Why there is no central mode; `None`: it can be had.
    pub(super) fn refusal(&self, networks: &Networks) -> Option<String> {
        let policy = match &self.policy {
            Ok(policy) => policy,
            Err(reason) => return Some(reason.clone()),
        };
        if !landlock::has_scopes() && !policy.has_lsm() {
            let reason = "neither Landlock scopes (Linux 6.12) nor BPF LSM programs: nothing holds \
                          abstract Unix sockets";
            return Some(reason.to_owned());
        }
        networks.host.as_ref().err().cloned()
    }

    /// What is refused though central mode can be had.
    pub(super) fn lacks(&self) -> Vec<String> {
        self.policy
            .as_ref()
            .map_or_else(|_| Vec::new(), |policy| policy.lacks().to_vec())
    }

    /// Whether the kernel tells who listens; else keepers have to look.
    pub(super) const fn tells(&self) -> bool {
        self.policy.is_ok()
    }

    pub(super) const fn policy(&self) -> Option<&Policy> {
        match &self.policy {
            Ok(policy) => Some(policy),
            Err(_) => None,
        }
    }

    /// Gives a cgroup its seat.
    pub(super) fn admit(&self, cgroup: u64, seat: &Seat) -> io::Result<()> {
        match &self.policy {
            Ok(policy) => policy.admit(cgroup, seat),
            Err(reason) => Err(io::Error::other(reason.clone())),
        }
    }

    /// All that the kernel has told since the last time.
    pub(super) fn events(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        if let Ok(policy) = &mut self.policy {
            policy.drain(|event| all.push(event));
        }
        all
    }

    /// The dyno of this cgroup is gone: its seat is given up a while later.
    pub(super) fn leave(&mut self, cgroup: u64, net: Option<u8>) {
        self.gone.insert(cgroup, (Instant::now(), net));
    }

    /// Seats of a former nursery whose dynos nobody knows are given up, too.
    pub(super) fn take_over(&mut self, table: &Table) -> io::Result<()> {
        let Ok(policy) = &self.policy else {
            return Ok(());
        };
        let known: BTreeSet<u64> = table.iter().map(|(_, sandbox)| sandbox.cgroup).collect();
        for cgroup in policy.admitted()? {
            if !known.contains(&cgroup) {
                self.gone.insert(cgroup, (Instant::now(), None));
            }
        }
        Ok(())
    }

    /// Gives up the seats that are due; tells the dyno nets that they were in.
    pub(super) fn dismiss(&mut self) -> Vec<u8> {
        let Ok(policy) = &self.policy else {
            return Vec::new();
        };
        let is_due = |(since, _): &(Instant, Option<u8>)| since.elapsed() >= LINGER;
        let due: Vec<_> = self.gone.extract_if(.., |_, gone| is_due(gone)).collect();
        for (cgroup, _) in &due {
            if let Err(error) = policy.dismiss(*cgroup) {
                say(&format!("dismiss a dyno's seat: {error}"));
            }
        }
        due.into_iter().filter_map(|(_, (_, net))| net).collect()
    }

    /// How long until the next seat is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let left = |(since, _): &(Instant, Option<u8>)| LINGER.saturating_sub(since.elapsed());
        self.gone.values().map(left).min()
    }

    /// Whether a seat in this dyno net waits to be given up.
    pub(super) fn lingers_in(&self, net: u8) -> bool {
        self.gone.values().any(|(_, other)| *other == Some(net))
    }
}

impl Networks {
    /// A seat's place in its dyno net: the namespace, made when missing, and what the policy needs.
    pub(super) fn seat(&mut self, seat: network::Seat, port: u16) -> Result<Net, Trouble> {
        let host = self.host.as_mut();
        let host = host.map_err(|reason| Trouble::refused(&*reason))?;
        let ns = host.dyno_net(seat.net());
        let ns = ns.map_err(Trouble::failed("make the dyno net"))?;
        let addr4 = self.range.central_address(seat);
        Ok(Net {
            ns: Some(ns),
            address: Some(addr4),
            seat: Some(Seat {
                addr4,
                lo4: network::private_loopback(seat),
                port,
                net: seat.net(),
            }),
        })
    }

    /// Takes over the dyno nets of a former nursery's living dynos.
    pub(super) fn adopt(&mut self, table: &Table) {
        for (_, sandbox) in table.iter() {
            if let Err(trouble) = self.adopt_one(sandbox) {
                say(&trouble.reason);
            }
        }
    }

    fn adopt_one(&mut self, sandbox: &Sandbox) -> Result<(), Trouble> {
        let (Network::Central { net, .. }, Some(_), Ok(host)) = (
            sandbox.networked.network,
            &sandbox.pidfd,
            self.host.as_mut(),
        ) else {
            return Ok(());
        };
        let ns = std::fs::File::open(format!("/proc/{}/ns/net", sandbox.pid));
        let ns = ns.map_err(Trouble::failed("open a dyno net"))?;
        host.adopt_dyno_net(net, ns.into())
            .map_err(Trouble::failed("take a dyno net over"))
    }
}

/// Both trees, side by side, so that the policy can hang on them before there is any dyno.
fn make_trees(cgroups: &Cgroups) -> io::Result<Trees> {
    Ok(Trees {
        central: cgroups.make_v2(Tree::Central.path())?,
        isolated: cgroups.make_v2(Tree::Isolated.path())?,
    })
}

/// Own addresses and those of other sandboxes, but for the resolver where it is among them.
fn denied(networks: &Networks) -> io::Result<Vec<Deny>> {
    let mut nets: Vec<(Ipv4Addr, u8)> = DENIED.to_vec();
    nets.push((networks.range.central_net(0), 16));
    for interface in nix::ifaddrs::getifaddrs()? {
        let address = interface.address.as_ref().and_then(|a| a.as_sockaddr_in());
        nets.extend(address.map(|a| (a.ip(), 32)));
    }
    let contains = |(net, prefix): &(Ipv4Addr, u8), address: Ipv4Addr| {
        let shift = 32 - u32::from(*prefix);
        u32::from(*net) >> shift == u32::from(address) >> shift
    };
    let resolvers = networks.host.as_ref().map(|host| host.resolvers().to_vec());
    let resolvers: Vec<_> = resolvers
        .unwrap_or_default()
        .into_iter()
        .filter(|address| nets.iter().any(|net| contains(net, *address)))
        .collect();
    nets.retain(|(net, prefix)| *prefix < 32 || !resolvers.contains(net));
    let deny = |(address, prefix), allows| Deny {
        address,
        prefix,
        allows,
    };
    let mut all: Vec<Deny> = nets.into_iter().map(|n| deny(n, Allows::Nothing)).collect();
    all.extend(resolvers.into_iter().map(|a| deny((a, 32), Allows::Dns)));
    Ok(all)
}
