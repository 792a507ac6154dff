//! A node with two owners' dyno nets and a host of its own, all in net namespaces that this makes;
//! dynos are cgroups with a process that does what it is told.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use sandbox::policy::{self, Allows, Deny, Event, Policy, Seat, Trees, cgroup_id};

const AGENT: &str = include_str!("agent.py");
pub(crate) const PORT: u16 = 10_001;
/// Of all dyno nets of this node.
pub(crate) const RANGE: [u8; 2] = [10, 250];

/// All that a test needs; nothing of it is left afterwards.
pub(crate) struct World {
    pub(crate) policy: Option<Policy>,
    pub(crate) trees: Trees,
    pub(crate) run: PathBuf,
    root: PathBuf,
    pub(crate) host: OwnedFd,
    nets: Vec<OwnedFd>,
    next: u8,
}

/// A process that does what it is told.
pub(crate) struct Agent {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// A dyno: an agent in a cgroup and in its owner's net.
pub(crate) struct Dyno {
    agent: Agent,
    pub(crate) folder: PathBuf,
    pub(crate) cgroup: u64,
    pub(crate) seat: Seat,
}

fn run(program: &str, arguments: &str) {
    let output = Command::new(program)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
}

fn path_of(ns: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), ns.as_raw_fd())
}

pub(crate) fn ip_in(ns: &OwnedFd, arguments: &str) {
    run("nsenter", &format!("--net={} ip {arguments}", path_of(ns)));
}

fn sysctl_in(ns: &OwnedFd, setting: &str) {
    let arguments = format!("--net={} sysctl -qw {setting}", path_of(ns));
    let words: Vec<&str> = arguments.splitn(4, ' ').collect();
    assert!(
        Command::new("nsenter")
            .args(words)
            .status()
            .unwrap()
            .success(),
        "{setting}"
    );
}

fn new_net() -> OwnedFd {
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
    });
    made.join().unwrap()
}

/// Where the v2 tree is mounted.
fn v2_root() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    PathBuf::from(line.unwrap().split(' ').nth(4).unwrap())
}

pub(crate) fn random_name() -> String {
    let mut random = [0; 3];
    File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut random)
        .unwrap();
    format!("pt{}", random.map(|byte| format!("{byte:02x}")).concat())
}

/// What a node denies: all dyno nets, itself, and what no program should ask.
pub(crate) fn denied() -> Vec<Deny> {
    let [a, b] = RANGE;
    let nothing = |address: [u8; 4], prefix| Deny {
        address: address.into(),
        prefix,
        allows: Allows::Nothing,
    };
    vec![
        nothing([a, b, 0, 0], 16),
        nothing([169, 254, 0, 0], 16),
        nothing([0, 0, 0, 0], 8),
        nothing([224, 0, 0, 0], 3),
        nothing([192, 0, 2, 1], 32),
        Deny {
            address: Ipv4Addr::new(192, 0, 2, 53),
            prefix: 32,
            allows: Allows::Dns,
        },
    ]
}

impl World {
    /// A host with the addresses 192.0.2.1 (its own), 192.0.2.53 (a resolver) and 198.51.100.7
    /// (the outside), and two dyno nets, 0 and 1.
    pub(crate) fn make() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        let name = random_name();
        let root = v2_root().join(&name);
        let trees = Trees {
            central: root.join("dynos/central"),
            isolated: root.join("dynos/isolated"),
        };
        for tree in [&trees.central, &trees.isolated] {
            std::fs::create_dir_all(tree).unwrap();
        }
        let run = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join("agent.py"), AGENT).unwrap();
        let host = new_net();
        ip_in(&host, "link set lo up");
        for address in ["192.0.2.1", "192.0.2.53", "198.51.100.7", "169.254.169.254"] {
            ip_in(&host, &format!("address add {address}/32 dev lo"));
        }
        let nets = (0..2).map(|number| dyno_net(&host, number)).collect();
        let mut world = Self {
            policy: None,
            trees,
            run,
            root,
            host,
            nets,
            next: 3,
        };
        world.set_up();
        world
    }

    /// What a nursery does when it begins.
    pub(crate) fn set_up(&mut self) {
        self.policy = None;
        self.policy = Some(Policy::set_up(&self.run, &self.trees, &denied()).unwrap());
    }

    pub(crate) fn policy(&mut self) -> &mut Policy {
        self.policy.as_mut().unwrap()
    }

    pub(crate) fn links(&self) -> Vec<PathBuf> {
        let sets = std::fs::read_dir(self.run.join("bpf")).unwrap();
        let sets = sets.map(|entry| entry.unwrap().path());
        let sets = sets.filter(|path| path.to_string_lossy().contains("/links-"));
        let pins = sets.flat_map(|set| std::fs::read_dir(set).unwrap());
        pins.map(|entry| entry.unwrap().path()).collect()
    }

    /// A cgroup without an entry, and what its seat would be.
    pub(crate) fn stranger(&mut self, net: u8) -> Dyno {
        let seat = Seat {
            addr4: Ipv4Addr::new(RANGE[0], RANGE[1], net, self.next),
            lo4: Ipv4Addr::new(127, 64, net, self.next),
            port: PORT - 3 + u16::from(self.next),
            net,
        };
        let folder = self.trees.central.join(self.next.to_string());
        self.next += 1;
        std::fs::create_dir(&folder).unwrap();
        self.start(folder, seat)
    }

    /// A dyno of the owner whose net this is.
    pub(crate) fn dyno(&mut self, net: u8) -> Dyno {
        let dyno = self.stranger(net);
        self.policy().admit(dyno.cgroup, &dyno.seat).unwrap();
        dyno
    }

    fn start(&self, folder: PathBuf, seat: Seat) -> Dyno {
        let net = &self.nets[usize::from(seat.net)];
        Dyno {
            agent: Agent::start(&self.run, net, Some(&folder)),
            cgroup: cgroup_id(&folder).unwrap(),
            folder,
            seat,
        }
    }

    /// The router, or whoever else is on the host.
    pub(crate) fn on_host(&self) -> Agent {
        Agent::start(&self.run, &self.host, None)
    }

    /// A dyno in isolated mode: in a cgroup of the other tree, with a net of its own.
    pub(crate) fn isolated(&mut self) -> (Agent, u64) {
        let folder = self.trees.isolated.join("1");
        std::fs::create_dir(&folder).unwrap();
        let net = new_net();
        ip_in(&net, "link set lo up");
        let agent = Agent::start(&self.run, &net, Some(&folder));
        (agent, cgroup_id(&folder).unwrap())
    }

    /// Waits for the next event.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let policy = self.policy();
        let mut events = Vec::new();
        let mut fds = [nix::poll::PollFd::new(
            policy.events(),
            nix::poll::PollFlags::POLLIN,
        )];
        nix::poll::poll(&mut fds, 2000_u16).unwrap();
        policy.drain(|event| events.push(event));
        events
    }
}

