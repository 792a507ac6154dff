//! Dyno networks: two owners, the host, an outside, and a second instance beside the first.
//!
//! What the port policy does is not here: everything inside a dyno network is root's own choice of
//! address, and the second law must hold alone.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use model::network::{Seat, central_port, private_loopback6};
use sandbox::net::Host;

use crate::harness::{
    PATIENCE, World, counted, inside, ip, links_of, listen, on_a_host_of_its_own, reaches,
    reaches_from, wait_until,
};
use crate::{A, B, BUILD};

const MINE: u8 = 5;
const THEIRS: u8 = 6;

fn seat(net: u8, host: u8) -> Seat {
    Seat::new(net, host).unwrap()
}

fn same_namespace(a: &OwnedFd, b: &OwnedFd) -> bool {
    let inode = |ns: &OwnedFd| {
        std::fs::File::from(ns.try_clone().unwrap())
            .metadata()
            .unwrap()
            .ino()
    };
    inode(a) == inode(b)
}

#[test]
fn a_dyno_net_is_reached_and_reaches_the_outside() {
    on_a_host_of_its_own(|| {
        let mut world = World::make();
        let ns = world.host.dyno_net(MINE).unwrap();
        let [first, last] = [3, 254].map(|host| world.range.central_address(seat(MINE, host)));
        for (address, slot) in [(first, 0), (last, 8191)] {
            let place = SocketAddr::from((address, central_port(slot)));
            let app = inside(&ns, || TcpListener::bind(place).unwrap());
            let mut client = TcpStream::connect_timeout(&place, PATIENCE).unwrap();
            client.write_all(b"hello").unwrap();
            let (mut server, peer) = app.accept().unwrap();
            let mut heard = [0; 5];
            server.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"hello");
            assert_eq!(peer.ip(), world.range.central_gateway(MINE));
        }
        let web = inside(&world.outside, || listen(80));
        assert!(inside(&ns, || reaches((world.outside_address, 80).into())));
        let (_, seen) = web.accept().unwrap();
        assert_eq!(seen.ip(), world.lan_address, "the outside sees the node");
    });
}

#[test]
fn inside_a_dyno_net() {
    on_a_host_of_its_own(|| {
        let mut world = World::make();
        let ns = world.host.dyno_net(MINE).unwrap();
        inside(&ns, || {
            let port = |ip: Ipv4Addr| {
                TcpListener::bind((ip, 0))
                    .unwrap()
                    .local_addr()
                    .unwrap()
                    .port()
            };
            assert!(port(world.range.central_address(seat(MINE, 7))) >= 49_152);
            let own = private_loopback6(seat(MINE, 7));
            let listener = TcpListener::bind((own, 5000)).unwrap();
            assert!(
                reaches(listener.local_addr().unwrap()),
                "what stands for ::1"
            );
            assert!(TcpListener::bind((Ipv6Addr::LOCALHOST, 5000)).is_ok());
            assert!(TcpListener::bind((world.range.central_address(seat(THEIRS, 7)), 1)).is_err());
            assert!(TcpListener::bind((world.lan_address, 1)).is_err());
            let links = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
            assert!(links.lines().all(|line| line.ends_with(" lo")), "{links}");
            let forward = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
            assert_eq!(forward.trim(), "0");
        });
    });
}

