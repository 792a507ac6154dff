//! The forked child's way from a copy of the nursery to the keeper of a running command.
//!
//! Runs in the child alone, as root of the host and pid 1 of its new pid namespace. The order is
//! that of docs/sandbox.md: the user namespace is entered last and by the command alone, so that
//! mounts, pids, network and the rest belong to the host's.

mod overlay;
pub(crate) mod root;
pub(crate) mod steps;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::SigSet;

use crate::keeper::{self, Kept};
use crate::plan::{Groups, Keeping, Plan};
use crate::sys::{device, process};
use crate::{app, keeper::listeners::Listeners, keeper::output::Output, keeper::status::Status};
use steps::{Fail, Steps, failed};

/// Makes the world, forks the command into it and becomes its keeper. Never returns.
pub(crate) fn run(plan: Plan) -> ! {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| make(plan)));
    process::exit(match outcome {
        Ok(()) => 0,
        Err(_) => 101,
    })
}

/// All steps; what fails is told to the nursery, which removes what there is.
fn make(plan: Plan) {
    let mut steps = Steps::start();
    let outcome = close_others(&plan.files()).map_err(failed("close the nursery's files"));
    let channel = plan.channel.try_clone().map_err(failed("copy the channel"));
    let (Ok(()), Ok(channel)) = (outcome, channel) else {
        return;
    };
    match begin(plan, &channel, &mut steps) {
        Ok(kept) => {
            drop(channel);
            keeper::run(kept);
        }
        Err(fail) => steps::tell_failure(&channel, &fail),
    }
}

fn begin(plan: Plan, channel: &OwnedFd, steps: &mut Steps) -> Result<Kept, Fail> {
    SigSet::all()
        .thread_set_mask()
        .map_err(failed("block signals"))?;
    leave_log().map_err(failed("leave the nursery's log"))?;
    let Plan {
        hostname,
        groups,
        net_ns,
        root,
        mounts,
        command,
        keeping,
        ..
    } = plan;
    let Groups {
        join,
        seen,
        seen_memory,
        watch,
    } = groups;
    enter_group(join).map_err(failed("enter the cgroup"))?;
    steps.done("cgroup");
    enter_network(net_ns).map_err(failed("enter the network"))?;
    steps.done("network");
    let made = root::make(root, &(seen, seen_memory), mounts, steps)?;
    let terminal = plan
        .terminal
        .map(|window| made.terminal(window))
        .transpose()?;
    made.enter()?;
    nix::unistd::sethostname(&hostname).map_err(failed("set the hostname"))?;
    steps.done("pivot");

    let listeners = plan.watch_port.map(|_| Listeners::open()).transpose();
    let listeners = listeners.map_err(failed("watch for listeners"))?;
    protect_keeper().map_err(failed("protect the keeper"))?;
    let terminal = terminal
        .map(|(outer, inner)| steps::tell_terminal(channel, &outer).map(|()| inner))
        .transpose()
        .map_err(failed("hand over the terminal"))?;
    steps
        .tell(channel)
        .map_err(failed("report to the nursery"))?;
    let app = match process::clone_into(0, None).map_err(failed("fork the command"))? {
        process::Side::Child => app::run(
            command,
            made.files,
            terminal.as_ref(),
            channel,
            Steps::start(),
        ),
        process::Side::Parent { pid, pidfd: _ } => pid,
    };
    let (status, output, lifeline) = hold(keeping).map_err(failed("watch the output"))?;
    let watched = listeners.zip(plan.watch_port);
    let signals = keeper::signals().map_err(failed("watch for signals"))?;
    let kept = Kept {
        app,
        status,
        output,
        lifeline,
        memory: watch,
        watched,
        signals,
    };
    keeper::give_up_powers(plan.keeper_id).map_err(failed("give up the keeper's powers"))?;
    Ok(kept)
}

/// What the keeper tells, drains and dies with.
fn hold(keeping: Keeping) -> io::Result<(Status, Option<Output>, Option<OwnedFd>)> {
    Ok(match keeping {
        Keeping::Dyno { status, fifo } => (Status::Dyno(status), Some(Output::new(fifo)?), None),
        Keeping::Job { exit, lifeline } => (Status::Job(exit), None, Some(lifeline)),
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

fn enter_network(net_ns: Option<OwnedFd>) -> io::Result<()> {
    match net_ns {
        Some(ns) => Ok(setns(ns, CloneFlags::CLONE_NEWNET)?),
        None => device::bring_up_loopback(),
    }
}

/// The keeper outlives a want of memory; the command undoes this for itself. A root without
/// `CAP_SYS_RESOURCE` may not do it; then the kernel still picks the largest process, which the
/// keeper never is.
fn protect_keeper() -> io::Result<()> {
    match std::fs::write("/proc/self/oom_score_adj", "-1000") {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}
