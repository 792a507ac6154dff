//! One start: everything is opened, checked and made before the fork; what fails is undone by the
//! drop of what there was so far.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use model::limits;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::{Mode, fstat};

use super::folder::{self, Folder, Networked};
use super::home::read_only_clone;
use super::ids::Slot;
use super::layer::Layer;
use super::root::Own;
use super::table::{Sandbox, Starting, State, group_path};
use super::{Nursery, Trouble};
use crate::cgroup::{Group, Seen};
use crate::net::Seat;
use crate::plan::{Command, Groups, Keeping, Plan};
use crate::spec::{Base, Kind, Mount, Network, Place, Spec, Upper};
use crate::sys::process::{Side, clone_into};
use crate::world;

/// What the command's side of a sandbox needs beside its root.
struct Sides {
    keeping: Keeping,
    files: Vec<OwnedFd>,
    folder: Option<Folder>,
    /// The client's ends of a job's pipes: exit, lifeline.
    job: Option<(OwnedFd, OwnedFd)>,
}

/// Removes a group again, unless the start gets far enough.
struct Guarded(Option<Group>);

impl Guarded {
    const fn new(group: Group) -> Self {
        Self(Some(group))
    }

    fn get(&self) -> &Group {
        self.0
            .as_ref()
            .expect("only `keep` takes it, and takes the guard along")
    }

    fn keep(mut self) -> Group {
        self.0.take().expect("only this takes it, once")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|group| group.remove()) {
            super::say(&format!("remove a cgroup: {error}"));
        }
    }
}

impl Nursery {
    /// Forks a sandbox on its way; the answer follows when its command runs.
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
        let user_ns = self.ids.get(slot).and_then(|ns| ns.try_clone_to_owned());
        let user_ns = user_ns.map_err(Trouble::failed("make a user namespace"))?;
        let (net_ns, address) = self.network(spec, number)?;
        let group = self
            .cgroups
            .make(&group_path(&spec.id, spec.kind), &spec.limits)
            .map_err(Trouble::failed("make the cgroup"))?;
        let group = Guarded::new(group);
        let own = Own {
            slot,
            ids: user_ns.as_fd(),
            address,
        };
        let (root, mounts, layer) = self.root(spec, &own)?;
        let groups = planned_groups(self, group.get(), &layer)?;
        let sides = self.sides(spec, slot, fds)?;
        let (channel, theirs) = channel()?;
        let plan = Plan {
            hostname: spec.hostname.clone(),
            groups,
            net_ns,
            root,
            mounts,
            command: command(spec, slot, (user_ns, secrets), sides.files)?,
            channel: theirs,
            keeping: sides.keeping,
            watch_port: spec.watch_port,
            terminal: spec.terminal,
            keeper_id: slot.keeper(),
        };
        let folder = group
            .get()
            .v2_folder()
            .map_err(Trouble::failed("open the cgroup"))?;
        let mut steps = Vec::new();
        step(&mut steps, "prepare", since);
        let forking = Instant::now();
        let (pid, pidfd) = fork(plan, &folder)?;
        step(&mut steps, "fork", forking);
        let mut sandbox = Sandbox {
            id: spec.id.clone(),
            kind: spec.kind,
            number,
            networked: Networked::of(spec),
            pid,
            start_time: 0,
            pidfd: Some(pidfd),
            group: group.keep(),
            layer: Some(layer),
            volumes: volumes(spec),
            state: State::Starting(Box::new(Starting {
                client,
                since,
                channel,
                steps,
                terminal: None,
                failure: None,
                job: sides.job,
            })),
        };
        self.note(&mut sandbox, sides.folder);
        Ok(sandbox)
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

    fn network(
        &mut self,
        spec: &Spec,
        number: Option<u16>,
    ) -> Result<(Option<OwnedFd>, Option<std::net::Ipv4Addr>), Trouble> {
        let seat = match (spec.network, spec.kind, number) {
            (Network::Isolated { port }, Kind::Dyno { slot }, _) => Seat::Dyno { slot, port },
            (Network::Build, _, Some(number)) => Seat::Build { number },
            (Network::Central { .. }, _, _) => {
                let reason = &self.network.central;
                return Err(Trouble::refused(format!("no central mode: {reason}")));
            }
            _ => return Ok((None, None)),
        };
        let host = self.network.host.as_ref();
        let host =
            host.map_err(|reason| Trouble::refused(format!("network not available: {reason}")))?;
        let ns = self
            .network
            .pool
            .take(host, seat)
            .map_err(Trouble::failed("make the network"))?;
        Ok((Some(ns), Some(host.address(seat))))
    }

    fn sides(&self, spec: &Spec, slot: Slot, files: Vec<OwnedFd>) -> Result<Sides, Trouble> {
        match spec.kind {
            Kind::Job => {
                let pipes = || {
                    let (exit, ours) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
                    let (lifeline, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
                    let keeping = Keeping::Job {
                        exit: File::from(ours),
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
                    status: ends.status,
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

fn fork(plan: Plan, cgroup: &File) -> Result<(i32, OwnedFd), Trouble> {
    let mut flags =
        libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if plan.net_ns.is_none() {
        flags |= libc::CLONE_NEWNET;
    }
    match clone_into(flags, Some(cgroup.as_fd())).map_err(Trouble::failed("fork"))? {
        Side::Child => world::run(plan),
        Side::Parent { pid, pidfd } => Ok((pid, pidfd)),
    }
}

fn channel() -> Result<(OwnedFd, OwnedFd), Trouble> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(Trouble::failed("make a channel"))
}

fn planned_groups(nursery: &Nursery, group: &Group, layer: &Layer) -> Result<Groups, Trouble> {
    let plan = || {
        let (seen, seen_memory) = match group.seen() {
            Seen::Whole(at) => (read_only_clone(&at)?, layer.memory()?),
            Seen::Memory(at) => (nursery.home.template("cgroup")?, read_only_clone(&at)?),
        };
        Ok(Groups {
            join: group.join_files()?,
            seen,
            seen_memory,
            watch: group.watch_memory()?,
        })
    };
    plan().map_err(Trouble::failed::<io::Error>("open the cgroup"))
}

fn command(
    spec: &Spec,
    slot: Slot,
    (user_ns, secrets): (OwnedFd, OwnedFd),
    files: Vec<OwnedFd>,
) -> Result<Command, Trouble> {
    Ok(Command {
        argv: strings(&spec.argv)?,
        cwd: CString::new(spec.cwd.as_str()).map_err(Trouble::refused)?,
        uid: spec.uid,
        gid: spec.gid,
        base: slot.base(),
        user_ns,
        secrets,
        files,
    })
}

fn strings(texts: &[String]) -> Result<Vec<CString>, Trouble> {
    texts
        .iter()
        .map(|t| CString::new(t.as_str()).map_err(Trouble::refused))
        .collect()
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