#[test]
fn a_dyno_net_lives_as_long_as_a_dyno_and_is_found_again() {
    on_a_host_of_its_own(|| {
        let mut world = World::make();
        let cable = world.name.central_cable(MINE);
        let is_there = || links_of(&world.name).contains(&cable);
        let ns = world.host.dyno_net(MINE).unwrap();
        assert!(
            same_namespace(&ns, &world.host.dyno_net(MINE).unwrap()),
            "made once"
        );
        let mut dyno = inside(&ns, || Command::new("sleep").arg("60").spawn().unwrap());
        let place = SocketAddr::from((world.range.central_address(seat(MINE, 3)), 10_000));
        let app = inside(&ns, || TcpListener::bind(place).unwrap());

        // A nursery dies, the next one takes over.
        world.host = Host::set_up(&world.name, world.range).unwrap();
        let net_of =
            |pid: u32| OwnedFd::from(std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap());
        let not_a_dyno = OwnedFd::from(std::fs::File::open("/proc/thread-self/ns/net").unwrap());
        assert!(
            world.host.adopt_dyno_net(MINE, not_a_dyno).is_err(),
            "the host's own"
        );
        assert!(
            world
                .host
                .adopt_dyno_net(THEIRS, net_of(dyno.id()))
                .is_err(),
            "another number"
        );
        world.host.adopt_dyno_net(MINE, net_of(dyno.id())).unwrap();
        assert!(same_namespace(&ns, &world.host.dyno_net(MINE).unwrap()));
        assert!(reaches(place));

        drop((ns, app));
        world.host.release_dyno_net(MINE);
        assert!(is_there(), "the dyno is still in it");
        dyno.kill().unwrap();
        dyno.wait().unwrap();
        wait_until("the cable goes", || !is_there());

        // The number's next owner, while the old one may still be dying.
        for _ in 0..3 {
            drop(world.host.dyno_net(MINE).unwrap());
            world.host.release_dyno_net(MINE);
        }
        let ns = world.host.dyno_net(MINE).unwrap();
        let _app = inside(&ns, || TcpListener::bind(place).unwrap());
        assert!(reaches(place));
    });
}

/// Sends one datagram from an address of the calling thread's namespace.
fn speak(from: Ipv4Addr, to: SocketAddr) {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.set_broadcast(true).unwrap();
    // The kernel may refuse on its own; then nothing is counted, and the test says so.
    drop(socket.send_to(b"hello", to));
}

#[test]
fn each_forbidden_way_is_dropped_by_a_rule_of_ours() {
    on_a_host_of_its_own(|| {
        let mut world = World::make();
        let (mine, theirs) = (
            world.host.dyno_net(MINE).unwrap(),
            world.host.dyno_net(THEIRS).unwrap(),
        );
        let [isolated, build] = [A, BUILD].map(|seat| world.host.namespace(seat).unwrap());
        let me = world.range.central_address(seat(MINE, 3));
        let neighbour = world.range.central_address(seat(THEIRS, 3));
        let bridged = bridged_neighbour(&world);
        let _all_listen = [&theirs, &isolated, &build, &world.outside, &bridged.1]
            .map(|ns| inside(ns, || listen(5000)));
        let _on_host = listen(5000);
        // A host that knows a way to everywhere, so that it is a rule that says no.
        ip(&format!("route add default via {}", world.outside_address));

        let range = world.range;
        let other_link_local = Ipv4Addr::new(169, 254, 9, 9);
        let cases = [
            ("the host's LAN", world.lan_address, "to_host"),
            ("the gateway", range.central_gateway(MINE), "to_host"),
            ("a gateway", range.central_gateway(THEIRS), "to_host"),
            ("a bridge's address", range.dyno_gateway(), "to_host"),
            ("another owner's dyno", neighbour, "to_neighbour"),
            ("an isolated dyno", world.host.address(A), "to_neighbour"),
            ("a build", world.host.address(BUILD), "to_neighbour"),
            ("another network of the host", bridged.0, "to_bridge"),
            ("the cloud's secrets", world.metadata, "to_reserved"),
            ("no network", range.central_gateway(99), "to_reserved"),
            ("link-local", other_link_local, "to_reserved"),
        ];
        for (what, address, counter) in cases {
            let to = SocketAddr::from((address, 5000));
            for way in ["tcp", "udp"] {
                let before = counted(&world.name, counter);
                if way == "tcp" {
                    assert!(!inside(&mine, || reaches_from(me, to)), "{what}");
                } else {
                    inside(&mine, || speak(me, to));
                }
                wait_until(what, || counted(&world.name, counter) > before);
            }
        }
        for many in [
            Ipv4Addr::new(224, 0, 0, 1),
            Ipv4Addr::new(239, 1, 2, 3),
            Ipv4Addr::BROADCAST,
        ] {
            let before = counted(&world.name, "to_reserved");
            // From eth0's own address: with another one the kernel keeps them on lo.
            inside(&mine, || {
                speak(range.central_inside(MINE), (many, 5000).into());
            });
            wait_until("many at once", || {
                counted(&world.name, "to_reserved") > before
            });
        }
    });
}

