//! Two dynos, a build, the host and an outside, with real sockets: who reaches whom.
//!
//! Needs root. Takes an instance name and a range of its own and leaves nothing behind.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first thing that goes wrong"
)]

#[path = "network/harness.rs"]
mod harness;
#[path = "network/flush.rs"]
mod flush;
#[path = "network/central.rs"]
mod central;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sandbox::net::{Host, Pool, Seat};

use harness::{
    PATIENCE, World, counted_in, inside, ip, iptables, links_of, listen, nft, on_a_host_of_its_own,
    reaches, wait_until, which_answer,
};

const A: Seat = Seat::Dyno {
    slot: 0,
    port: 5000,
};
const B: Seat = Seat::Dyno {
    slot: 1,
    port: 5000,
};
const BUILD: Seat = Seat::Build { number: 0 };

#[test]
fn who_reaches_whom() {
    let world = World::make();
    let World {
        host,
        range,
        outside,
        lan_address,
        ..
    } = &world;
    let [a, b, build] = [A, B, BUILD].map(|seat| host.namespace(seat).unwrap());

    let dyno_sockets = || [listen(5000), listen(5001)];
    let _kept = [
        inside(&a, dyno_sockets),
        inside(&b, dyno_sockets),
        inside(&build, dyno_sockets),
    ];
    let _web = inside(outside, || listen(80));
    assert!(
        reaches((world.metadata, 80).into()),
        "the host asks its cloud about itself"
    );
    let on_host = listen(0);
    let host_port = on_host.local_addr().unwrap().port();
    let web = SocketAddr::from((world.outside_address, 80));

    assert!(
        reaches(world.seat(A, 5000)),
        "the router reaches a dyno's port"
    );
    assert!(reaches(world.seat(B, 5000)));
    assert!(!reaches(world.seat(A, 5001)), "no other port of it");
    assert!(!reaches(world.seat(BUILD, 5000)), "and no port of a build");
    assert!(
        inside(outside, || reaches((*lan_address, host_port).into())),
        "the host does listen"
    );

    let mut host_addresses = vec![*lan_address, range.dyno_gateway(), range.build_gateway()];
    host_addresses.extend(own_address_towards(Ipv4Addr::new(192, 0, 2, 200)));
    let host_addresses = host_addresses
        .iter()
        .map(|address| (*address, host_port).into());
    let forbidden: Vec<SocketAddr> = host_addresses
        .chain([A, B, BUILD].map(|seat| world.seat(seat, 5000)))
        .chain([A, B, BUILD].map(|seat| world.seat(seat, 5001)))
        .chain([(world.metadata, 80).into()])
        .collect();
    for (ns, me) in [(&a, A), (&b, B), (&build, BUILD)] {
        let others = forbidden.iter().copied();
        let others = others
            .filter(|address| address.ip() != host.address(me))
            .collect();
        assert_eq!(
            inside(ns, || which_answer(others)),
            [],
            "{me:?} reaches what it must not"
        );
        assert!(inside(ns, || reaches(web)), "{me:?} reaches the outside");
        let own = inside(ns, || reaches((Ipv4Addr::LOCALHOST, 5001).into()));
        assert!(own, "{me:?} has a loopback of its own");
        assert!(inside(ns, has_only_loopback_ipv6), "{me:?} has IPv6");
    }
    let from_outside = inside(outside, || reaches(world.seat(A, 5000)));
    assert!(
        !from_outside,
        "a neighbour on the LAN routes through us to a dyno"
    );

    asks_the_resolver_like_the_host(&build);
}

#[test]
fn a_second_set_up_cuts_nothing() {
    let world = World::make();
    let [a, build] = [A, BUILD].map(|seat| world.host.namespace(seat).unwrap());
    let app = inside(&a, || listen(5000));
    let _web = inside(&world.outside, || listen(80));
    let mut open = TcpStream::connect_timeout(&world.seat(A, 5000), PATIENCE).unwrap();
    Host::set_up(&world.name, world.range).unwrap();
    open.write_all(b"still here").unwrap();
    let mut heard = [0; 10];
    app.accept().unwrap().0.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"still here");
    assert!(reaches(world.seat(A, 5000)));
    assert!(inside(&build, || reaches(
        (world.outside_address, 80).into()
    )));
}