/// As docs/policy.md lays it out: every address is local, none is configured.
fn dyno_net(host: &OwnedFd, number: u8) -> OwnedFd {
    let net = new_net();
    let [a, b] = RANGE;
    let cable = format!("c{number}");
    ip_in(
        host,
        &format!(
            "link add {cable} type veth peer name eth0 netns {}",
            path_of(&net)
        ),
    );
    ip_in(
        host,
        &format!("address add {a}.{b}.{number}.1/24 dev {cable}"),
    );
    ip_in(host, &format!("link set {cable} up"));
    for step in [
        "link set lo up".to_owned(),
        format!("address add {a}.{b}.{number}.2/32 dev eth0"),
        "link set eth0 up".to_owned(),
        format!("route add {a}.{b}.{number}.1 dev eth0"),
        format!("route add default via {a}.{b}.{number}.1"),
        format!("route add local {a}.{b}.{number}.0/24 dev lo"),
        "-6 route add local fd7f::/32 dev lo".to_owned(),
    ] {
        ip_in(&net, &step);
    }
    sysctl_in(&net, "net.ipv6.ip_nonlocal_bind=1");
    sysctl_in(&net, "net.ipv4.ip_local_port_range=49152 65535");
    sysctl_in(host, "net.ipv4.ip_forward=1");
    net
}

impl Agent {
    fn start(folder: &Path, net: &OwnedFd, cgroup: Option<&Path>) -> Self {
        let enter = cgroup.map_or_else(String::new, |cgroup| {
            format!("echo $$ > {}/cgroup.procs; ", cgroup.display())
        });
        let script = format!(
            "{enter}exec nsenter --net={} python3 -u {} {}",
            path_of(net),
            folder.join("agent.py").display(),
            if cgroup.is_some() { "dyno" } else { "root" }
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut agent = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        assert_eq!(agent.does("1"), "1", "the agent works");
        agent
    }

    /// Tells it to do something; [`Self::came_of_it`] waits.
    pub(crate) fn begin(&mut self, code: &str) {
        let line = serde_json::to_string(code).unwrap();
        writeln!(self.input, "{line}").unwrap();
    }

    pub(crate) fn came_of_it(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    pub(crate) fn does(&mut self, code: &str) -> String {
        self.begin(code);
        self.came_of_it()
    }

    /// Those of the addresses that take a connection.
    pub(crate) fn reaches(&mut self, targets: &[(String, u16)]) -> Vec<(String, u16)> {
        let targets = serde_json::to_string(targets).unwrap();
        serde_json::from_str(&self.does(&format!("reached({targets})"))).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl std::ops::Deref for Dyno {
    type Target = Agent;
    fn deref(&self) -> &Agent {
        &self.agent
    }
}

impl std::ops::DerefMut for Dyno {
    fn deref_mut(&mut self) -> &mut Agent {
        &mut self.agent
    }
}

impl Dyno {
    pub(crate) fn address(&self, port: u16) -> (String, u16) {
        (self.seat.addr4.to_string(), port)
    }

    pub(crate) fn public(&self) -> (String, u16) {
        self.address(self.seat.port)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.policy = None;
        policy::tear_down(&self.run).unwrap();
        remove_cgroups(&self.root);
        std::fs::remove_dir_all(&self.run).unwrap();
    }
}

/// Whoever was in them has just been killed; the kernel needs a moment.
fn remove_cgroups(at: &Path) {
    for entry in std::fs::read_dir(at).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            remove_cgroups(&entry.path());
        }
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while let Err(error) = std::fs::remove_dir(at) {
        assert!(Instant::now() < deadline, "{}: {error}", at.display());
        std::thread::yield_now();
    }
}
