//! What a dyno must not get out of sharing a net namespace: each attempt from inside, by a process
//! without capabilities.

use super::harness::{PORT, RANGE, World};

#[test]
fn no_address_but_its_own_can_be_bound() {
    let mut world = World::make();
    let (mut dyno, neighbour) = (world.dyno(0), world.dyno(0));
    let [a, b] = RANGE;
    let theirs = neighbour.seat.addr4.to_string();
    let gateway = format!("{a}.{b}.0.1");
    let inside = format!("{a}.{b}.0.2");
    let own = dyno.seat.addr4.to_string();
    for address in [&theirs, &gateway, &inside, &own] {
        for free in ["", "s.setsockopt(socket.IPPROTO_IP, 15, 1); "] {
            let bind = format!("s = tcp(); {free}s.bind(('{address}', 7000))");
            assert_eq!(dyno.does(&bind), "EADDRNOTAVAIL", "{bind}");
            let bind = format!("s = tcp6(); {free}s.bind(('::ffff:{address}', 7000))");
            assert_eq!(dyno.does(&bind), "EADDRNOTAVAIL", "{bind}");
            let bind = format!("s = udp(); {free}s.bind(('{address}', 7000))");
            assert_eq!(dyno.does(&bind), "EADDRNOTAVAIL", "{bind}");
        }
    }
    let port = neighbour.seat.port;
    let bind = format!("tcp().bind(('{theirs}', {port}))");
    assert_eq!(dyno.does(&bind), "EADDRNOTAVAIL");
    for address in ["fd7f::7f40:2", "2001:db8::1", "fe80::1", "ff02::1"] {
        let bind = format!("tcp6().bind(('{address}', 7000))");
        assert_eq!(dyno.does(&bind), "EADDRNOTAVAIL", "{bind}");
    }
    assert_eq!(
        dyno.does("udp().bind(('224.0.0.251', 5353))"),
        "EADDRNOTAVAIL"
    );
}

#[test]
fn nobody_is_connected_to_whom_it_must_not_reach() {
    let mut world = World::make();
    let (mut dyno, mut neighbour, mut other) = (world.dyno(0), world.dyno(0), world.dyno(1));
    let mut host = world.on_host();
    let [a, b] = RANGE;
    let mut targets = vec![
        ("192.0.2.1".to_owned(), 8000),
        (format!("{a}.{b}.0.1"), 8000),
        (format!("{a}.{b}.1.1"), 8000),
        ("169.254.169.254".to_owned(), 80),
    ];
    for (address, port) in &targets {
        assert!(
            host.does(&format!("listen('{address}', {port})"))
                .starts_with("<socket")
        );
    }
    for victim in [&mut neighbour, &mut other] {
        let (address, port) = victim.public();
        assert!(
            victim
                .does(&format!("listen('0.0.0.0', {port})"))
                .starts_with("<socket")
        );
        targets.push((address, port));
    }
    assert_eq!(
        host.reaches(&targets).len(),
        targets.len(),
        "they do listen"
    );
    for (address, port) in &targets {
        let at = format!("('{address}', {port})");
        for attempt in [
            format!("connect{at}"),
            format!("connect('::ffff:{address}', {port})"),
            format!("tcp().sendto(b'x', socket.MSG_FASTOPEN, {at})"),
            format!("s = tcp(); s.connect_ex(('127.0.0.1', 9)); unspecified(s); s.connect({at})"),
            format!("s = udp(); s.connect({at})"),
            format!("s = udp(); s.connect(('127.0.0.1', 9)); unspecified(s); s.connect({at})"),
            format!("s = udp(); s.sendto(b'x', {at})"),
            format!("s = udp6(); s.sendto(b'x', ('::ffff:{address}', {port}))"),
            format!("s = tcp(); s.setsockopt(1, 25, b'eth0'); s.connect({at})"),
            format!("s = tcp(); s.bind(('127.0.0.1', 0)); s.connect({at})"),
        ] {
            assert_eq!(dyno.does(&attempt), "ECONNREFUSED", "{attempt}");
        }
    }
    assert_eq!(dyno.reaches(&targets), []);
}

#[test]
fn nothing_has_ipv6() {
    let mut world = World::make();
    let mut dyno = world.dyno(0);
    for address in [
        "2001:db8::7",
        "fd7f::7f40:2",
        "fe80::1%lo",
        "fe80::1%eth0",
        "ff02::1%eth0",
    ] {
        let connect = format!("connect('{address}', 80)");
        assert_eq!(dyno.does(&connect), "ENETUNREACH", "{connect}");
        let send = format!("udp6().sendto(b'x', ('{address}', 80))");
        assert_eq!(dyno.does(&send), "ENETUNREACH", "{send}");
    }
}

