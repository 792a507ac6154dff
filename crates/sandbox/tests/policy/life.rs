//! The policy through deaths, upgrades and sabotage, and what it tells.

use std::path::Path;

use sandbox::policy::{Event, Hook, Policy, Refused};

use super::harness::{Dyno, World, denied};

#[test]
fn no_entry_no_socket() {
    let mut world = World::make();
    let mut stranger = world.stranger(0);
    for socket in ["tcp()", "tcp6()", "udp()", "udp6()"] {
        assert_eq!(stranger.does(socket), "EPERM", "{socket}");
    }
    world
        .policy()
        .admit(stranger.cgroup, &stranger.seat)
        .unwrap();
    assert_eq!(stranger.does("s = listen('127.0.0.1', 3000)"), "ok");
    assert_eq!(
        stranger.does("c = connect('127.0.0.1', 3000); d = s.accept()[0]"),
        "ok"
    );
    assert_eq!(stranger.does("c.send(b'x'); d.recv(1)"), "ok");
    assert_eq!(world.policy().admitted().unwrap(), [stranger.cgroup]);

    world.policy().dismiss(stranger.cgroup).unwrap();
    world.policy().dismiss(stranger.cgroup).unwrap();
    assert_eq!(world.policy().admitted().unwrap(), [0_u64; 0]);
    assert_eq!(
        stranger.does("c.send(b'x'); d.settimeout(PATIENCE); d.recv(1)"),
        "timeout"
    );
    assert_eq!(stranger.does("tcp()"), "EPERM");
}

/// A cgroup below the dyno's is the dyno.
#[test]
fn a_deeper_cgroup_changes_nothing() {
    let mut world = World::make();
    let mut dyno = world.dyno(0);
    let below = dyno.folder.join("below");
    std::fs::create_dir(&below).unwrap();
    let mut host = world.on_host();
    assert_eq!(dyno.does("a = listen('0.0.0.0', 3000)"), "ok");
    let pid = dyno.does("os.getpid()");
    std::fs::write(below.join("cgroup.procs"), pid).unwrap();
    assert_eq!(dyno.does("b = listen('0.0.0.0', 3001)"), "ok");
    assert_eq!(
        dyno.does("connect('127.0.0.1', 3000)\nconnect('127.0.0.1', 3001)"),
        "ok"
    );
    assert_eq!(host.reaches(&[dyno.address(3000), dyno.address(3001)]), []);
    let port = dyno.seat.port;
    assert_eq!(dyno.does(&format!("p = listen('0.0.0.0', {port})")), "ok");
    assert_eq!(host.reaches(&[dyno.public()]), [dyno.public()]);
}

/// What must hold whatever happens: asked by the router and by a neighbour.
fn holds(world: &World, dyno: &mut Dyno, neighbour: &mut Dyno, what: &str) {
    let mut router = world.on_host();
    let (own, theirs) = (dyno.seat.port, neighbour.seat.port);
    let listen = format!(
        "for s in kept: s.close()\n\
         kept.clear(); listen('0.0.0.0', {own})\n\
         for port in (3000, {theirs}):\n try: listen('0.0.0.0', port)\n except OSError: pass\n\
         try: u = unbound()\nexcept OSError: u = 3000"
    );
    assert_eq!(dyno.does(&listen), "ok", "{what}");
    let unbound: u16 = dyno.does("u").parse().unwrap();
    let public = dyno.public();
    let closed = [3000, theirs, unbound].map(|port| dyno.address(port));
    let mut all = closed.to_vec();
    all.push(public.clone());
    let opened: Vec<_> = router
        .reaches(&all)
        .into_iter()
        .filter(|at| *at != public)
        .collect();
    assert_eq!(opened, [], "{what}: the router gets in");
    all.extend([3000, own, unbound].map(|port| ("127.0.0.1".to_owned(), port)));
    assert_eq!(neighbour.reaches(&all), [], "{what}: the neighbour gets in");
    // What the neighbour calls its own is its own.
    let listen = format!("for s in kept: s.close()\nkept.clear(); listen('0.0.0.0', {theirs})");
    assert_eq!(neighbour.does(&listen), "ok", "{what}");
    assert_eq!(
        dyno.reaches(&[neighbour.public()]),
        [],
        "{what}: it gets out"
    );
}

