//! A machine outside: a net namespace behind a cable, as a neighbour on a LAN would be.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};

/// How often the outside looks whether it shall end.
const LOOK: Duration = Duration::from_millis(100);
/// How long a datagram may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The outside: at [`Outside::PORT`] it answers every datagram with the same, and keeps every
/// connection.
#[derive(Debug)]
pub(crate) struct Outside {
    cable: String,
    pub(crate) address: Ipv4Addr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Without it, the namespace and our end of the cable go with the last socket.
    _ns: OwnedFd,
}

#[derive(Debug, Default)]
struct Shared {
    datagrams: Mutex<Vec<String>>,
    another: Condvar,
    is_over: AtomicBool,
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// Runs `work` in a net namespace, on a thread of its own.
fn inside<T: Send>(ns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    let entered = || {
        setns(ns, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(entered).join().unwrap())
}

impl Outside {
    pub(crate) const PORT: u16 = 7777;

    /// `second`: of the instance's range, so that each test has a LAN of its own.
    pub(crate) fn make(instance: &str, second: u8) -> Self {
        let [host_address, address] = [1, 2].map(|n| Ipv4Addr::new(198, 18, second, n));
        let ns = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
        });
        let ns = ns.join().unwrap();
        let cable = format!("{instance}-lan");
        let far = format!("/proc/{}/fd/{}", std::process::id(), ns.as_raw_fd());
        ip(&format!(
            "link add {cable} type veth peer name eth0 netns {far}"
        ));
        ip(&format!("address add {host_address}/30 dev {cable}"));
        ip(&format!("link set {cable} up"));
        let (udp, tcp) = inside(&ns, || {
            ip(&format!("address add {address}/30 dev eth0"));
            ip("link set eth0 up");
            ip(&format!("route add default via {host_address}"));
            let udp = UdpSocket::bind((address, Self::PORT)).unwrap();
            (udp, TcpListener::bind((address, Self::PORT)).unwrap())
        });
        let shared = Arc::<Shared>::default();
        let (one, other) = (shared.clone(), shared.clone());
        Self {
            cable,
            address,
            shared,
            threads: vec![
                std::thread::spawn(move || one.echo(&udp)),
                std::thread::spawn(move || other.keep(&tcp)),
            ],
            _ns: ns,
        }
    }

    /// All datagrams since the last time, up to the one with this text.
    pub(crate) fn heard(&self, last: &str) -> String {
        let has_not_come = |texts: &mut Vec<String>| !texts.iter().any(|text| text == last);
        let texts = self.shared.datagrams.lock().unwrap();
        let another = &self.shared.another;
        let waited = another.wait_timeout_while(texts, PATIENCE, has_not_come);
        std::mem::take(&mut *waited.unwrap().0).join(" ")
    }
}

impl Shared {
    fn echo(&self, udp: &UdpSocket) {
        udp.set_read_timeout(Some(LOOK)).unwrap();
        let mut buffer = [0; 1000];
        while !self.is_over.load(Ordering::Relaxed) {
            let Ok((count, who)) = udp.recv_from(&mut buffer) else {
                continue;
            };
            udp.send_to(&buffer[..count], who).unwrap();
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            self.datagrams.lock().unwrap().push(text);
            self.another.notify_all();
        }
    }

    fn keep(&self, tcp: &TcpListener) {
        tcp.set_nonblocking(true).unwrap();
        let mut kept = Vec::new();
        while !self.is_over.load(Ordering::Relaxed) {
            if let Ok(one) = tcp.accept() {
                kept.push(one);
                continue;
            }
            let mut listener = [PollFd::new(tcp.as_fd(), PollFlags::POLLIN)];
            let look = PollTimeout::try_from(LOOK).unwrap();
            if poll(&mut listener, look).unwrap() == 0 {
                // Nobody comes any more: the next attempt starts with all of our files.
                kept.clear();
            }
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
        ip(&format!("link delete {}", self.cable));
    }
}
