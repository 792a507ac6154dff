//! What the port policy costs, with and without it in one run. Started by `bench/policy/run`.
//!
//! The same work is done by a process in a cgroup that has the policy and in one that has not, in
//! turn, each in a net namespace of its own; all traffic is on that namespace's loopback.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement prints, and stops at the first thing that goes wrong"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use sandbox::policy::{self, Policy, Seat, Trees, cgroup_id};

const CONNECTIONS: u32 = 2000;
const ROUND_TRIPS: u32 = 20_000;
const STREAM_BYTES: u32 = 256 << 20;
const ADMISSIONS: usize = 10_000;
const LISTENS: usize = 400;
const KINDS: [&str; 4] = ["connect", "pingpong", "udp", "stream"];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("work") => work(&words[1]),
        Some("listen") => listen_often(),
        rounds => measure(rounds.and_then(|text| text.parse().ok()).unwrap_or(7)),
    }
}

/// Cgroups, pins and the policy on them; removed at the end.
struct World {
    root: PathBuf,
    run: PathBuf,
    policy: Policy,
}

impl World {
    fn make() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let tree = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        let tree = Path::new(tree.unwrap().split(' ').nth(4).unwrap());
        let name = format!("pt{:06x}", std::process::id());
        let (root, run) = (tree.join(&name), Path::new("/run").join(&name));
        let trees = Trees {
            central: root.join("dynos/central"),
            isolated: root.join("dynos/isolated"),
        };
        for folder in [
            &trees.central.join("1"),
            &trees.isolated,
            &root.join("free"),
            &run,
        ] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let begun = Instant::now();
        let policy = Policy::set_up(&run, &trees, &[]).unwrap();
        println!(
            "set up, all attached           {:>9.1} ms",
            millis(begun.elapsed())
        );
        let begun = Instant::now();
        drop(policy);
        let policy = Policy::set_up(&run, &trees, &[]).unwrap();
        println!(
            "taken over by the next nursery {:>9.1} ms",
            millis(begun.elapsed())
        );
        let held = cgroup_id(&trees.central.join("1")).unwrap();
        policy.admit(held, &seat()).unwrap();
        Self { root, run, policy }
    }

    /// A process of this program, in that cgroup and a new net namespace.
    fn start(&self, cgroup: &str, what: &[&str]) -> Child {
        let enter = format!(
            "echo $$ > {}/cgroup.procs && ip link set lo up && ip route add local 10.250.0.0/16 dev lo && exec \"$0\" \"$@\"",
            self.root.join(cgroup).display()
        );
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--net", "sh", "-c", &enter])
            .arg(own)
            .args(what);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        policy::tear_down(&self.run).unwrap();
        std::fs::remove_dir_all(&self.run).unwrap();
        for folder in [
            "dynos/central/1",
            "dynos/central",
            "dynos/isolated",
            "dynos",
            "free",
            "",
        ] {
            std::fs::remove_dir(self.root.join(folder)).unwrap();
        }
    }
}