#[test]
fn outlives_its_loader() {
    let mut world = World::make();
    let (mut dyno, mut neighbour) = (world.dyno(0), world.dyno(0));
    holds(&world, &mut dyno, &mut neighbour, "loaded");
    let before = world.links();
    world.policy = None;
    assert!(before.len() >= 21);
    assert_eq!(world.links(), before);
    holds(&world, &mut dyno, &mut neighbour, "the loader is gone");
    let mut stranger = world.stranger(0);
    assert_eq!(stranger.does("tcp()"), "EPERM");
    world.set_up();
    assert_eq!(world.links(), before, "the next one takes over");
    holds(&world, &mut dyno, &mut neighbour, "taken over");
    world
        .policy()
        .admit(stranger.cgroup, &stranger.seat)
        .unwrap();
    assert!(stranger.does("tcp()").starts_with("<socket"));
}

#[test]
fn a_missing_program_is_no_open_port() {
    let mut world = World::make();
    let (mut dyno, mut neighbour) = (world.dyno(0), world.dyno(0));
    let mut root = world.on_host();
    let names: Vec<String> = world.links().iter().map(|pin| name(pin)).collect();
    let names = names.iter().filter(|name| !name.starts_with("lsm_"));
    for program in names {
        let pin = world
            .links()
            .into_iter()
            .find(|pin| name(pin) == *program)
            .unwrap();
        assert_eq!(root.does(&format!("detach('{}')", pin.display())), "ok");
        let error = world.policy().verify().unwrap_err().to_string();
        assert!(
            error.contains(program.trim_start_matches("isolated_")),
            "{program}: {error}"
        );
        let admitted = world.policy().admit(dyno.cgroup, &dyno.seat);
        let is_law = ["ingress", "egress", "sock_create"].contains(&program.as_str());
        assert_eq!(admitted.is_err(), is_law, "{program}");
        holds(
            &world,
            &mut dyno,
            &mut neighbour,
            &format!("without {program}"),
        );
        // A nursery that begins finds out and attaches all of them again.
        world.set_up();
        world.policy().admit(dyno.cgroup, &dyno.seat).unwrap();
        assert!(!world.links().contains(&pin), "in a new set");
    }
    holds(&world, &mut dyno, &mut neighbour, "all again");
}

