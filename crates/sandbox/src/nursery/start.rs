//! One start: everything is opened, checked and made before the cradle gets its orders; what fails
//! is undone by the drop of what there was so far.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use model::{limits, network};
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::stat::{Mode, fstat};

use super::central::Net;
use super::cradles::{Cradle, Materials};
use super::folder::{self, Folder, Networked};
use super::ids::Slot;
use super::layer::Layer;
use super::ports::Port;
use super::root::Own;
use super::table::{Sandbox, Starting, State, Tree, group_path};
use super::{Nursery, Trouble};
use crate::net::Seat;
use crate::plan::{Command, Keeping, Orders};
use crate::spec::{Base, Kind, Mount, Network, Place, Spec, Upper};
use crate::world::steps::now_ns;

/// What the command's side of a sandbox needs beside its root.
struct Sides {
    keeping: Keeping,
    files: Vec<OwnedFd>,
    folder: Option<Folder>,
    /// The client's ends of a job's pipes: exit, lifeline.
    job: Option<(OwnedFd, OwnedFd)>,
}

impl Nursery {
    /// Sends a sandbox on its way; the answer follows when its command runs.
    pub(super) fn start(
        &mut self,
        client: u32,
        spec: &Spec,
        mut fds: Vec<OwnedFd>,
    ) -> Result<Sandbox, Trouble> {
        let since = Instant::now();
        spec.check().map_err(Trouble::refused)?;
        if self.table.find_id(&spec.id).is_some() {
            return Err(Trouble::exists(&spec.id));
        }
        let secrets = take_secrets(&mut fds)?;
        check_files(spec, &fds)?;
        let (number, slot) = self.place(spec)?;
        let net = self.network(spec, number)?;
        let mut steps = Vec::new();
        let sides = self.sides(spec, slot, fds)?;
        let cradle = self.cradle(spec, slot)?;
        let limited = self.cgroups.limit(cradle.group(), &spec.limits);
        limited.map_err(Trouble::failed("limit the cgroup"))?;
        step(&mut steps, "cradle", since);
        let copy = net.ns.as_ref().map(OwnedFd::try_clone).transpose();
        let copy = copy.map_err(Trouble::failed("copy a namespace"))?;
        cradle.command(command(spec, copy, secrets, sides.files))?;
        let rooting = Instant::now();
        let seat = net.seat;
        let (mut orders, layer) = self.orders(spec, slot, net, sides.keeping)?;
        let port = self.port(spec)?;
        step(&mut steps, "layers", rooting);
        let cgroup = cradle.group().id();
        let cgroup = cgroup.map_err(Trouble::failed("look at the cgroup"))?;
        if let Some(seat) = seat {
            let admitting = Instant::now();
            let admitted = self.central.admit(cgroup, &seat);
            admitted.map_err(Trouble::failed("give the dyno its seat"))?;
            step(&mut steps, "policy", admitting);
        }
        orders.sent_ns = now_ns();
        let ordered = cradle.order(orders);
        if ordered.is_err() && seat.is_some() {
            self.central.leave(cgroup, None);
        }
        ordered?;
        let parts = cradle.into_parts();
        let mut sandbox = Sandbox {
            id: spec.id.clone(),
            kind: spec.kind,
            number,
            networked: Networked::of(spec),
            pid: parts.pid,
            start_time: 0,
            pidfd: Some(parts.pidfd),
            group: parts.group,
            cgroup,
            port,
            layer: Some(layer),
            volumes: volumes(spec),
            state: State::Starting(Box::new(Starting {
                client,
                since,
                channel: parts.channel,
                steps,
                terminal: None,
                failure: None,
                job: sides.job,
            })),
        };
        self.note(&mut sandbox, sides.folder);
        Ok(sandbox)
    }

