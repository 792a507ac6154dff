//! Dynos in central mode: started by the real nursery, up by the kernel's word, held to their
//! seats, and all of it again after a kill of the nursery. Needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "world/harness.rs"]
#[expect(dead_code, reason = "each test program uses its part of the harness")]
mod harness;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use harness::{World, dyno, eventually};
use nix::poll::{PollTimeout, poll};
use sandbox::{Base, Mount, Network, Place, PortMode, Spec, Started};

/// A dyno of the owner that has net 5, in a seat that goes with its slot.
fn central(slot: u16, words: &[&str]) -> Spec {
    let (host, port) = seat(slot);
    Spec {
        network: Network::Central { net: 5, host, port },
        watch_port: Some(port),
        ..dyno(slot, words)
    }
}

fn seat(slot: u16) -> (u8, u16) {
    (u8::try_from(slot).unwrap() + 3, 10_000 + slot)
}

fn address(range: u8, slot: u16) -> SocketAddr {
    let (host, port) = seat(slot);
    format!("10.{range}.5.{host}:{port}").parse().unwrap()
}

/// Whether the host reaches a dyno's address; the law lets packets to other ports vanish.
fn is_reached(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_ok()
}

fn net_of(started: &Started) -> String {
    let link = fs::read_link(format!("/proc/{}/ns/net", started.pid)).unwrap();
    link.display().to_string()
}

fn remove_all(world: &World, slots: impl IntoIterator<Item = u16>) {
    for slot in slots {
        world.client().remove(&format!("dyno-{slot}")).unwrap();
    }
}

#[test]
fn dynos_of_one_owner_share_a_net_and_keep_their_ports() {
    let world = World::new(217);
    assert_eq!(world.client().facts().unwrap().central, None);
    let started = [
        world.start_dyno(&central(0, &["listen", "0.0.0.0:10000", "0.0.0.0:9000"])),
        world.start_dyno(&central(1, &["listen", "[::]:10001"])),
        world.start_dyno(&central(2, &["listen", "0.0.0.0:10001", "127.0.0.1:10002"])),
    ];
    for slot in [0, 1] {
        world.status(slot, "up");
        assert!(is_reached(address(217, slot)), "{slot}");
    }
    assert_eq!(net_of(&started[0]), net_of(&started[1]));
    assert_ne!(
        net_of(&started[0]),
        fs::read_link("/proc/self/ns/net")
            .unwrap()
            .display()
            .to_string()
    );
    let port = eventually("the other port is told", || {
        let port = world.client().port("dyno-0").unwrap();
        (port.listening.len() == 2).then_some(port)
    });
    assert_eq!((port.mode, port.port), (PortMode::Central, 10_000));
    assert_eq!(
        SocketAddr::new(port.address.into(), port.port),
        address(217, 0)
    );
    let wanted = [address(217, 0), "127.0.0.1:9000".parse().unwrap()];
    assert!(
        wanted.iter().all(|a| port.listening.contains(a)),
        "{port:?}"
    );
    assert!(port.bytes_in > 0 && port.bytes_out > 0, "{port:?}");
    // Its neighbour's port is private to it, and its own on loopback alone is not up.
    let wanted = ["127.0.0.1:10001", "127.0.0.1:10002"].map(|a| a.parse().unwrap());
    eventually("both are told", || {
        let port = world.client().port("dyno-2").unwrap();
        (port.listening == wanted).then_some(())
    });
    let status = fs::read_to_string(world.dyno_file(2, "status")).unwrap();
    assert!(!status.contains("\nup "), "{status}");
    assert!(!is_reached(address(217, 2)));
    let steps = world.client().start_steps("dyno-1").unwrap();
    let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.contains(&"policy") && names.ends_with(&["exec", "boot"]),
        "{names:?}"
    );
    remove_all(&world, 0..3);
}

#[test]
fn what_is_refused_is_told_once_and_counted() {
    let world = World::new(218);
    world.start_dyno(&central(0, &["listen", "0.0.0.0:10000"]));
    world.status(0, "up");
    let neighbour = address(218, 0).to_string();
    world.start_dyno(&central(1, &["connect", &neighbour]));
    let told = world.status(1, "refused");
    assert!(
        told.starts_with(&format!("refused connect to {neighbour} ")),
        "{told}"
    );
    let mut line = String::new();
    std::io::BufRead::read_line(&mut world.output(1), &mut line).unwrap();
    assert_eq!(line, "ECONNREFUSED\n");
    let report = world.client().port("dyno-1").unwrap();
    let [refusal] = report.refusals.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!((refusal.errno, refusal.count), (libc::ECONNREFUSED, 1));
    assert_eq!(refusal.what, format!("connect to {neighbour}"));
    remove_all(&world, 0..2);
}

