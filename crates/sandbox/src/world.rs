//! The forked child's way from a copy of the nursery to the keeper of a running command.
//!
//! Runs in the child alone, as root of the host and pid 1 of its new pid namespace. First, ahead of
//! any start, it becomes a cradle: namespaces, cgroup, an empty root, and a child of its own that
//! will become the command ([`crate::app`]). Then it waits for its orders. The order of the steps
//! is that of docs/sandbox.md: the user namespace is entered by the command's process alone, so
//! that mounts, pids, network and the rest belong to the host's.

mod overlay;
pub(crate) mod root;
pub(crate) mod steps;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::SigSet;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::cgroup::MemoryWatch;
use crate::keeper::{self, Kept};
use crate::plan::{self, Cradle, Keeping, Orders};
use crate::sys::{device, process, socket};
use crate::{app, keeper::listeners::Listeners, keeper::output::Output, keeper::status::Status};
use root::Stage;
use steps::{Fail, Steps, failed, now_ns};

const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Becomes a cradle, waits for orders, and becomes the keeper of a command. Never returns.
pub(crate) fn run(cradle: Cradle) -> ! {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| make(cradle)));
    process::exit(match outcome {
        Ok(()) => 0,
        Err(_) => 101,
    })
}

/// All steps; what fails is told to the nursery, which removes what there is.
fn make(cradle: Cradle) {
    let outcome = close_others(&cradle.files()).map_err(failed("close the nursery's files"));
    let channel = cradle
        .channel
        .try_clone()
        .map_err(failed("copy the channel"));
    let (Ok(()), Ok(channel)) = (outcome, channel) else {
        return;
    };
    let kept = settle(cradle).and_then(|ready| ready.follow_orders(&channel));
    drop_or_tell(kept, channel);
}

fn drop_or_tell(kept: Result<Option<Kept>, Fail>, channel: OwnedFd) {
    match kept {
        Ok(Some(kept)) => {
            drop(channel);
            keeper::run(kept);
        }
        Ok(None) => {} // the nursery has no use for it any more
        Err(fail) => steps::tell_failure(&channel, &fail),
    }
}

/// A cradle that waits.
#[derive(Debug)]
struct Ready {
    stage: Stage,
    /// The process that will be the command.
    app: i32,
    /// To tell it that its world is complete.
    go: OwnedFd,
    memory: MemoryWatch,
    changes: OwnedFd,
    keeper_id: u32,
}

/// Makes all that needs no orders.
fn settle(cradle: Cradle) -> Result<Ready, Fail> {
    SigSet::all()
        .thread_set_mask()
        .map_err(failed("block signals"))?;
    leave_log().map_err(failed("leave the nursery's log"))?;
    let Cradle {
        groups,
        staging,
        way,
        dev,
        masks,
        has_own_net,
        base,
        keeper_id,
        user_ns,
        changes,
        channel,
        command,
    } = cradle;
    enter_group(groups.join).map_err(failed("enter the cgroup"))?;
    if has_own_net {
        device::bring_up_loopback().map_err(failed("bring up lo"))?;
    }
    let seen = (groups.seen, groups.seen_memory);
    let stage = Stage::make(&staging, way, base).map_err(failed("make an empty root"))?;
    stage.fill(&dev, &seen, &masks)?;
    // What the command's process inherits.
    std::fs::write(OOM_SCORE, "0").map_err(failed("leave the nursery's protection"))?;
    let (go, wait) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(failed("make a socket pair"))?;
    let app = match process::clone_into(0, None).map_err(failed("fork the command"))? {
        process::Side::Child => {
            drop(go);
            let lines = app::Lines {
                channel,
                command,
                go: wait,
            };
            app::run(&user_ns, &lines)
        }
        process::Side::Parent { pid, pidfd: _ } => pid,
    };
    protect_keeper().map_err(failed("protect the keeper"))?;
    Ok(Ready {
        stage,
        app,
        go,
        memory: groups.watch,
        changes,
        keeper_id,
    })
}