    /// What the keeper has to do, and the layer that it needs.
    fn orders(
        &mut self,
        spec: &Spec,
        slot: Slot,
        net: Net,
        keeping: Keeping,
    ) -> Result<(Orders, Layer), Trouble> {
        let ids = self.ids.get(slot).and_then(|ns| ns.try_clone_to_owned());
        let ids = ids.map_err(Trouble::failed("make a user namespace"))?;
        let own = Own {
            slot,
            ids: ids.as_fd(),
            address: net.address,
        };
        let (layers, layer) = self.root(spec, &own)?;
        let orders = Orders {
            sent_ns: 0,
            hostname: spec.hostname.clone(),
            net_ns: net.ns,
            lowers: layers.lowers,
            upper: layers.upper,
            mounts: layers.mounts,
            seen_memory: layers.seen_memory,
            keeping,
            watch_port: spec.watch_port.filter(|_| !self.central.tells()),
            terminal: spec.terminal,
            owner: (slot.base() + spec.uid, slot.base() + spec.gid),
        };
        Ok((orders, layer))
    }

    /// The slot's cradle: ready, or made now.
    fn cradle(&mut self, spec: &Spec, slot: Slot) -> Result<Cradle, Trouble> {
        let tree = Tree::of(spec.kind, spec.network);
        let path = group_path(&spec.id, spec.kind, tree);
        let mut with = Materials {
            home: &self.home,
            cgroups: &self.cgroups,
            ids: &mut self.ids,
        };
        let has_own_net = spec.network == Network::None;
        self.cradles
            .take(&mut with, (tree, slot), &path, has_own_net)
    }

    /// The job's number, and the ids of either kind.
    fn place(&self, spec: &Spec) -> Result<(Option<u16>, Slot), Trouble> {
        match spec.kind {
            Kind::Dyno { slot } => Ok((None, Slot::of_dyno(slot))),
            Kind::Job => {
                let number = self.table.free_job_number();
                let number = number.ok_or_else(|| Trouble::refused("too many jobs run"))?;
                Ok((Some(number), Slot::of_job(number)))
            }
        }
    }

    fn network(&mut self, spec: &Spec, number: Option<u16>) -> Result<Net, Trouble> {
        let seat = match (spec.network, spec.kind, number) {
            (Network::Isolated { port }, Kind::Dyno { slot }, _) => Seat::Dyno { slot, port },
            (Network::Build, _, Some(number)) => Seat::Build { number },
            (Network::Central { net, host, port }, _, _) => {
                if let Some(reason) = self.central.refusal(&self.networks) {
                    return Err(Trouble::refused(format!("no central mode: {reason}")));
                }
                let seat = network::Seat::new(net, host).map_err(Trouble::refused)?;
                return self.networks.seat(seat, port);
            }
            _ => return Ok(Net::default()),
        };
        let host = self.networks.host.as_ref();
        let host =
            host.map_err(|reason| Trouble::refused(format!("network not available: {reason}")))?;
        let ns = self.networks.pool.take(host, seat);
        Ok(Net {
            ns: Some(ns.map_err(Trouble::failed("make the network"))?),
            address: Some(host.address(seat)),
            seat: None,
        })
    }

    /// Nobody has to be told about the ports of a job, nor where keepers look for themselves.
    fn port(&self, spec: &Spec) -> Result<Option<Port>, Trouble> {
        match spec.kind {
            Kind::Dyno { slot } if self.central.tells() => {
                Port::open(&self.home, slot, Networked::of(spec))
                    .map_err(Trouble::failed("open the dyno's status"))
            }
            _ => Ok(None),
        }
    }