/// The address with which this host speaks to that one; none without a route to it.
fn own_address_towards(far: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect((far, 9)).ok()?;
    match socket.local_addr().unwrap() {
        SocketAddr::V4(own) => Some(*own.ip()),
        SocketAddr::V6(_) => None,
    }
}

fn has_only_loopback_ipv6() -> bool {
    let addresses = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    addresses.lines().all(|line| line.ends_with(" lo"))
}

/// Whoever gets an answer on the host gets one in a build.
fn asks_the_resolver_like_the_host(build: &OwnedFd) {
    let configuration = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = configuration
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver "));
    let mut servers = servers.filter_map(|s| s.trim().parse::<Ipv4Addr>().ok());
    let Some(server) = servers.next() else {
        return;
    };
    let ask = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        // A query for the name servers of the root: dns message of RFC 1035.
        let query = [7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
        socket.send_to(&query, (server, 53)).is_ok() && socket.recv(&mut [0; 512]).is_ok()
    };
    if ask() {
        assert!(inside(build, ask), "a build cannot ask the resolver");
    }
}

#[test]
fn a_false_sender_is_not_heard() {
    let world = World::make();
    let [a, b] = [A, B].map(|seat| world.host.namespace(seat).unwrap());
    let _kept = inside(&b, || listen(5000));
    let ear = inside(&world.outside, || {
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9000)).unwrap()
    });
    ear.set_read_timeout(Some(PATIENCE)).unwrap();
    let far = SocketAddr::from((world.outside_address, 9000));
    let speak = |from: Ipv4Addr| {
        inside(&a, || {
            UdpSocket::bind((from, 0))
                .unwrap()
                .send_to(b"hello", far)
                .unwrap()
        });
        ear.recv(&mut [0; 16]).is_ok()
    };
    let (own, neighbour) = (world.host.address(A), world.host.address(B));
    assert!(speak(own));
    // What only the host's root could do inside: addresses that belong to others.
    for (slot, stolen) in [
        (77, neighbour),
        (78, Ipv4Addr::new(9, 9, 9, 9)),
        (79, world.host.address(BUILD)),
    ] {
        // Another one each time: the kernel asks for the same one three times, then pauses.
        let unknown = world.seat(Seat::Dyno { slot, port: 5000 }, 9);
        let counts = || ["false_arp", "false_sender"].map(|c| counted_in("bridge", &world.name, c));
        let before = counts();
        inside(&a, || {
            ip(&format!("address add {stolen}/32 dev eth0"));
            // Whoever is asked where an unknown neighbour is, learns where the asker is.
            let asker = UdpSocket::bind((stolen, 0)).unwrap();
            asker.send_to(b"hello", unknown).unwrap();
        });
        wait_until("the false ARP", || counts()[0] > before[0]);
        assert!(!speak(stolen), "{stolen} from the wrong port");
        assert!(counts() > before, "{stolen}");
        assert!(
            reaches(world.seat(B, 5000)),
            "{stolen}: the neighbour is still found"
        );
    }
    assert!(speak(own));
    let [.., third, fourth] = neighbour.octets();
    let [first, second, ..] = neighbour.octets();
    let theirs = format!("02:50:{first:02x}:{second:02x}:{third:02x}:{fourth:02x}");
    inside(&a, || ip(&format!("link set eth0 address {theirs}")));
    assert!(!speak(own), "with the neighbour's hardware address");
    assert!(
        reaches(world.seat(B, 5000)),
        "the bridge still finds the neighbour"
    );
}

