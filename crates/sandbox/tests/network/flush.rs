//! Rules of ours come back after others have flushed them, and a fight with them stays slow.
//!
//! All of it on a host of its own: a flush concerns a whole host.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sandbox::net::Host;

use crate::BUILD;
use crate::harness::{World, inside, iptables, listen, nft, on_a_host_of_its_own, reaches};

/// Does what the nursery's loop does, until this many lines were said or the time is over.
fn serve(host: &mut Host, lines: usize, within: Duration) -> Vec<String> {
    let deadline = Instant::now() + within;
    let mut said = Vec::new();
    while said.len() < lines {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(host.rules_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap();
        if left.is_zero() || poll(&mut fds, timeout).unwrap() == 0 {
            return said;
        }
        said.extend(host.on_rules_changed().unwrap());
    }
    said
}

fn has_news(host: &Host, within_ms: u16) -> bool {
    let mut fds = [PollFd::new(host.rules_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(within_ms)).unwrap() > 0
}

const LONG: Duration = Duration::from_secs(10);

#[test]
fn rules_come_back() {
    on_a_host_of_its_own(|| {
        iptables("-P FORWARD DROP");
        let mut world = World::make();
        let tables = [
            format!("inet {}", world.name),
            format!("bridge {}", world.name),
        ];
        let loaded = |world: &World| {
            let tables = tables
                .each_ref()
                .map(|table| nft(&format!("-s -t list table {table}")));
            // A namespace is made with rules and all that they need.
            let build = world.host.namespace(BUILD).unwrap();
            let _web = inside(&world.outside, || listen(80));
            assert!(inside(&build, || reaches(
                (world.outside_address, 80).into()
            )));
            tables
        };
        let before = loaded(&world);
        let flushes: [&dyn Fn(); 5] = [
            &|| drop(iptables("-F FORWARD")),
            &|| drop(nft(&format!("delete table {}", tables[1]))),
            &|| drop(nft(&format!("flush chain {} forward", tables[0]))),
            &|| drop(nft("flush ruleset")),
            &|| {
                // A firewall that is started: everything goes, then its own policy comes.
                nft("flush ruleset");
                iptables("-P FORWARD DROP");
            },
        ];
        for (number, flush) in flushes.iter().enumerate() {
            flush();
            let said = serve(&mut world.host, 1, LONG);
            assert_eq!(said.len(), 1, "flush {number}");
            assert_eq!(loaded(&world), before, "flush {number}");
        }
        assert_eq!(iptables("-S FORWARD").lines().count(), 7);
        // What others do to their own rules concerns nobody.
        serve(&mut world.host, 1, Duration::from_secs(2));
        nft("add table inet other");
        iptables("-A FORWARD -i docker0 -j ACCEPT");
        nft("delete table inet other");
        assert!(has_news(&world.host, 0), "it hears of them");
        assert_eq!(world.host.on_rules_changed().unwrap(), None);
        assert!(!has_news(&world.host, 300), "and does not look");
    });
}

#[test]
fn a_fight_stays_slow() {
    on_a_host_of_its_own(|| {
        let mut world = World::make();
        let mut restored = 0;
        let start = Instant::now();
        nft("flush ruleset");
        while start.elapsed() < Duration::from_secs(3) {
            if serve(&mut world.host, 1, Duration::from_millis(50)).len() == 1 {
                restored += 1;
                nft("flush ruleset");
            }
        }
        assert!((2..=5).contains(&restored), "{restored} times in 3 s");
    });
}

#[test]
fn dynos_stay_reachable_through_a_flush() {
    on_a_host_of_its_own(|| {
        let mut world = World::make();
        let ns = world.host.dyno_net(0).unwrap();
        let place = SocketAddr::from((world.range.central_inside(0), 10_000));
        let _app = inside(&ns, || TcpListener::bind(place).unwrap());
        nft("flush ruleset");
        assert!(reaches(place), "no rule is needed for that");
        assert_eq!(serve(&mut world.host, 1, LONG).len(), 1);
        assert!(reaches(place));
    });
}