#[test]
fn into_a_dyno_net_comes_only_what_the_host_sends() {
    on_a_host_of_its_own(|| {
        let mut world = World::make();
        let [mine, theirs] = [MINE, THEIRS].map(|net| world.host.dyno_net(net).unwrap());
        let [isolated, build] = [A, BUILD].map(|seat| world.host.namespace(seat).unwrap());
        let bridged = bridged_neighbour(&world);
        let me = SocketAddr::from((world.range.central_address(seat(MINE, 3)), 5000));
        let _app = inside(&mine, || TcpListener::bind(me).unwrap());
        assert!(reaches(me));
        for (what, ns) in [
            ("an isolated dyno", &isolated),
            ("a build", &build),
            ("another owner's dyno", &theirs),
            ("the LAN", &world.outside),
            ("another network of the host", &bridged.1),
        ] {
            let before = counted(&world.name, "to_neighbour");
            assert!(!inside(ns, || reaches(me)), "{what}");
            assert!(counted(&world.name, "to_neighbour") > before, "{what}");
        }
    });
}

/// A machine behind a bridge that is not ours, as Docker makes them.
fn bridged_neighbour(world: &World) -> (Ipv4Addr, OwnedFd) {
    let ns = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        OwnedFd::from(std::fs::File::open("/proc/thread-self/ns/net").unwrap())
    });
    let ns = ns.join().unwrap();
    let far = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        std::os::fd::AsRawFd::as_raw_fd(&ns)
    );
    let name = &world.name;
    ip(&format!("link add {name}-x type bridge"));
    ip(&format!("address add 198.19.0.1/24 dev {name}-x"));
    ip(&format!("link set {name}-x up"));
    ip(&format!(
        "link add {name}-y master {name}-x type veth peer name eth0 netns {far}"
    ));
    ip(&format!("link set {name}-y up"));
    inside(&ns, || {
        ip("address add 198.19.0.2/24 dev eth0");
        ip("link set eth0 up");
        ip("route add default via 198.19.0.1");
    });
    let address = Ipv4Addr::new(198, 19, 0, 2);
    let _web = inside(&ns, || listen(9));
    wait_until("the bridge carries packets", || {
        reaches((address, 9).into())
    });
    (address, ns)
}

#[test]
fn a_dyno_net_speaks_with_its_own_addresses_alone() {
    on_a_host_of_its_own(|| {
        let mut world = World::make();
        let ns = world.host.dyno_net(MINE).unwrap();
        drop(world.host.dyno_net(THEIRS).unwrap());
        let ear = inside(&world.outside, || {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9000)).unwrap()
        });
        ear.set_read_timeout(Some(PATIENCE)).unwrap();
        let far = SocketAddr::from((world.outside_address, 9000));
        let is_heard = |from: Ipv4Addr| {
            inside(&ns, || speak(from, far));
            ear.recv(&mut [0; 16]).is_ok()
        };
        for host in [3, 254] {
            assert!(is_heard(world.range.central_address(seat(MINE, host))));
        }
        // What only the host's root could do inside: addresses that belong to others.
        for stolen in [
            world.range.central_address(seat(THEIRS, 3)),
            world.range.central_address(seat(99, 3)),
            world.host.address(A),
            world.lan_address,
            Ipv4Addr::new(9, 9, 9, 9),
        ] {
            inside(&ns, || ip(&format!("address add {stolen}/32 dev lo")));
            let before = counted(&world.name, "false_sender");
            assert!(!is_heard(stolen), "{stolen}");
            assert!(counted(&world.name, "false_sender") > before, "{stolen}");
        }
        // And nobody outside speaks as one of ours.
        let ours = world.range.central_address(seat(MINE, 3));
        inside(&world.outside, || {
            ip(&format!("address add {ours}/32 dev lo"));
        });
        let before = counted(&world.name, "false_sender");
        inside(&world.outside, || {
            speak(ours, (world.lan_address, 9000).into());
        });
        wait_until("the false sender", || {
            counted(&world.name, "false_sender") > before
        });
    });
}