#[test]
fn a_namespace_goes_with_its_last_process() {
    let world = World::make();
    let cable = format!("{}-d0000", world.name);
    let is_there = || links_of(&world.name).contains(&cable);
    let ns = world.host.namespace(A).unwrap();
    assert!(is_there());
    // A process that lives on when the nursery is killed with -9: the descriptor closes, the
    // process stays.
    let mut dyno = inside(&ns, || Command::new("sleep").arg("60").spawn().unwrap());
    drop(ns);
    assert!(is_there());
    assert_eq!(Host::strays(&world.name).unwrap(), Vec::<String>::new());
    dyno.kill().unwrap();
    dyno.wait().unwrap();
    wait_until("the cable goes", || !is_there());
    // At once again, though the old one may still be dying.
    for _ in 0..3 {
        drop(world.host.namespace(A).unwrap());
    }
    wait_until("the last cable goes", || !is_there());
    let left = Host::strays(&world.name).unwrap();
    let name = &world.name;
    let bridges = [
        format!("interface {name}-br"),
        format!("interface {name}-bb"),
    ];
    let tables = [format!("table inet {name}"), format!("table bridge {name}")];
    assert!(
        bridges.iter().chain(&tables).all(|one| left.contains(one)),
        "{left:?}"
    );
    assert_eq!(left.len(), 4, "{left:?}");

    let gone = world.name.clone();
    drop(world);
    assert_eq!(Host::strays(&gone).unwrap(), Vec::<String>::new());
    assert_eq!(links_of(&gone), Vec::<String>::new());
    Host::tear_down(&gone).unwrap();
}

#[test]
fn the_pool_has_the_next_ones_ready() {
    let world = World::make();
    let mut pool = Pool::new();
    let fill = |pool: &mut Pool, taken: &[Seat], count: usize| {
        while pool.ready().count() < count {
            pool.refill(&world.host, |seat| taken.contains(&seat))
                .unwrap();
            wait_for(pool);
            pool.collect().unwrap();
        }
    };
    fill(&mut pool, &[], 10);
    assert!(pool.ready().any(|seat| seat == A) && pool.ready().any(|seat| seat == BUILD));
    let before = Instant::now();
    let ns = pool.take(&world.host, A).unwrap();
    assert!(
        before.elapsed() < Duration::from_millis(5),
        "ready means ready"
    );
    let _kept = inside(&ns, || listen(5000));
    assert!(reaches(world.seat(A, 5000)));

    // One that is being made right now, and one that nobody has thought of.
    pool.refill(&world.host, |seat| seat == A).unwrap();
    let ninth = Seat::Dyno {
        slot: 8,
        port: 5000,
    };
    let far = Seat::Dyno {
        slot: 4000,
        port: 8080,
    };
    for seat in [ninth, far] {
        let ns = pool.take(&world.host, seat).unwrap();
        let port = if seat == far { 8080 } else { 5000 };
        let _kept = inside(&ns, || listen(port));
        assert!(reaches(world.seat(seat, port)), "{seat:?}");
    }
    assert!(
        pool.take(
            &world.host,
            Seat::Dyno {
                slot: u16::MAX,
                port: 1
            }
        )
        .is_err()
    );
}

/// Docker and ufw do this; a host of its own (a net namespace), as it concerns all of a host.
#[test]
fn beside_a_firewall_that_drops_forwarded_packets() {
    on_a_host_of_its_own(|| {
        iptables("-P FORWARD DROP");
        let world = World::make();
        let build = world.host.namespace(BUILD).unwrap();
        let _web = inside(&world.outside, || listen(80));
        let reaches_web = || inside(&build, || reaches((world.outside_address, 80).into()));
        assert!(reaches_web());
        Host::set_up(&world.name, world.range).unwrap();
        assert_eq!(
            iptables("-S FORWARD").lines().count(),
            7,
            "policy, and once our rules"
        );

        iptables("-F FORWARD");
        assert!(!reaches_web(), "without our rules the other firewall wins");
        let lines = Host::doctor(&world.name).unwrap().join("\n");
        assert!(
            lines.contains("iptables drops forwarded packets"),
            "{lines}"
        );
        Host::set_up(&world.name, world.range).unwrap();
        assert!(reaches_web());

        nft("add table inet strict");
        nft("add chain inet strict way { type filter hook forward priority 0 ; policy drop ; }");
        assert!(!reaches_web(), "no rule of ours can help");
        let lines = Host::doctor(&world.name).unwrap().join("\n");
        assert!(lines.contains("chain inet strict way drops"), "{lines}");

        iptables("-I FORWARD 1 -i docker0 -j ACCEPT");
        drop(world);
        let left = "-P FORWARD DROP\n-A FORWARD -i docker0 -j ACCEPT\n";
        assert_eq!(iptables("-S FORWARD"), left, "only what was there before");
    });
}

/// As the nursery's loop does.
fn wait_for(pool: &Pool) {
    let Some(fd) = pool.poll_fd() else { return };
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    assert!(
        poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap() > 0,
        "the helper is silent"
    );
}
