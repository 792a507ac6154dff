//! Cradles: sandboxes that were made ahead, up to where a spec is needed.
//!
//! A cradle has its cgroup, its namespaces, an empty root and two processes: one that will be the
//! keeper and one that will be the command (`crate::world`). A start then only lays the root and
//! runs the program: half of what it takes otherwise (docs/start-times.md). Ids and cgroup belong
//! to a slot, so a cradle does, too; slots that are given out lowest first find theirs ready. They
//! die with the nursery: each waits at a socket that closes then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::home::{Home, read_only_clone};
use super::ids::{Ids, Slot};
use super::table::{Tree, group_path};
use super::{Trouble, say};
use crate::cgroup::{Cgroups, Group, Seen};
use crate::plan::{self, Carried, Command, Orders};
use crate::spec::Kind;
use crate::sys::process::{self, Side, clone_into};
use crate::world;
use crate::world::root::MASKED;

/// How often the kernel is asked to remove the cgroup of a dead cradle.
const BURIALS: u16 = 1000;

/// What a cradle is made with.
#[derive(Debug)]
pub(super) struct Materials<'a> {
    pub(super) home: &'a Home,
    pub(super) cgroups: &'a Cgroups,
    pub(super) ids: &'a mut Ids,
}

/// One cradle; killed and removed when dropped, unless a sandbox is made of it.
#[derive(Debug)]
pub(super) struct Cradle {
    inner: Option<Parts>,
}

/// What a sandbox takes over from its cradle.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) group: Group,
    /// To the keeper, and from both processes.
    pub(super) channel: OwnedFd,
    /// To the process that becomes the command.
    command: OwnedFd,
}

/// The cradles that wait.
#[derive(Debug, Default)]
pub(super) struct Cradles(BTreeMap<(Tree, Slot), Cradle>);

impl Cradles {
    /// The cradle of a slot: ready, or made now, as it is for a sandbox without any network.
    pub(super) fn take(
        &mut self,
        with: &mut Materials<'_>,
        (tree, slot): (Tree, Slot),
        path: &str,
        has_own_net: bool,
    ) -> Result<Cradle, Trouble> {
        // What is not good enough is removed here: its cgroup has the same path.
        let ready = self.0.remove(&(tree, slot));
        match ready.filter(|ready| !has_own_net && ready.is_alive()) {
            Some(ready) => Ok(ready),
            None => Cradle::make(with, slot, path, has_own_net),
        }
    }