#[test]
fn two_instances_side_by_side() {
    on_a_host_of_its_own(|| {
        let mut one = World::make();
        let mut two = World::make();
        let (a, b) = (
            one.host.dyno_net(MINE).unwrap(),
            two.host.dyno_net(MINE).unwrap(),
        );
        let app = |world: &World, ns: &OwnedFd| {
            let place = SocketAddr::from((world.range.central_address(seat(MINE, 3)), 10_000));
            (place, inside(ns, || TcpListener::bind(place).unwrap()))
        };
        let ((first, _one_listens), (second, _two_listens)) = (app(&one, &a), app(&two, &b));
        assert!(reaches(first) && reaches(second), "the host reaches both");
        for (ns, other, guard) in [(&a, second, &two.name), (&b, first, &one.name)] {
            let before = counted(guard, "to_neighbour");
            assert!(
                !inside(ns, || reaches(other)),
                "one instance reaches the other"
            );
            assert!(counted(guard, "to_neighbour") > before, "{guard}");
        }
        let gone = one.name.clone();
        drop(one);
        assert_eq!(links_of(&gone), Vec::<String>::new());
        assert_eq!(Host::strays(&gone).unwrap(), Vec::<String>::new());
        assert!(reaches(second), "the other one does not notice");
        let web = inside(&two.outside, || listen(80));
        assert!(inside(&b, || reaches((two.outside_address, 80).into())));
        drop(web);
    });
}

/// One dyno opens all it can; the other one does not notice.
#[test]
fn connections_are_limited_per_address() {
    on_a_host_of_its_own(|| {
        let mut world = World::make();
        let net = world.host.dyno_net(MINE).unwrap();
        let [a, b] = [A, B].map(|seat| world.host.namespace(seat).unwrap());
        // On a busy machine the first flows would be forgotten (30 s) before the last are begun.
        let lifetime = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";
        std::fs::write(lifetime, "600").unwrap();
        let central = |host| world.range.central_address(seat(MINE, host));
        let [first, second] = [A, B].map(|seat| world.host.address(seat));
        flood_and_look(&world, (&net, central(3)), (&net, central(4)));
        flood_and_look(&world, (&a, first), (&b, second));
    });
}

fn flood_and_look(world: &World, hostile: (&OwnedFd, Ipv4Addr), other: (&OwnedFd, Ipv4Addr)) {
    let counts = || ["too_fast", "too_many"].map(|counter| counted(&world.name, counter));
    let before = counts();
    let _web = inside(&world.outside, || listen(80));
    inside(hostile.0, || {
        let socket = UdpSocket::bind((hostile.1, 0)).unwrap();
        for port in 10_000..40_000 {
            // Full queues are the kernel's business.
            drop(socket.send_to(b"x", (world.outside_address, port)));
        }
    });
    let [fast, many] = counts();
    let (fast, many) = (fast - before[0], many - before[1]);
    assert!(fast + many > 10_000, "{fast} too fast, {many} too many");
    assert!(many > 0, "those within the rate are counted");
    let web = SocketAddr::from((world.outside_address, 80));
    assert!(
        !inside(hostile.0, || reaches_from(hostile.1, web)),
        "it has its share"
    );
    assert!(
        inside(other.0, || reaches_from(other.1, web)),
        "the neighbour has his"
    );
}
