//! An instance on this host, and a machine outside of it.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use model::instance;
use model::network::Range;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, getsockopt, socket,
};
use sandbox::net::{Host, Seat};

/// How long a connection may take; all are on this machine.
pub(crate) const PATIENCE: Duration = Duration::from_millis(200);

/// Runs `work` in a net namespace, on a thread of its own.
pub(crate) fn inside<T: Send>(ns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    let entered = || {
        setns(ns, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(entered).join().unwrap())
}

pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

pub(crate) fn reaches(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, PATIENCE).is_ok()
}

/// Those of the addresses that take a connection; asked all at once, as refusals take their time.
pub(crate) fn which_answer(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    std::thread::scope(|scope| {
        let ask = |address| scope.spawn(move || reaches(address).then_some(address));
        let asked: Vec<_> = addresses.into_iter().map(ask).collect();
        asked
            .into_iter()
            .filter_map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Listens on all addresses; the kernel answers for it as long as the value lives.
pub(crate) fn listen(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long: {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn links_of(name: &instance::Name) -> Vec<String> {
    let listed = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let names = listed.lines().filter_map(|line| line.split_once(':'));
    names
        .map(|(link, _)| link.trim().to_owned())
        .filter(|link| link.starts_with(name.as_str()))
        .collect()
}

/// The instance, and a machine outside of it: a namespace behind a veth pair, as a neighbour on a
/// LAN would be.
pub(crate) struct World {
    pub(crate) name: instance::Name,
    pub(crate) host: Host,
    pub(crate) range: Range,
    pub(crate) outside: OwnedFd,
    pub(crate) outside_address: Ipv4Addr,
    /// Of this host, on the LAN it shares with `outside`.
    pub(crate) lan_address: Ipv4Addr,
    /// Stands for a cloud's service that tells a machine its secrets; `outside` has it.
    pub(crate) metadata: Ipv4Addr,
    _lock: File,
}

impl World {
    pub(crate) fn make() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        let (lock, number) = (202..=250).find_map(lock_range).unwrap();
        let mut random = [0; 3];
        File::open("/dev/urandom")
            .unwrap()
            .read_exact(&mut random)
            .unwrap();
        let hex = random.map(|byte| format!("{byte:02x}")).concat();
        let name = instance::Name::parse(&format!("pt{hex}")).unwrap();
        let range = Range::parse(&format!("10.{number}.0.0/16")).unwrap();
        let host = Host::set_up(&name, range).unwrap();
        let [lan_address, outside_address] = [1, 2].map(|n| Ipv4Addr::new(198, 18, number, n));
        let metadata = Ipv4Addr::new(169, 254, number, 1);
        let outside = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
        });
        let outside = outside.join().unwrap();
        let far = format!("/proc/{}/fd/{}", std::process::id(), outside.as_raw_fd());
        ip(&format!(
            "link add {name}-lan type veth peer name eth0 netns {far}"
        ));
        ip(&format!("address add {lan_address}/30 dev {name}-lan"));
        ip(&format!("link set {name}-lan up"));
        inside(&outside, || {
            ip(&format!("address add {outside_address}/30 dev eth0"));
            ip("link set eth0 up");
            ip(&format!("route add default via {lan_address}"));
            ip(&format!("address add {metadata}/32 dev eth0"));
        });
        ip(&format!("route add {metadata}/32 via {outside_address}"));
        Self {
            name,
            host,
            range,
            outside,
            outside_address,
            lan_address,
            metadata,
            _lock: lock,
        }
    }

    pub(crate) fn seat(&self, seat: Seat, port: u16) -> SocketAddr {
        (self.host.address(seat), port).into()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        ip(&format!("link delete {}-lan", self.name));
        Host::tear_down(&self.name).unwrap();
    }
}

pub(crate) fn lock_range(number: u8) -> Option<(File, u8)> {
    let lock = File::create(format!("/run/lock/paas-test-10.{number}")).ok()?;
    lock.try_lock().ok()?;
    let routes = std::fs::read_to_string("/proc/net/route").ok()?;
    let is_taken = routes.contains(&format!("{number:02X}0A\t"));
    (!is_taken).then_some((lock, number))
}

/// Runs `work` on a host of its own: a net namespace, with nobody else's rules and links.
pub(crate) fn on_a_host_of_its_own(work: impl FnOnce() + Send) {
    let entered = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        work();
    };
    std::thread::scope(|scope| scope.spawn(entered).join().unwrap());
}

pub(crate) fn iptables(arguments: &str) -> String {
    let output = Command::new("iptables")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "iptables {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Connects from this own address; whether somebody takes it in time.
pub(crate) fn reaches_from(source: Ipv4Addr, to: SocketAddr) -> bool {
    let SocketAddr::V4(to) = to else { return false };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    bind(
        socket.as_raw_fd(),
        &SockaddrIn::from(SocketAddrV4::new(source, 0)),
    )
    .unwrap();
    match connect(socket.as_raw_fd(), &SockaddrIn::from(to)) {
        Err(Errno::EINPROGRESS) => {}
        outcome => return outcome.is_ok(),
    }
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    let within = PollTimeout::try_from(PATIENCE).unwrap();
    let is_ready = poll(&mut fds, within).unwrap() > 0;
    is_ready && getsockopt(&socket, SocketError).unwrap() == 0
}

/// Packets that a counter of the instance's table has counted.
pub(crate) fn counted(name: &instance::Name, counter: &str) -> u64 {
    counted_in("inet", name, counter)
}

/// The same, of the table of this family.
pub(crate) fn counted_in(family: &str, name: &instance::Name, counter: &str) -> u64 {
    let listed = nft(&format!("list counter {family} {name} {counter}"));
    let packets = listed.split("packets ").nth(1).unwrap();
    packets.split(' ').next().unwrap().parse().unwrap()
}

pub(crate) fn nft(arguments: &str) -> String {
    let output = Command::new("nft")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "nft {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
