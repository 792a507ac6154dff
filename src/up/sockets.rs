//! The listening sockets: opened once, taken over from living roles by a new supervisor.
//!
//! The backlog belongs to the open socket, not to a process (docs/router.md): as long as one
//! process has it, connections wait instead of failing. The supervisor keeps a duplicate of each
//! and never accepts. When it was killed, its successor fetches the duplicates out of the roles
//! that serve them (`pidfd_getfd(2)`): no store of descriptors is needed beside the processes
//! themselves.

use super::accounts;
use super::process::Identity;
use super::role::Role;
use super::state::State;
use anyhow::Context as _;
use link::config::Config;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind,
    getsockname, getsockopt, listen, setsockopt, socket, sockopt,
};
use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Connections that wait for `accept`: the kernel cuts it to `net.core.somaxconn`, 4,096 by
/// default.
const BACKLOG: i32 = 4096;

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp(SocketAddr),
    Unix {
        path: PathBuf,
        kind: SockType,
        mode: u32,
    },
}

#[derive(Debug)]
struct Listener {
    name: &'static str,
    place: Place,
    fd: OwnedFd,
}

/// All of them, open.
#[derive(Debug)]
pub(super) struct Sockets(Vec<Listener>);

impl Sockets {
    /// Takes over what living roles of a former supervisor have, opens the rest.
    pub(super) fn open(config: &Config, before: &State) -> anyhow::Result<Self> {
        let own = Identity::of(std::process::id().try_into()?)?;
        let mut found = descriptors(own);
        close_inherited(own)?;
        found.extend(
            before
                .roles
                .iter()
                .flat_map(|entry| descriptors(entry.identity)),
        );
        let mut listeners = Vec::new();
        for (name, place, is_optional) in places(config) {
            let taken = found.iter().position(|fd| place.is_of(fd.as_fd()));
            let fd = match taken.map(|index| found.swap_remove(index)) {
                Some(fd) => fd,
                None => match place.open() {
                    Ok(fd) => fd,
                    Err(error) if is_optional => {
                        tracing::info!(%error, "no IPv6 here, IPv4 alone is served");
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            listeners.push(Listener { name, place, fd });
        }
        Ok(Self(listeners))
    }

    /// What a role is handed, in the order of its descriptors.
    pub(super) fn of(&self, role: Role) -> Vec<(&'static str, BorrowedFd<'_>)> {
        let listeners = self.0.iter();
        listeners
            .filter(|listener| role.listeners().contains(&listener.name))
            .map(|listener| (listener.name, listener.fd.as_fd()))
            .collect()
    }

    /// Lets all of them stay open across an execute: [`Sockets::open`] finds them again.
    pub(super) fn keep_across_execute(&self) -> nix::Result<()> {
        self.0.iter().try_for_each(|listener| {
            fcntl(&listener.fd, FcntlArg::F_SETFD(FdFlag::empty())).map(drop)
        })
    }

    /// Removes the paths of Unix sockets.
    pub(super) fn remove_paths(&self) {
        for listener in &self.0 {
            if let Place::Unix { path, .. } = &listener.place
                && let Err(error) = std::fs::remove_file(path)
            {
                tracing::debug!(%error, path = %path.display(), "the socket is gone already");
            }
        }
    }
}

/// Name, place, and whether the platform can do without it.
fn places(config: &Config) -> Vec<(&'static str, Place, bool)> {
    let all_v4 = |port| Place::Tcp((Ipv4Addr::UNSPECIFIED, port).into());
    let all_v6 = |port| Place::Tcp((Ipv6Addr::UNSPECIFIED, port).into());
    let loopback = Place::Tcp((Ipv4Addr::LOCALHOST, config.loopback_port).into());
    let unix = |file: &str, kind, mode| Place::Unix {
        path: config.run_dir.join(file),
        kind,
        mode,
    };
    vec![
        ("http", all_v4(config.http_port), false),
        ("http", all_v6(config.http_port), true),
        ("loopback", loopback, false),
        ("rendezvous", all_v4(config.rendezvous_port), false),
        // HTTP spoken by the router alone; nursery.sock by builder and dynod, which it checks.
        ("api", unix("api.sock", SockType::Stream, 0o660), false),
        ("git", unix("git.sock", SockType::Stream, 0o660), false),
        (
            "nursery",
            unix("nursery.sock", SockType::SeqPacket, 0o660),
            false,
        ),
        // Open to all: the api checks who connects, and tells whoever may not.
        (
            "control",
            unix("control.sock", SockType::Stream, 0o666),
            false,
        ),
    ]
}

/// The listening sockets that a living role has open, wherever it put them.
fn descriptors(process: Identity) -> Vec<OwnedFd> {
    let folder = format!("/proc/{}/fd", process.pid);
    let (Some(handle), Ok(files)) = (process.open(), std::fs::read_dir(folder)) else {
        return Vec::new();
    };
    let mut seen = HashSet::new();
    let mut numbers = Vec::new();
    for file in files.flatten() {
        // A link like `socket:[4711]`; many descriptors may be of one socket.
        let is_new_socket = std::fs::read_link(file.path()).is_ok_and(|target| {
            target.to_string_lossy().starts_with("socket:") && seen.insert(target)
        });
        let number = file
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok());
        numbers.extend(number.filter(|_| is_new_socket));
    }
    numbers
        .into_iter()
        .filter_map(|number| handle.descriptor(number).ok())
        .filter(|fd| getsockopt(fd, sockopt::AcceptConn).unwrap_or(false))
        .collect()
}

/// Closes what the program before this one, in the same process, kept open for it: by now there
/// are duplicates that close at an execute, as all other descriptors do.
fn close_inherited(own: Identity) -> anyhow::Result<()> {
    let mut inherited = Vec::new();
    for file in std::fs::read_dir(format!("/proc/{}/fdinfo", own.pid))? {
        let file = file?;
        let number = file
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok());
        let facts = std::fs::read_to_string(file.path()).unwrap_or_else(|_| String::new());
        inherited.extend(number.filter(|number| *number > 2 && !closes_at_execute(&facts)));
    }
    for number in inherited {
        nix::unistd::close(number).context("cannot close an inherited file")?;
    }
    Ok(())
}

/// `flags` of `/proc/PID/fdinfo/N` (proc(5)), octal, with `O_CLOEXEC` among them.
fn closes_at_execute(facts: &str) -> bool {
    let flags = facts.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_none_or(|flags| flags & OFlag::O_CLOEXEC.bits() != 0)
}

impl Place {
    /// Whether the listening socket listens here, and can be reached here.
    fn is_of(&self, fd: BorrowedFd<'_>) -> bool {
        match self {
            Self::Tcp(address) => {
                let local = getsockname::<SockaddrStorage>(fd.as_raw_fd());
                local.is_ok_and(|local| same_address(&local, *address))
            }
            Self::Unix { path, kind, .. } => {
                let local = getsockname::<UnixAddr>(fd.as_raw_fd());
                let is_there = std::fs::symlink_metadata(path)
                    .is_ok_and(|metadata| metadata.file_type().is_socket());
                is_there
                    && getsockopt(&fd, sockopt::SockType) == Ok(*kind)
                    && local.is_ok_and(|local| local.path() == Some(path))
            }
        }
    }