fn name(pin: &Path) -> String {
    pin.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn another_version_takes_over_without_a_gap() {
    let mut world = World::make();
    let (mut dyno, mut neighbour) = (world.dyno(0), world.dyno(0));
    let mut router = world.on_host();
    let port = dyno.seat.port;
    assert_eq!(
        dyno.does(&format!(
            "p = listen('0.0.0.0', {port}); q = listen('0.0.0.0', 3000)"
        )),
        "ok"
    );
    let (public, private) = (dyno.public(), dyno.address(3000));
    let (address, port) = public.clone();
    assert_eq!(
        router.does(&format!("c = connect('{address}', {port})")),
        "ok"
    );
    assert_eq!(dyno.does("d = p.accept()[0]"), "ok");

    // As if the links that are there were of another version, and a nursery had died over the next.
    let set = world.links()[0].parent().unwrap().to_owned();
    world.policy = None;
    std::fs::rename(&set, set.with_file_name("links-0123456789abcdef-0")).unwrap();
    std::fs::create_dir(set.with_file_name("links-fedcba9876543210-7")).unwrap();
    let knock = format!(
        "import time\nend = time.monotonic() + 1.5\nfound = []\n\
         while time.monotonic() < end: found += json.loads(reached([['{}', 3000]]))",
        private.0
    );
    router.begin(&knock);
    neighbour.begin(&knock);
    world.set_up();
    assert_eq!(router.came_of_it(), "ok");
    assert_eq!(neighbour.came_of_it(), "ok");
    assert_eq!(router.does("found"), "[]");
    assert_eq!(neighbour.does("found"), "[]");
    assert_eq!(router.does("c.send(b'still here')"), "10");
    assert_eq!(dyno.does("d.recv(99).decode()"), "still here");
    let left = std::fs::read_dir(world.run.join("bpf")).unwrap();
    let left = left.filter(|entry| name(&entry.as_ref().unwrap().path()).starts_with("links-"));
    assert_eq!(left.count(), 1);
    let sets: Vec<_> = world
        .links()
        .iter()
        .map(|pin| pin.parent().unwrap().to_owned())
        .collect();
    assert!(
        sets.iter()
            .all(|of| *of == sets[0] && !name(of).contains("0123456789abcdef"))
    );
    holds(&world, &mut dyno, &mut neighbour, "upgraded");
}

#[test]
fn tells_at_once_who_listens_where() {
    let mut world = World::make();
    let mut dyno = world.dyno(0);
    let (cgroup, port, own) = (dyno.cgroup, dyno.seat.port, dyno.seat.addr4);
    let mut check = |listen: &str, wanted: &str, unbound: bool| {
        assert_eq!(dyno.does(listen), "ok", "{listen}");
        let told = Event::Listen {
            cgroup,
            address: wanted.parse().unwrap(),
            is_unbound: unbound,
        };
        assert_eq!(world.events(), [told], "{listen}");
    };
    check("a = listen('0.0.0.0', 3000)", "127.0.0.1:3000", false);
    check("b = listen('::1', 3001)", "[::1]:3001", false);
    check("c = listen('::', 3002)", "127.0.0.1:3002", false);
    check(
        &format!("d = listen('::', {port})"),
        &format!("{own}:{port}"),
        false,
    );
    assert!(world.policy().report(cgroup).unwrap().has_listened);
    if !world.policy().has_lsm() {
        let port = dyno.does("unbound()");
        let [
            Event::Listen {
                address,
                is_unbound,
                ..
            },
        ] = world.events()[..]
        else {
            panic!("one event")
        };
        assert_eq!(
            (address.to_string(), is_unbound),
            (format!("0.0.0.0:{port}"), true)
        );
    }

    let (mut isolated, cgroup) = world.isolated();
    assert_eq!(isolated.does("s = listen('0.0.0.0', 5000)"), "ok");
    let [
        Event::Listen {
            cgroup: whose,
            address,
            ..
        },
    ] = world.events()[..]
    else {
        panic!("one event")
    };
    assert_eq!(
        (whose, address.to_string()),
        (cgroup, "0.0.0.0:5000".to_owned())
    );
    assert_eq!(isolated.does("s = listen('::', 5001)"), "ok");
    assert_eq!(world.events().len(), 1);
}

#[test]
fn unread_events_wait_for_the_next_nursery() {
    let mut world = World::make();
    let mut dyno = world.dyno(0);
    world.policy = None;
    assert_eq!(dyno.does("a = listen('0.0.0.0', 3000)"), "ok");
    world.set_up();
    assert_eq!(world.events().len(), 1);
    assert_eq!(world.events().len(), 0);
}

#[test]
fn counts_what_was_refused_and_tells_each_kind_once() {
    let mut world = World::make();
    let (mut dyno, neighbour) = (world.dyno(0), world.dyno(0));
    let (address, port) = neighbour.public();
    for _ in 0..3 {
        assert_eq!(
            dyno.does(&format!("connect('{address}', {port})")),
            "ECONNREFUSED"
        );
    }
    assert_eq!(dyno.does("tcp().bind(('192.0.2.9', 80))"), "EADDRNOTAVAIL");
    let connect = Refused {
        hook: Hook::Connect,
        ip: Some(address.parse().unwrap()),
        port,
        errno: 111,
    };
    let bind = Refused {
        hook: Hook::Bind,
        ip: Some("192.0.2.9".parse().unwrap()),
        port: 80,
        errno: 99,
    };
    let cgroup = dyno.cgroup;
    let told = |what| Event::Refused { cgroup, what };
    assert_eq!(world.events(), [told(connect), told(bind)]);
    let report = world.policy().report(cgroup).unwrap();
    assert_eq!(report.refusals, [(bind, 1), (connect, 3)]);
    assert_eq!(
        world.policy().report(neighbour.cgroup).unwrap().refusals,
        []
    );

    // Whoever tries everything fills neither map nor log.
    let scan = "for p in range(1, 5000):\n s = socket.socket()\n s.connect_ex(('10.250.0.9', p))\n s.close()";
    assert_eq!(dyno.does(scan), "ok");
    assert_eq!(world.events().len(), 62);
    let report = world.policy().report(cgroup).unwrap();
    assert_eq!(report.refusals.len(), 65);
    let rest = report
        .refusals
        .iter()
        .find(|(what, _)| what.ip.is_none())
        .unwrap();
    assert_eq!(rest.1, 4999 - 62);
    world.policy().dismiss(cgroup).unwrap();
    assert_eq!(world.policy().report(cgroup).unwrap().refusals, []);
}

#[test]
fn a_flood_of_listens_is_told_in_part() {
    let mut world = World::make();
    let (mut dyno, mut neighbour) = (world.dyno(0), world.dyno(0));
    let flood = "for n in range(6000):\n s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); s.close()";
    assert_eq!(dyno.does(flood), "ok");
    assert_eq!(neighbour.does("a = listen('0.0.0.0', 3000)"), "ok");
    let events = world.events();
    assert!((64..2000).contains(&events.len()), "{}", events.len());
    let Some(Event::Listen { cgroup, .. }) = events.last() else {
        panic!("a listen event")
    };
    assert_eq!(*cgroup, neighbour.cgroup);
}

#[test]
fn counts_bytes_to_others() {
    let mut world = World::make();
    let mut dyno = world.dyno(0);
    let mut host = world.on_host();
    assert_eq!(host.does("web = listen('198.51.100.7', 80)"), "ok");
    assert_eq!(
        dyno.does("a = listen('127.0.0.1', 3000); b = connect('127.0.0.1', 3000)"),
        "ok"
    );
    assert_eq!(dyno.does("b.send(bytes(100_000))"), "100000");
    let report = world.policy().report(dyno.cgroup).unwrap();
    assert_eq!(
        (report.bytes_in, report.bytes_out),
        (0, 0),
        "its own affair"
    );
    assert_eq!(
        dyno.does("c = connect('198.51.100.7', 80); c.sendall(bytes(50_000))"),
        "ok"
    );
    let take = "d = web.accept()[0]\nn = 0\nwhile n < 50_000: n += len(d.recv(99999))\nd.sendall(bytes(3000))";
    assert_eq!(host.does(take), "ok");
    assert_eq!(
        dyno.does("n = 0\nwhile n < 3000: n += len(c.recv(9999))"),
        "ok"
    );
    let report = world.policy().report(dyno.cgroup).unwrap();
    assert!((50_000..60_000).contains(&report.bytes_out), "{report:?}");
    assert!((3_000..8_000).contains(&report.bytes_in), "{report:?}");
}

#[test]
fn what_is_denied_can_change() {
    let mut world = World::make();
    let mut dyno = world.dyno(0);
    let mut host = world.on_host();
    assert_eq!(host.does("web = listen('198.51.100.7', 80)"), "ok");
    let connect = "connect('198.51.100.7', 80).family.name";
    assert_eq!(dyno.does(connect), "AF_INET");
    let mut more = denied();
    more.push(sandbox::policy::Deny {
        address: "198.51.100.0".parse().unwrap(),
        prefix: 24,
        allows: sandbox::policy::Allows::Nothing,
    });
    world.policy = None;
    world.policy = Some(Policy::set_up(&world.run, &world.trees, &more).unwrap());
    assert_eq!(dyno.does(connect), "ECONNREFUSED");
    world.set_up();
    assert_eq!(dyno.does(connect), "AF_INET");
}
