//! Dyno networks: two owners, the host, an outside, and a second instance beside the first.
//!
//! What the port policy does is not here: everything inside a dyno network is root's own choice of
//! address, and the second law must hold alone.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use model::network::{Seat, central_port, private_loopback6};
use sandbox::net::Host;

use crate::harness::{
    PATIENCE, World, inside, links_of, listen, on_a_host_of_its_own, reaches, wait_until,
};

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