    /// Makes the next cradle that is missing; false: none is.
    pub(super) fn make_ahead(
        &mut self,
        with: &mut Materials<'_>,
        wanted: &[(Tree, usize)],
        taken: &BTreeSet<Slot>,
    ) -> Result<bool, Trouble> {
        for (tree, count) in wanted {
            let free = (0..).filter(|slot| !taken.contains(&Slot::of_dyno(*slot)));
            let mut next = free.take(*count);
            let missing = next.find(|n| !self.0.contains_key(&(*tree, Slot::of_dyno(*n))));
            if let Some(slot) = missing {
                let path = group_path("", Kind::Dyno { slot }, *tree);
                let slot = Slot::of_dyno(slot);
                let cradle = Cradle::make(with, slot, &path, false)?;
                self.0.insert((*tree, slot), cradle);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Cradle {
    fn make(
        with: &mut Materials<'_>,
        slot: Slot,
        path: &str,
        has_own_net: bool,
    ) -> Result<Self, Trouble> {
        let user_ns = with.ids.get(slot).and_then(|ns| ns.try_clone_to_owned());
        let user_ns = user_ns.map_err(Trouble::failed("make a user namespace"))?;
        let changes = with.ids.changes(slot);
        let changes = changes.map_err(Trouble::failed("make an inotify instance"))?;
        let group = with
            .cgroups
            .make(path)
            .map_err(Trouble::failed("make the cgroup"))?;
        let made = fork(with, (slot, user_ns, changes), &group, has_own_net);
        if made.is_err()
            && let Err(error) = group.remove()
        {
            say(&format!("remove a cgroup: {error}"));
        }
        let (pid, pidfd, channel, command) = made?;
        Ok(Self {
            inner: Some(Parts {
                pid,
                pidfd,
                group,
                channel,
                command,
            }),
        })
    }

    pub(super) fn group(&self) -> &Group {
        &self.parts().group
    }

    fn parts(&self) -> &Parts {
        let parts = self.inner.as_ref();
        parts.expect("only `into_parts` takes them, and the cradle with them")
    }

    /// Hands a packet to the process that becomes the command.
    pub(super) fn command(&self, command: Command) -> Result<(), Trouble> {
        send(&self.parts().command, command)
    }

    /// Hands its orders to the keeper.
    pub(super) fn order(&self, orders: Orders) -> Result<(), Trouble> {
        send(&self.parts().channel, orders)
    }

    /// From now on it is the caller's to kill and to bury.
    pub(super) fn into_parts(mut self) -> Parts {
        self.inner.take().expect("only this takes them, once")
    }

    fn is_alive(&self) -> bool {
        let mut ended = [PollFd::new(self.parts().pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut ended, PollTimeout::ZERO) == Ok(0)
    }
}

impl Drop for Cradle {
    fn drop(&mut self) {
        if let Some(parts) = self.inner.take()
            && let Err(error) = bury(&parts)
        {
            say(&format!("remove a cradle: {error}"));
        }
    }
}

fn bury(parts: &Parts) -> io::Result<()> {
    match process::send_signal(parts.pidfd.as_fd(), libc::SIGKILL, None) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
        other => other?,
    }
    waitpid(Pid::from_raw(parts.pid), None)?;
    for _ in 0..BURIALS {
        match parts.group.remove() {
            // The kernel buries a little later than it tells.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                poll(&mut [], PollTimeout::from(1_u8))?;
            }
            other => return other,
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

fn send(to: &OwnedFd, packet: impl Carried) -> Result<(), Trouble> {
    plan::send(to.as_fd(), packet).map_err(Trouble::failed("give orders"))
}

type Forked = (i32, OwnedFd, OwnedFd, OwnedFd);

fn fork(
    with: &Materials<'_>,
    (slot, user_ns, changes): (Slot, OwnedFd, OwnedFd),
    group: &Group,
    has_own_net: bool,
) -> Result<Forked, Trouble> {
    let make = || {
        let (channel, theirs) = pair()?;
        let (command, its) = pair()?;
        let template = |name: &str| with.home.template(name);
        let masks: io::Result<_> = MASKED.iter().map(|_| template("dev/null")).collect();
        let plan = plan::Cradle {
            groups: groups(with.home, group)?,
            staging: with.home.world.join("staging").display().to_string(),
            way: with.home.layer_way,
            dev: template("dev")?,
            masks: masks?,
            has_own_net,
            base: slot.base(),
            keeper_id: slot.keeper(),
            user_ns,
            changes,
            channel: theirs,
            command: its,
        };
        Ok::<_, io::Error>((plan, channel, command, group.v2_folder()?))
    };
    let (plan, channel, command, folder) = make().map_err(Trouble::failed("make a cradle"))?;
    let (pid, pidfd) = clone(plan, &folder).map_err(Trouble::failed("fork"))?;
    Ok((pid, pidfd, channel, command))
}

fn clone(plan: plan::Cradle, cgroup: &File) -> io::Result<(i32, OwnedFd)> {
    let mut flags =
        libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if plan.has_own_net {
        flags |= libc::CLONE_NEWNET;
    }
    match clone_into(flags, Some(cgroup.as_fd()))? {
        Side::Child => world::run(plan),
        Side::Parent { pid, pidfd } => Ok((pid, pidfd)),
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        flags,
    )?)
}

fn groups(home: &Home, group: &Group) -> io::Result<plan::Groups> {
    let (seen, seen_memory) = match group.seen() {
        Seen::Whole(at) => (read_only_clone(&at)?, None),
        Seen::Memory(at) => (home.template("cgroup")?, Some(read_only_clone(&at)?)),
    };
    Ok(plan::Groups {
        join: group.join_files()?,
        seen,
        seen_memory,
        watch: group.watch_memory()?,
    })
}