    fn open(&self) -> anyhow::Result<OwnedFd> {
        match self {
            Self::Tcp(address) => open_tcp(*address).map_err(|error| {
                let hint = match error {
                    nix::Error::EADDRINUSE => {
                        "another program has it; see it with `ss -ltnp`, or choose other ports in config.toml"
                    }
                    _ => "see config.toml",
                };
                anyhow::anyhow!("cannot listen on {address}: {error} ({hint})")
            }),
            Self::Unix { path, kind, mode } => open_unix(path, *kind, *mode)
                .with_context(|| format!("cannot listen on {}", path.display())),
        }
    }
}

fn same_address(local: &SockaddrStorage, address: SocketAddr) -> bool {
    let v4 = local
        .as_sockaddr_in()
        .map(|a| SocketAddr::from((a.ip(), a.port())));
    let v6 = local
        .as_sockaddr_in6()
        .map(|a| SocketAddr::from((a.ip(), a.port())));
    v4.or(v6) == Some(address)
}

fn open_tcp(address: SocketAddr) -> nix::Result<OwnedFd> {
    let address = SockaddrStorage::from(address);
    let family = address.family().unwrap_or(AddressFamily::Inet);
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if family == AddressFamily::Inet6 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &address)?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd)
}

fn open_unix(path: &Path, kind: SockType, mode: u32) -> anyhow::Result<OwnedFd> {
    if path.symlink_metadata().is_ok() {
        // Left by a supervisor whose roles are gone, too: nobody listens there any more.
        std::fs::remove_file(path)?;
    }
    let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    nix::unistd::chown(path, None, Some(accounts::group()?))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_known_by_its_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(Place::Tcp(address).is_of(listener.as_fd()));
        let other = (Ipv4Addr::LOCALHOST, address.port().wrapping_add(1)).into();
        assert!(!Place::Tcp(other).is_of(listener.as_fd()));
        let v6 = (Ipv6Addr::UNSPECIFIED, address.port()).into();
        assert!(!Place::Tcp(v6).is_of(listener.as_fd()));
    }

    #[test]
    fn ipv4_and_ipv6_listen_beside_each_other() {
        let v4 = open_tcp((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = getsockname::<SockaddrStorage>(v4.as_raw_fd()).unwrap();
        let port = port.as_sockaddr_in().unwrap().port();
        match open_tcp((Ipv6Addr::UNSPECIFIED, port).into()) {
            Ok(_) | Err(nix::Error::EAFNOSUPPORT | nix::Error::EADDRNOTAVAIL) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