#[test]
fn only_tcp_and_udp_have_sockets() {
    let mut world = World::make();
    let mut dyno = world.dyno(0);
    let check = |family: &str, kind: &str, protocol: u16| {
        format!("socket.socket(socket.{family}, socket.{kind}, {protocol}).family.name")
    };
    for family in ["AF_INET", "AF_INET6"] {
        assert_eq!(dyno.does(&check(family, "SOCK_STREAM", 6)), family);
        assert_eq!(dyno.does(&check(family, "SOCK_DGRAM", 17)), family);
        for (kind, protocol) in [
            ("SOCK_RAW", 6),
            ("SOCK_RAW", 255),
            ("SOCK_DGRAM", 1),
            ("SOCK_DGRAM", 58),
            ("SOCK_STREAM", 262),
            ("SOCK_STREAM", 132),
            ("SOCK_SEQPACKET", 132),
            ("SOCK_DGRAM", 136),
        ] {
            let came = dyno.does(&check(family, kind, protocol));
            // The latter two: not built into this kernel.
            let refused = ["EPERM", "EACCES", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT"];
            assert!(
                refused.contains(&came.as_str()),
                "{family} {kind} {protocol}: {came}"
            );
        }
    }
    let mptcp = dyno.does(&check("AF_INET", "SOCK_STREAM", 262));
    assert!(
        ["EACCES", "EPROTONOSUPPORT"].contains(&mptcp.as_str()),
        "{mptcp}"
    );
}

/// `listen()` without `bind()` gets a port on all addresses of all dynos.
#[test]
fn an_unbound_listener_serves_its_owner_alone() {
    let mut world = World::make();
    let (mut dyno, mut neighbour) = (world.dyno(0), world.dyno(0));
    let mut router = world.on_host();
    for family in ["socket.AF_INET", "socket.AF_INET6"] {
        let came = dyno.does(&format!("unbound({family})"));
        if world.policy().has_lsm() {
            assert_eq!(came, "EADDRNOTAVAIL");
            continue;
        }
        let line = world.policy().lacks().join("\n");
        assert!(
            line.contains("listen() without bind()"),
            "doctor tells: {line}"
        );
        let port: u16 = came.parse().unwrap();
        assert!(port >= 49152, "from the range in which no PORT is: {port}");
        let (own, theirs) = (dyno.address(port), neighbour.address(port));
        assert_eq!(router.reaches(&[own.clone(), theirs]), []);
        let local = ("127.0.0.1".to_owned(), port);
        assert_eq!(neighbour.reaches(&[own, local.clone()]), []);
        assert_eq!(dyno.reaches(std::slice::from_ref(&local)), [local]);
    }
}

#[test]
fn squatting_takes_no_port_below_the_range() {
    let mut world = World::make();
    let (mut dyno, mut neighbour) = (world.dyno(0), world.dyno(0));
    let squat = "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n\
                 ports = []\n\
                 for n in range(2000):\n \
                     s = tcp(); s.listen(1); ports.append(s.getsockname()[1])";
    let came = dyno.does(squat);
    if world.policy().has_lsm() {
        assert_eq!(came, "EADDRNOTAVAIL");
    } else {
        assert!(came == "ok", "{came}");
        assert_eq!(
            dyno.does("len(ports) > 500 and min(ports) >= 49152"),
            "True"
        );
    }
    let port = neighbour.seat.port;
    for port in [port, 80, 3000, 8080, 49151] {
        let listen = format!("listen('0.0.0.0', {port})");
        assert!(neighbour.does(&listen).starts_with("<socket"), "{listen}");
    }
}

#[test]
fn a_port_of_a_neighbour_cannot_be_shared() {
    let mut world = World::make();
    let (mut dyno, mut neighbour) = (world.dyno(0), world.dyno(0));
    let mut router = world.on_host();
    let port = neighbour.seat.port;
    let share = format!(
        "s = tcp(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n\
         s.bind(('0.0.0.0', {port})); s.listen()"
    );
    assert_eq!(neighbour.does(&share), "ok");
    assert_eq!(dyno.does(&share), "ok", "on its own loopback");
    for _ in 0..20 {
        assert_eq!(router.reaches(&[neighbour.public()]), [neighbour.public()]);
        assert_eq!(neighbour.does("s.accept()[1][1] > 0"), "True");
    }
    assert_eq!(dyno.does("s.accept()"), "timeout");
}

#[test]
fn no_option_of_a_socket_gains_anything() {
    let mut world = World::make();
    let (mut dyno, neighbour) = (world.dyno(0), world.dyno(0));
    let mut host = world.on_host();
    // IP_TRANSPARENT, SO_MARK, SO_PRIORITY beyond 6, SO_RCVBUFFORCE.
    for (level, option, value) in [(0, 19, 1), (1, 36, 7), (1, 12, 7), (1, 33, 1 << 20)] {
        let set = format!("tcp().setsockopt({level}, {option}, {value})");
        assert_eq!(dyno.does(&set), "EPERM", "{set}");
    }
    assert_eq!(host.does("ear = receive('198.51.100.7', 9000)"), "ok");
    let spoof = |from: std::net::Ipv4Addr| {
        let [a, b, c, d] = from.octets();
        format!("from_ = struct.pack('i4B4x', 0, {a}, {b}, {c}, {d})")
    };
    let send = "s.sendmsg([b'x'], [(socket.IPPROTO_IP, 8, from_)], 0, ('198.51.100.7', 9000))";
    for stolen in [neighbour.seat.addr4, neighbour.seat.lo4] {
        dyno.does(&spoof(stolen));
        for socket in ["s = udp()", "s = udp(); s.bind(('0.0.0.0', 0))"] {
            assert_eq!(dyno.does(socket), "ok");
            assert_eq!(dyno.does(send), "1");
            let own = dyno.seat.addr4.to_string();
            assert_eq!(host.does("ear.recvfrom(9)[1][0]"), own, "{socket} {stolen}");
        }
        // A connected socket asks no hook: its own address, or the law drops it.
        assert_eq!(
            dyno.does("s = udp(); s.connect(('198.51.100.7', 9000))"),
            "ok"
        );
        dyno.does("s.sendmsg([b'x'], [(socket.IPPROTO_IP, 8, from_)])");
        let heard = host.does("ear.recvfrom(9)[1][0]");
        let own = dyno.seat.addr4.to_string();
        assert!([&own, "timeout"].contains(&heard.as_str()), "{heard}");
    }
}

#[test]
fn nobody_hears_a_shout() {
    let mut world = World::make();
    let (mut dyno, mut neighbour) = (world.dyno(0), world.dyno(0));
    let mut host = world.on_host();
    let [a, b] = RANGE;
    assert_eq!(host.does("ear = receive('0.0.0.0', 5353)"), "ok");
    let join = "ear = receive('0.0.0.0', 5353)\n\
                ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, \
                struct.pack('4s4s', socket.inet_aton('224.0.0.251'), bytes(4)))";
    assert!(["ok", "ENODEV"].contains(&neighbour.does(join).as_str()));
    let shout = "s = udp(); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)";
    for to in [
        "224.0.0.251",
        "255.255.255.255",
        "239.1.2.3",
        &format!("{a}.{b}.0.255"),
    ] {
        assert_eq!(dyno.does(shout), "ok");
        assert_eq!(
            dyno.does(&format!("s.sendto(b'x', ('{to}', 5353))")),
            "ECONNREFUSED",
            "{to}"
        );
    }
    assert_eq!(neighbour.does("ear.recvfrom(9)"), "timeout");
    assert_eq!(host.does("ear.recvfrom(9)"), "timeout");
}

/// Abstract Unix sockets and the lists below /proc/net: what packets cannot tell.
#[test]
fn what_packets_cannot_tell_is_held_or_said() {
    let mut world = World::make();
    let (mut dyno, mut neighbour) = (world.dyno(0), world.dyno(0));
    let serve = "s = keep(socket.socket(socket.AF_UNIX)); s.bind('\\0shared'); s.listen()";
    assert_eq!(neighbour.does(serve), "ok");
    let connect = "socket.socket(socket.AF_UNIX).connect('\\0shared')";
    assert_eq!(neighbour.does(connect), "ok", "one's own");
    let tables = [
        "/proc/net/tcp",
        "/proc/net/unix",
        "/proc/self/task/self/net/udp",
    ];
    if world.policy().has_lsm() {
        assert_eq!(dyno.does(connect), "EPERM");
        for table in tables {
            let table = table.replace("task/self", "task/' + str(os.getpid()) + '");
            assert_eq!(dyno.does(&format!("open('{table}')")), "EACCES");
        }
        assert!(
            dyno.does("open('/proc/net/dev').read(5)")
                .starts_with("Inter")
        );
    } else {
        let line = world.policy().lacks().join("\n");
        for what in ["/proc/net", "abstract Unix sockets", "Landlock"] {
            assert!(line.contains(what), "doctor tells {what}: {line}");
        }
    }
    assert_eq!(dyno.seat.port - PORT, 0);
}