impl Ready {
    /// Waits for orders and carries them out; `None`: there will be none.
    fn follow_orders(self, channel: &OwnedFd) -> Result<Option<Kept>, Fail> {
        let orders = plan::receive(channel.as_fd()).map_err(failed("read the orders"))?;
        let Some(orders) = orders else {
            return Ok(None);
        };
        let Orders {
            sent_ns,
            hostname,
            net_ns,
            keeping,
            watch_port,
            terminal,
            owner,
            lowers,
            upper,
            mounts,
            seen_memory,
        } = orders;
        let mut steps = Steps::since(sent_ns);
        steps.done("wake");
        if let Some(ns) = net_ns {
            setns(ns, CloneFlags::CLONE_NEWNET).map_err(failed("enter the network"))?;
        }
        self.stage.see_memory(seen_memory)?;
        let layers = root::Layers {
            lowers,
            upper,
            owner,
        };
        let made = self.stage.lay(layers, mounts, &mut steps)?;
        let inner = terminal
            .map(|window| {
                let (outer, inner) = made.terminal(window, owner)?;
                steps::tell_terminal(channel, &outer).map_err(failed("hand over the terminal"))?;
                Ok::<_, Fail>(inner)
            })
            .transpose()?;
        made.enter()?;
        nix::unistd::sethostname(&hostname).map_err(failed("set the hostname"))?;
        steps.done("pivot");
        let listeners = watch_port.map(|_| Listeners::open()).transpose();
        let listeners = listeners.map_err(failed("watch for listeners"))?;
        steps
            .tell(channel)
            .map_err(failed("report to the nursery"))?;
        let (mut status, output, lifeline) =
            hold(keeping, self.changes).map_err(failed("watch the output"))?;
        status.say("started").map_err(failed("tell of the start"))?;
        tell_go(&self.go, inner.as_ref()).map_err(failed("let the command go"))?;
        root::leave_stage().map_err(failed("leave the empty root"))?;
        let signals = keeper::signals().map_err(failed("watch for signals"))?;
        keeper::give_up_powers(self.keeper_id).map_err(failed("give up the keeper's powers"))?;
        Ok(Some(Kept {
            app: self.app,
            status,
            output,
            lifeline,
            memory: self.memory,
            watched: listeners.zip(watch_port),
            signals,
        }))
    }
}

/// Tells the command's process that its root is complete, and hands it its terminal.
fn tell_go(go: &OwnedFd, terminal: Option<&OwnedFd>) -> io::Result<()> {
    let files: Vec<BorrowedFd<'_>> = terminal.iter().map(|fd| fd.as_fd()).collect();
    match socket::send(go.as_fd(), &now_ns().to_ne_bytes(), &files) {
        // It has failed already, and told why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// What the keeper tells, drains and dies with.
fn hold(
    keeping: Keeping,
    changes: OwnedFd,
) -> io::Result<(Status, Option<Output>, Option<OwnedFd>)> {
    Ok(match keeping {
        Keeping::Dyno { status, fifo } => {
            let output = Output::new(fifo, changes)?;
            (Status::Dyno(status.into()), Some(output), None)
        }
        Keeping::Job { exit, lifeline } => (Status::Job(exit.into()), None, Some(lifeline)),
    })
}

/// Closes all files but these and 0, 1, 2: other sandboxes' pipes must not live on in here.
fn close_others(keep: &[RawFd]) -> io::Result<()> {
    let mut next = 3;
    for fd in keep {
        if *fd > next {
            process::close_range(next, (*fd - 1).cast_unsigned())?;
        }
        next = next.max(*fd + 1);
    }
    process::close_range(next, u32::MAX)
}

/// Lets go of the nursery's own 0, 1 and 2: whoever reads its log must see it end with the nursery.
fn leave_log() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    (0..3).try_for_each(|number| process::place(null.as_fd(), number))
}

/// Joins the v1 groups; then this cgroup is the root of what is seen.
fn enter_group(join: Vec<OwnedFd>) -> io::Result<()> {
    for procs in join {
        File::from(procs).write_all(b"0")?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP)?;
    Ok(())
}

/// The keeper outlives a want of memory. A root without
/// `CAP_SYS_RESOURCE` may not do it; then the kernel still picks the largest process, which the
/// keeper never is.
fn protect_keeper() -> io::Result<()> {
    match std::fs::write(OOM_SCORE, "-1000") {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}