    fn sides(&self, spec: &Spec, slot: Slot, files: Vec<OwnedFd>) -> Result<Sides, Trouble> {
        match spec.kind {
            Kind::Job => {
                let pipes = || {
                    let (exit, ours) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
                    let (lifeline, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
                    let keeping = Keeping::Job {
                        exit: ours,
                        lifeline,
                    };
                    Ok::<_, nix::Error>((keeping, (exit, theirs)))
                };
                let (keeping, job) = pipes().map_err(Trouble::failed("make the pipes of a job"))?;
                Ok(Sides {
                    keeping,
                    files,
                    folder: None,
                    job: Some(job),
                })
            }
            Kind::Dyno { slot: number } => {
                let owner = slot.base() + spec.uid;
                let (folder, ends) = Folder::make(&self.home, number, spec, owner)?;
                let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
                let null = null.map_err(Trouble::failed("open /dev/null"))?;
                let [out, err] = ends.write;
                let keeping = Keeping::Dyno {
                    status: ends.status.into(),
                    fifo: ends.fifo,
                };
                let files = vec![null, out, err];
                Ok(Sides {
                    keeping,
                    files,
                    folder: Some(folder),
                    job: None,
                })
            }
        }
    }

    /// Writes down by what a later nursery finds the dyno; one that cannot be found is killed.
    fn note(&self, sandbox: &mut Sandbox, made: Option<Folder>) {
        let Some(start_time) = folder::start_time(sandbox.pid) else {
            return; // dead already: its channel tells why
        };
        sandbox.start_time = start_time;
        let Some(folder) = made else {
            return;
        };
        match folder.tell_pid(&self.home, sandbox.pid, start_time) {
            Ok(()) => folder.keep(),
            Err(error) => {
                let trouble = Trouble::failed("note the dyno's pid")(error);
                sandbox.fail(trouble.reason);
            }
        }
    }
}

fn step(steps: &mut Vec<(String, u32)>, name: &str, since: Instant) {
    let us = u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
    steps.push((name.to_owned(), us));
}

fn command(spec: &Spec, net_ns: Option<OwnedFd>, secrets: OwnedFd, files: Vec<OwnedFd>) -> Command {
    let files_to = spec.mounts.iter().find_map(|mount| match mount {
        Mount::Files { to } => Some(to.clone()),
        _ => None,
    });
    Command {
        argv: spec.argv.clone(),
        cwd: spec.cwd.clone(),
        uid: spec.uid,
        gid: spec.gid,
        net_ns,
        secrets,
        files,
        files_to,
    }
}

/// The first file: nobody can change it any more, and it is not too long.
fn take_secrets(fds: &mut Vec<OwnedFd>) -> Result<OwnedFd, Trouble> {
    if fds.is_empty() {
        return Err(Trouble::refused("the secrets are missing"));
    }
    let secrets = fds.remove(0);
    let seals = fcntl(&secrets, FcntlArg::F_GET_SEALS).map_err(Trouble::refused)?;
    if !SealFlag::from_bits_truncate(seals).contains(crate::sys::seals()) {
        return Err(Trouble::refused("the secrets are not sealed"));
    }
    let size = fstat(&secrets).map_err(Trouble::refused)?.st_size;
    if u64::try_from(size).unwrap_or(u64::MAX) > limits::SANDBOX_SECRETS_MAX_BYTES {
        return Err(Trouble::refused("the secrets are too long"));
    }
    Ok(secrets)
}

fn check_files(spec: &Spec, files: &[OwnedFd]) -> Result<(), Trouble> {
    match (spec.kind, spec.terminal) {
        (Kind::Job, None) if files.len() < 3 => {
            Err(Trouble::refused("a job needs its files 0, 1 and 2"))
        }
        (Kind::Dyno { .. }, _) | (_, Some(_)) if !files.is_empty() => {
            Err(Trouble::refused("a dyno or a terminal takes no files"))
        }
        _ => Ok(()),
    }
}

fn volumes(spec: &Spec) -> Vec<String> {
    let of = |place: &Place| match &place.base {
        Base::Volume(id) => Some(id.clone()),
        _ => None,
    };
    let mut all: Vec<String> = spec.lowers.iter().filter_map(of).collect();
    if let Upper::Volume { volume, .. } = &spec.upper {
        all.push(volume.clone());
    }
    for mount in &spec.mounts {
        match mount {
            Mount::Bind { from, .. } => all.extend(of(from)),
            Mount::Overlay { lowers, upper, .. } => {
                all.extend(lowers.iter().chain([upper]).filter_map(of));
            }
            Mount::Files { .. } | Mount::Tmpfs { .. } => {}
        }
    }
    all
}
