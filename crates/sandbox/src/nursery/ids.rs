//! User namespaces, one per slot, made ahead: inside ids 0 to 65,535 are the host's from
//! 2^20 + slot * 65,536 on.
//!
//! Dynos have the slots that their client names, below 16,384; jobs those from there up.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, unshare};
use nix::sys::inotify::{InitFlags, Inotify};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, Uid, geteuid, seteuid};

use crate::net::Seat;
use crate::sys::process::{Side, clone_into, exit};

/// Ids of one slot.
const IDS: u32 = 65_536;
/// The first host id that is given out. Below: users of the host, and its subordinate ids.
const FIRST: u32 = 1 << 20;
/// The first slot of jobs.
const FIRST_JOB_SLOT: u16 = 16_384;
/// Host ids of keepers, one per slot: above all that is mapped.
const FIRST_KEEPER: u32 = 0x7000_0000;
/// Host ids that own the namespaces, one per slot; no process has one for longer than it takes to
/// make its namespace.
///
/// The kernel charges inotify instances, queues, waiting signals and the like of everybody inside
/// to the namespace's owner as well (`inc_ucount` in kernel/ucount.c). Were that root, a single
/// dyno could leave none to all others and to the host.
const FIRST_OWNER: u32 = 0x7100_0000;
/// Count of namespaces that wait ready for dynos, and for jobs. A cold one takes 0.3 ms.
const READY: [(u16, usize); 2] = [(0, 32), (FIRST_JOB_SLOT, 8)];

/// Which ids a sandbox has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u16);

impl Slot {
    pub(super) const fn of_dyno(slot: u16) -> Self {
        Self(slot)
    }

    /// Of the job that has this number.
    pub(super) const fn of_job(number: u16) -> Self {
        Self(FIRST_JOB_SLOT + number)
    }

    /// Of whoever has that place on a bridge.
    pub(super) const fn at(seat: Seat) -> Self {
        match seat {
            Seat::Dyno { slot, .. } => Self::of_dyno(slot),
            Seat::Build { number } => Self::of_job(number),
        }
    }

    /// The host's id of the inside 0.
    pub(super) const fn base(self) -> u32 {
        FIRST + self.0 as u32 * IDS
    }

    /// The host's user and group of the keeper.
    pub(super) const fn keeper(self) -> u32 {
        FIRST_KEEPER + self.0 as u32
    }

    /// The host's user that the namespace belongs to.
    const fn owner(self) -> u32 {
        FIRST_OWNER + self.0 as u32
    }
}

/// The namespaces that were made so far; each costs the kernel about a kilobyte and is used again
/// by the next sandbox of its slot.
#[derive(Debug, Default)]
pub(super) struct Ids {
    namespaces: BTreeMap<Slot, OwnedFd>,
    /// By which keepers learn of their output. The last to close one waits for all readers of the
    /// kernel's lists (`fsnotify_destroy_group`: 8 to 20 ms, measured 24 Nov 2026), and a keeper
    /// that did would end that much later.
    changes: BTreeMap<Slot, OwnedFd>,
}

impl Ids {
    /// The namespace of a slot.
    pub(super) fn get(&mut self, slot: Slot) -> io::Result<BorrowedFd<'_>> {
        let there: &OwnedFd = match self.namespaces.entry(slot) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(make(slot)?),
        };
        Ok(there.as_fd())
    }

    /// A copy of the slot's inotify instance. The keeper's user is charged for it, since root has
    /// no more than 128 (`inotify(7)`, `max_user_instances`).
    pub(super) fn changes(&mut self, slot: Slot) -> io::Result<OwnedFd> {
        match self.changes.entry(slot) {
            Entry::Occupied(there) => there.get().try_clone(),
            Entry::Vacant(place) => {
                let own = geteuid();
                seteuid(Uid::from_raw(slot.keeper()))?;
                let made = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
                seteuid(own)?;
                place.insert(made?.into()).try_clone()
            }
        }
    }

    /// Makes the next namespace that is missing; false: none is.
    pub(super) fn make_ahead(&mut self, taken: &BTreeSet<Slot>) -> io::Result<bool> {
        for (first, count) in READY {
            let free = (first..).map(Slot).filter(|slot| !taken.contains(slot));
            let missing = free
                .take(count)
                .find(|slot| !self.namespaces.contains_key(slot));
            if let Some(slot) = missing {
                self.get(slot)?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Makes a namespace by a process that lives just long enough to be in it.
fn make(slot: Slot) -> io::Result<OwnedFd> {
    let (mut go, tell_go) = io::pipe()?;
    let (mut hear, tell) = io::pipe()?;
    let pid = match clone_into(0, None)? {
        Side::Child => {
            drop((tell_go, hear));
            // What the kernel refused is told; an end of the parent needs no telling.
            let ended = be_inside(slot, &mut go, tell).map_err(|error| error.raw_os_error());
            exit(ended.err().flatten().unwrap_or(0))
        }
        Side::Parent { pid, pidfd: _ } => pid,
    };
    drop((go, tell));
    let mut word = [0];
    let made = hear
        .read_exact(&mut word)
        .and_then(|()| map(pid, slot, tell_go))
        .and_then(|ns| hear.read_exact(&mut word).map(|()| ns));
    match waitpid(Pid::from_raw(pid), None)? {
        WaitStatus::Exited(_, errno) if errno != 0 => Err(io::Error::from_raw_os_error(errno)),
        _ => made,
    }
}

fn map(pid: i32, slot: Slot, mut tell_go: io::PipeWriter) -> io::Result<OwnedFd> {
    let map = format!("0 {} {IDS}", slot.base());
    fs::write(format!("/proc/{pid}/uid_map"), &map)?;
    fs::write(format!("/proc/{pid}/gid_map"), &map)?;
    let ns = fs::File::open(format!("/proc/{pid}/ns/user"))?;
    tell_go.write_all(b"g")?;
    Ok(ns.into())
}

/// Makes the namespace as its owner. Inside, once there is a map: nobody makes a user namespace
/// below this one, ever.
fn be_inside(slot: Slot, go: &mut io::PipeReader, mut tell: io::PipeWriter) -> io::Result<()> {
    let owner = Uid::from_raw(slot.owner());
    nix::unistd::setresuid(owner, owner, owner)?;
    unshare(CloneFlags::CLONE_NEWUSER)?;
    tell.write_all(b"u")?;
    let mut word = [0];
    go.read_exact(&mut word)?;
    let root = Uid::from_raw(0);
    nix::unistd::setresuid(root, root, root)?;
    fs::write("/proc/sys/user/max_user_namespaces", "0")?;
    tell.write_all(b"r")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_slots_never_meet() {
        let last_dyno = Slot::of_dyno(model::network::SLOTS_MAX - 1);
        let last_job = Slot::of_job(u16::try_from(model::limits::JOBS_MAX).unwrap());
        assert!(last_dyno.base() < Slot::of_job(0).base());
        assert!(last_job.base().checked_add(IDS).unwrap() < Slot::of_dyno(0).keeper());
        assert!(last_job.keeper() < Slot::of_dyno(0).owner());
        assert_eq!(Slot::of_dyno(1).base(), 1_048_576 + 65_536);
    }
}
