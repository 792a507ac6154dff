//! The small root program that makes sandboxes: started by `paas up`, asked by builder and dynod.
//!
//! One thread, no input from the network; between two requests it only waits. It may be killed at
//! any moment: dynos live on, the next nursery finds them and removes the jobs of the former one.

mod arguments;
mod central;
mod cradles;
mod folder;
mod home;
mod ids;
mod layer;
mod places;
mod ports;
mod root;
mod serve;
mod start;
mod table;
mod volumes;

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use model::network::Range;
use model::{instance, limits};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};

use crate::cgroup::Cgroups;
use crate::net;
use crate::wire::{Answer, Failure};
use arguments::Arguments;
use central::Central;
use cradles::{Cradles, Materials};
use home::Home;
use ids::Ids;
use serve::Server;
use table::{Table, Tree};
use volumes::Volumes;

/// Why a request did not work: what the client can do about it, and what a person reads.
#[derive(Debug)]
struct Trouble {
    failure: Failure,
    reason: String,
}

impl Trouble {
    fn refused(reason: impl std::fmt::Display) -> Self {
        Self {
            failure: Failure::Refused,
            reason: reason.to_string(),
        }
    }

    fn unknown(what: &str) -> Self {
        Self {
            failure: Failure::Unknown,
            reason: format!("there is no {what}"),
        }
    }

    fn exists(what: &str) -> Self {
        Self {
            failure: Failure::Exists,
            reason: format!("{what} exists"),
        }
    }

    /// For `map_err`: the machine said no.
    fn failed<E: std::error::Error>(doing: &str) -> impl FnOnce(E) -> Self {
        move |error| {
            let mut reason = format!("{doing}: {error}");
            let mut source = error.source();
            while let Some(deeper) = source {
                reason = format!("{reason}: {deeper}");
                source = deeper.source();
            }
            Self {
                failure: Failure::Failed,
                reason,
            }
        }
    }

    fn answer(self) -> Answer {
        Answer::Failed {
            failure: self.failure,
            reason: self.reason,
        }
    }
}

/// All that the nursery knows and holds.
#[derive(Debug)]
struct Nursery {
    home: Home,
    cgroups: Cgroups,
    ids: Ids,
    volumes: Volumes,
    table: Table,
    cradles: Cradles,
    networks: Networks,
    central: Central,
}

/// The network's part: missing tools are no reason not to start what needs no network.
#[derive(Debug)]
struct Networks {
    name: instance::Name,
    range: Range,
    host: Result<net::Host, String>,
    pool: net::Pool,
}

/// The program: arguments in, exit code out.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let outcome = Arguments::parse(arguments)
        .map_err(io::Error::other)
        .and_then(|a| begin(&a));
    match outcome {
        Ok(never) => match never {},
        Err(error) => {
            say(&format!("the nursery stops: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells whoever reads the log of the platform.
#[expect(clippy::print_stderr, reason = "standard error is the nursery's log")]
fn say(line: &str) {
    eprintln!("nursery: {line}");
}

fn begin(arguments: &Arguments) -> io::Result<std::convert::Infallible> {
    hold_many_files()?;
    // A client that goes away while it is answered is no reason to die; Rust ignores SIGPIPE.
    let listener = listener(arguments)?;
    let host = net::Host::set_up(&arguments.instance, arguments.network);
    let host = host.map_err(|error| Trouble::failed("set the network up")(error).reason);
    if let Err(reason) = &host {
        say(&format!("no network for dynos and builds: {reason}"));
    }
    let mut networks = Networks {
        name: arguments.instance.clone(),
        range: arguments.network,
        host,
        pool: net::Pool::new(),
    };
    let cgroups = Cgroups::find(arguments.instance.as_str(), &arguments.run.join("cgroup2"))?;
    // Its pins are in the host's mount namespace, which the next line leaves.
    let mut central = Central::set_up(&arguments.run, &cgroups, &networks);
    let home = Home::make(arguments)?;
    let table = Table::take_over(&home, &cgroups)?;
    networks.adopt(&table);
    central.take_over(&table)?;
    say(&format!(
        "ready: cgroups {}, layers by {:?}, {} dynos found",
        cgroups.world(),
        home.layer_way,
        table.len()
    ));
    if let Some(reason) = central.refusal(&networks) {
        say(&format!("no central mode: {reason}"));
    }
    // Reading the kernel's types took 19 MB: each sandbox would begin and end with their pages.
    crate::sys::trim_memory();
    let nursery = Nursery {
        volumes: Volumes::new(&home),
        home,
        cgroups,
        ids: Ids::default(),
        table,
        cradles: Cradles::default(),
        networks,
        central,
    };
    Server::new(listener, arguments.allowed_uids.clone())?.run(nursery)
}

/// A pidfd for each dyno needs more than the usual 1,024.
fn hold_many_files() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// The socket that was handed over under the name `nursery` (`sd_listen_fds(3)`), or one of our
/// own.
fn listener(arguments: &Arguments) -> io::Result<OwnedFd> {
    if let Some(path) = &arguments.socket {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &UnixAddr::new(path)?)?;
        listen(
            &fd,
            Backlog::new(i32::try_from(limits::NURSERY_CONNECTIONS_MAX).unwrap_or(128))?,
        )?;
        return Ok(fd);
    }
    let number = arguments.handed_over.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "no socket was handed over, and none was named",
        )
    })?;
    let fd = crate::sys::handed_over(number)?;
    let flags = OFlag::from_bits_truncate(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(fd)
}

impl Nursery {
    /// Makes one thing that the next starts need; false: nothing is missing.
    fn make_ahead(&mut self) -> Result<bool, Trouble> {
        let taken = self.table.slots();
        let made = self.ids.make_ahead(&taken);
        if made.map_err(Trouble::failed("make a user namespace"))? {
            return Ok(true);
        }
        let mut with = Materials {
            home: &self.home,
            cgroups: &self.cgroups,
            ids: &mut self.ids,
        };
        let has_central = self.central.refusal(&self.networks).is_none();
        let all = [(Tree::Central, has_central), (Tree::Isolated, true)];
        let wanted = all.into_iter().filter(|(_, can_be_had)| *can_be_had);
        let wanted: Vec<_> = wanted
            .map(|(tree, _)| (tree, limits::CRADLES_READY))
            .collect();
        self.cradles.make_ahead(&mut with, &wanted, &taken)
    }
}