#[test]
fn everything_again_after_a_kill_of_the_nursery() {
    let mut world = World::new(219);
    fs::create_dir(world.at.join("data/signs")).unwrap();
    let waiting = |slot: u16, words: &[&str]| {
        let from = Place {
            base: Base::Data,
            path: "signs".into(),
        };
        let to = "/signs".into();
        let bind = Mount::Bind {
            from,
            to,
            write: false,
        };
        let words = [&["when", "/signs/go", "listen"], words].concat();
        Spec {
            mounts: vec![bind],
            ..central(slot, &words)
        }
    };
    let first = world.start_dyno(&central(0, &["listen", "0.0.0.0:10000"]));
    world.start_dyno(&waiting(1, &["0.0.0.0:10001"]));
    let isolated = Spec {
        network: Network::Isolated { port: 5000 },
        watch_port: Some(5000),
        ..waiting(2, &["0.0.0.0:5000"])
    };
    world.start_dyno(&isolated);
    world.status(0, "up");
    world.nursery.kill().unwrap();
    world.nursery.wait().unwrap();
    // They listen while nobody hears it.
    fs::write(world.at.join("data/signs/go"), "").unwrap();
    eventually("it listens", || is_reached(address(219, 1)).then_some(()));
    eventually("it listens", || {
        is_reached("10.219.128.4:5000".parse().unwrap()).then_some(())
    });
    let status = fs::read_to_string(world.dyno_file(1, "status")).unwrap();
    assert!(!status.contains("\nup "), "{status}");
    world.replace_nursery();
    for slot in 0..3 {
        world.status(slot, "up");
    }
    let times = |slot| {
        fs::read_to_string(world.dyno_file(slot, "status"))
            .unwrap()
            .matches("\nup ")
            .count()
    };
    assert_eq!([times(0), times(1), times(2)], [1, 1, 1], "told once");
    assert!(is_reached(address(219, 0)));
    // The next one comes into the same net, and is held as the others are.
    let next = world.start_dyno(&central(3, &["listen", "0.0.0.0:10003"]));
    assert_eq!(net_of(&next), net_of(&first));
    world.status(3, "up");
    let neighbour = address(219, 0).to_string();
    world.start_dyno(&central(4, &["connect", &neighbour]));
    world.status(4, "refused");
    let report = world.client().port("dyno-0").unwrap();
    assert!(
        report.bytes_in > 0,
        "counted since before the kill: {report:?}"
    );
    remove_all(&world, 0..5);
}

#[test]
fn nobody_polls() {
    let world = World::new(220);
    let idle = world.start_dyno(&central(0, &["listen", "0.0.0.0:10000"]));
    world.status(0, "up");
    let booting = world.start_dyno(&central(1, &["wait"]));
    let isolated = Spec {
        network: Network::Isolated { port: 5000 },
        watch_port: Some(5000),
        ..dyno(2, &["wait"])
    };
    let isolated = world.start_dyno(&isolated);
    let nursery = i32::try_from(world.nursery.id()).unwrap();
    let watched = [idle.pid, booting.pid, isolated.pid, nursery];
    // What is made ahead takes a moment, and a change of the machine's rules wakes the nursery; who
    // polls never sleeps as long as this.
    eventually("three keepers and the nursery sleep through", || {
        let before = watched.map(wakes);
        rest(Duration::from_secs(3));
        (watched.map(wakes) == before).then_some(())
    });
    remove_all(&world, 0..3);
}

/// How often a process has gone to sleep: a process that polls does it again and again.
fn wakes(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let lines = status
        .lines()
        .filter_map(|line| line.split_once("ctxt_switches:"));
    lines
        .map(|(_, count)| count.trim().parse::<u64>().unwrap())
        .sum()
}

/// Lets time pass, in which others must not run.
fn rest(time: Duration) {
    let timeout = PollTimeout::try_from(time).unwrap();
    poll(&mut [], timeout).unwrap();
}

#[test]
fn without_the_policy_slugs_have_a_reason_and_isolated_dynos_go_on() {
    // A file where the pins would go: nothing can be mounted there.
    let world = World::prepared(221, |at| fs::write(at.join("run/bpf"), "").unwrap());
    let facts = world.client().facts().unwrap();
    let reason = facts.central.unwrap();
    assert!(reason.contains("port policy"), "{reason}");
    let refused = world
        .client()
        .start(&central(0, &["wait"]), &harness::secrets(&[]), &[]);
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("no central mode: ") && refused.contains(&reason),
        "{refused}"
    );
    let spec = Spec {
        network: Network::Isolated { port: 5000 },
        watch_port: Some(5000),
        ..dyno(1, &["listen", "0.0.0.0:5000"])
    };
    world.start_dyno(&spec);
    world.status(1, "up");
    assert_eq!(world.client().port("dyno-1").unwrap().listening.len(), 1);
    remove_all(&world, [1]);
    fs::remove_file(world.at.join("run/bpf")).unwrap();
}

#[test]
fn a_seat_is_given_up_and_taken_again() {
    let world = World::new(222);
    for _ in 0..3 {
        world.start_dyno(&central(0, &["listen", "0.0.0.0:10000"]));
        world.status(0, "up");
        assert!(is_reached(address(222, 0)));
        remove_all(&world, [0]);
        assert!(!is_reached(address(222, 0)));
    }
}