const fn seat() -> Seat {
    Seat {
        addr4: Ipv4Addr::new(10, 250, 0, 3),
        lo4: Ipv4Addr::new(127, 64, 0, 3),
        port: 10_000,
        net: 0,
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn measure(rounds: usize) {
    let mut world = World::make();
    admissions(&world.policy);
    listens(&mut world);
    println!();
    println!("{rounds} rounds, best of each; us of time and of both processors per unit");
    println!("what                     without        with   more    ratio   processor  ratio");
    for kind in KINDS {
        let mut best = [[f64::MAX; 2]; 2];
        for _ in 0..rounds {
            for (which, cgroup) in ["free", "dynos/central/1"].iter().enumerate() {
                let output = world
                    .start(cgroup, &["work", kind])
                    .wait_with_output()
                    .unwrap();
                let text = String::from_utf8(output.stdout).unwrap();
                for (least, word) in best[which].iter_mut().zip(text.split_whitespace()) {
                    *least = least.min(word.parse().unwrap());
                }
            }
        }
        let [[time, cpu], [held_time, held_cpu]] = best;
        println!(
            "{kind:<20} {time:>11.2} {held_time:>11.2} {:>6.2} {:>8.3} {:>11.2} {:>6.3}",
            held_time - time,
            held_time / time,
            held_cpu - cpu,
            held_cpu / cpu
        );
    }
}

/// One update of a map, and the question to the kernel whether everything is still attached.
fn admissions(policy: &Policy) {
    let id = |n: usize| (1 << 60) + n as u64;
    let times = (0..ADMISSIONS).map(|n| {
        let begun = Instant::now();
        policy.admit(id(n), &seat()).unwrap();
        begun.elapsed()
    });
    tell("a dyno is admitted", times.collect());
    let times = (0..ADMISSIONS).map(|_| {
        let begun = Instant::now();
        policy.verify().unwrap();
        begun.elapsed()
    });
    tell("asked whether all is attached", times.collect());
    for n in 0..ADMISSIONS {
        policy.dismiss(id(n)).unwrap();
    }
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    if times.is_empty() {
        return println!("{what:<30} never");
    }
    let at = |part: usize| micros(times[times.len() * part / 100]);
    let (half, most) = (at(50), at(99));
    println!("{what:<30} {half:>9.1} us p50 {most:>9.1} us p99");
}

/// From the return of `listen()` to the return of poll in another process.
fn listens(world: &mut World) {
    let mut child = world.start("dynos/central/1", &["listen"]);
    let mut ask = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    let mut times = Vec::new();
    for _ in 0..LISTENS {
        ask.write_all(b"x").unwrap();
        let mut fds = [PollFd::new(world.policy.events(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, 100_u8).unwrap();
        let woken = now();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let since: u64 = line.trim().parse().unwrap();
        world.policy.drain(drop);
        // At most 64 in a second are told.
        if ready == 1 {
            times.push(Duration::from_nanos(woken.saturating_sub(since)));
        }
    }
    drop(ask);
    child.wait().unwrap();
    tell("listen() to event", times);
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    u64::try_from(time.tv_sec() * 1_000_000_000 + time.tv_nsec()).unwrap()
}

fn listen_often() {
    let mut one = [0];
    while std::io::stdin().read(&mut one).unwrap() == 1 {
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::empty(),
            None,
        )
        .unwrap();
        let any = nix::sys::socket::SockaddrIn::new(0, 0, 0, 0, 0);
        nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &any).unwrap();
        let before = now();
        nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(8).unwrap()).unwrap();
        println!("{before}");
    }
}

/// Prints microseconds of time and of processor for one unit.
fn work(kind: &str) {
    let (begun, cpu) = (Instant::now(), cpu_time());
    let units = match kind {
        "connect" => connect(),
        "pingpong" => ping_pong(),
        "udp" => datagrams(),
        _ => stream(),
    };
    let units = f64::from(units);
    let (time, cpu) = (
        micros(begun.elapsed()),
        micros(cpu_time().saturating_sub(cpu)),
    );
    println!("{} {}", time / units, cpu / units);
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let part = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap())
    };
    part(usage.user_time()) + part(usage.system_time())
}

/// A connection, one byte there and back, and its end.
fn connect() -> u32 {
    let server = TcpListener::bind("127.0.0.1:3000").unwrap();
    let answer = std::thread::spawn(move || {
        for _ in 0..CONNECTIONS {
            let (mut peer, _) = server.accept().unwrap();
            let mut byte = [0];
            peer.read_exact(&mut byte).unwrap();
            peer.write_all(&byte).unwrap();
        }
    });
    for _ in 0..CONNECTIONS {
        let mut peer = TcpStream::connect("127.0.0.1:3000").unwrap();
        peer.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).unwrap();
    }
    answer.join().unwrap();
    CONNECTIONS
}

fn ping_pong() -> u32 {
    let server = TcpListener::bind("127.0.0.1:3000").unwrap();
    let answer = std::thread::spawn(move || {
        let (mut peer, _) = server.accept().unwrap();
        peer.set_nodelay(true).unwrap();
        let mut byte = [0];
        while peer.read(&mut byte).unwrap() == 1 {
            peer.write_all(&byte).unwrap();
        }
    });
    let mut peer = TcpStream::connect("127.0.0.1:3000").unwrap();
    peer.set_nodelay(true).unwrap();
    for _ in 0..ROUND_TRIPS {
        peer.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).unwrap();
    }
    drop(peer);
    answer.join().unwrap();
    ROUND_TRIPS
}

/// As a resolver is asked: sendto, recvfrom.
fn datagrams() -> u32 {
    let server = UdpSocket::bind("127.0.0.1:3000").unwrap();
    let answer = std::thread::spawn(move || {
        for _ in 0..ROUND_TRIPS {
            let (length, peer) = server.recv_from(&mut [0; 64]).unwrap();
            server.send_to(&[0; 64][..length], peer).unwrap();
        }
    });
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..ROUND_TRIPS {
        client.send_to(b"x", "127.0.0.1:3000").unwrap();
        client.recv_from(&mut [0; 64]).unwrap();
    }
    answer.join().unwrap();
    ROUND_TRIPS
}

/// Unit: a megabyte.
fn stream() -> u32 {
    let server = TcpListener::bind("127.0.0.1:3000").unwrap();
    let take = std::thread::spawn(move || {
        let (mut peer, _) = server.accept().unwrap();
        let mut buffer = vec![0; 1 << 16];
        while peer.read(&mut buffer).unwrap() > 0 {}
    });
    let mut peer = TcpStream::connect("127.0.0.1:3000").unwrap();
    let buffer = vec![0; 1 << 16];
    for _ in 0..STREAM_BYTES >> 16 {
        peer.write_all(&buffer).unwrap();
    }
    drop(peer);
    take.join().unwrap();
    STREAM_BYTES >> 20
}
