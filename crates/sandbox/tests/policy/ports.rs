//! What ordinary programs do: listen, connect, ask who they are. It works unchanged.

use super::harness::World;

#[test]
fn listens_for_the_outside_on_its_port_alone() {
    let mut world = World::make();
    let (mut dyno, mut neighbour) = (world.dyno(0), world.dyno(0));
    let mut router = world.on_host();
    let port = dyno.seat.port;
    for (address, port) in [("0.0.0.0", port), ("0.0.0.0", 3000), ("127.0.0.1", 4000)] {
        let listen = format!("listen('{address}', {port})");
        assert!(dyno.does(&listen).starts_with("<socket"), "{listen}");
    }
    // Without a capability: the agent is not root.
    assert!(dyno.does("listen('0.0.0.0', 80)").starts_with("<socket"));

    let ports = [port, 3000, 4000, 80];
    let all = ports.map(|port| dyno.address(port));
    assert_eq!(router.reaches(&all), [dyno.public()]);
    assert_eq!(neighbour.reaches(&all), []);
    let own = ports.map(|port| ("127.0.0.1".to_owned(), port));
    assert_eq!(dyno.reaches(&own).len(), 4);
    assert_eq!(neighbour.reaches(&own), []);
    let direct = ports.map(|port| (dyno.seat.lo4.to_string(), port));
    assert_eq!(neighbour.reaches(&direct), []);
}

#[test]
fn a_server_on_all_ipv6_addresses_is_reached_over_ipv4() {
    let mut world = World::make();
    let mut dyno = world.dyno(0);
    let mut router = world.on_host();
    let port = dyno.seat.port;
    assert_eq!(dyno.does(&format!("both = listen('::', {port})")), "ok");
    assert_eq!(router.reaches(&[dyno.public()]), [dyno.public()]);
    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(
            dyno.does(&format!("c = connect('{address}', {port})")),
            "ok",
            "{address}"
        );
        assert_eq!(dyno.does("s = both.accept()"), "ok", "{address}");
    }
}

/// As asyncio and nginx do: one socket for each family.
#[test]
fn a_pair_of_sockets_on_one_port() {
    let mut world = World::make();
    let mut dyno = world.dyno(0);
    let mut router = world.on_host();
    let port = dyno.seat.port;
    let pair = |port: u16| {
        format!(
            "four = listen('0.0.0.0', {port})\n\
             six = tcp6(); six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)\n\
             six.bind(('::', {port})); six.listen()"
        )
    };
    for port in [port, 3000] {
        assert_eq!(dyno.does(&pair(port)), "ok");
        assert_eq!(
            dyno.does(&format!("connect('::1', {port}); six.accept()[1][0]")),
            "ok"
        );
        assert_eq!(
            dyno.does(&format!("connect('127.0.0.1', {port})\nfour.accept()")),
            "ok"
        );
    }
    assert_eq!(
        router.reaches(&[dyno.public(), dyno.address(3000)]),
        [dyno.public()]
    );
}

#[test]
fn programs_are_told_the_names_they_asked_for() {
    let mut world = World::make();
    let mut dyno = world.dyno(0);
    let port = dyno.seat.port;
    let mut check = |setting: &str, question: &str, wanted: &str| {
        if !setting.is_empty() {
            assert_eq!(dyno.does(setting), "ok", "{setting}");
        }
        assert_eq!(dyno.does(question), wanted, "{setting}; {question}");
    };
    check(
        "a = listen('0.0.0.0', 3000)",
        "a.getsockname()",
        "('127.0.0.1', 3000)",
    );
    check(
        "b = connect('127.0.0.1', 3000)",
        "b.getpeername()",
        "('127.0.0.1', 3000)",
    );
    check("", "b.getsockname()[0]", "127.0.0.1");
    check("c, peer = a.accept()", "peer[0]", "127.0.0.1");
    check("", "c.getpeername()[0]", "127.0.0.1");
    check(
        "d = listen('::', 3001)",
        "d.getsockname()[0]",
        "::ffff:127.0.0.1",
    );
    check(
        "e = connect('::1', 3001)",
        "e.getpeername()[0]",
        "::ffff:127.0.0.1",
    );
    check("f, peer = d.accept()", "peer[0]", "::ffff:127.0.0.1");
    check("g = listen('::1', 3002)", "g.getsockname()[0]", "::1");
    check("h = connect('::1', 3002)", "h.getpeername()[0]", "::1");
    check("", "connect('127.0.0.1', 3002)", "ECONNREFUSED");
    check("", "connect('::1', 3003)", "ECONNREFUSED");
    check("", "connect('127.0.0.1', 3003)", "ECONNREFUSED");
    let public = format!("('{}', {port})", dyno.seat.addr4);
    let listen = format!("p = listen('0.0.0.0', {port})");
    assert_eq!(dyno.does(&listen), "ok");
    assert_eq!(dyno.does("p.getsockname()"), public);
    assert_eq!(
        dyno.does(&format!("connect('127.0.0.1', {port}).getpeername()")),
        public
    );
}

#[test]
fn datagrams_find_their_way_and_back() {
    let mut world = World::make();
    let mut dyno = world.dyno(0);
    let mut check = |server: &str, from: &str, to: &str, seen: &str| {
        let talk = format!(
            "a = {server}\nport = a.getsockname()[1]\n\
             b = {from}; b.sendto(b'ask', ('{to}', port))\n\
             text, peer = a.recvfrom(9); a.sendto(b'answer', peer)\n\
             text, other = b.recvfrom(9)"
        );
        assert_eq!(dyno.does(&talk), "ok", "{server} {from} {to}");
        assert_eq!(
            dyno.does("text.decode() + ' ' + peer[0]"),
            format!("answer {seen}")
        );
        assert_eq!(dyno.does("other[0]"), to, "{server} {from}");
    };
    let (four, six) = ("receive('127.0.0.1', 5300)", "receive('::1', 5301)");
    check(four, "udp()", "127.0.0.1", "127.0.0.1");
    check(six, "udp6()", "::1", "::1");
    check(
        "receive('0.0.0.0', 5302)",
        "udp()",
        "127.0.0.1",
        "127.0.0.1",
    );
    // One socket for both families, asked over IPv4.
    check(
        "receive('::', 5303)",
        "udp()",
        "127.0.0.1",
        "::ffff:127.0.0.1",
    );
    check(
        "receive('::', 5304)",
        "udp6()",
        "::ffff:127.0.0.1",
        "::ffff:127.0.0.1",
    );
}

#[test]
fn reaches_the_outside_and_the_resolver() {
    let mut world = World::make();
    let mut dyno = world.dyno(0);
    let mut host = world.on_host();
    let own = dyno.seat.addr4.to_string();
    assert_eq!(host.does("web = listen('198.51.100.7', 80)"), "ok");
    assert_eq!(
        dyno.does("connect('198.51.100.7', 80)").split(' ').next(),
        Some("<socket.socket")
    );
    assert_eq!(host.does("web.accept()[1][0]"), own);
    assert_eq!(
        dyno.does("connect('::ffff:198.51.100.7', 80).family.name"),
        "AF_INET6"
    );
    assert_eq!(host.does("web.accept()[1][0]"), own);

    assert_eq!(
        host.does("dns = receive('192.0.2.53', 53)\ntcp_dns = listen('192.0.2.53', 53)"),
        "ok"
    );
    for ask in [
        "q = udp(); q.sendto(b'ask', ('192.0.2.53', 53))",
        "q = udp(); q.connect(('192.0.2.53', 53)); q.send(b'ask')",
        "q = udp6(); q.sendto(b'ask', ('::ffff:192.0.2.53', 53))",
        "q = udp(); q.connect(('127.0.0.1', 9)); unspecified(q); q.connect(('192.0.2.53', 53)); q.send(b'ask')",
    ] {
        assert_eq!(dyno.does(ask), "ok", "{ask}");
        assert_eq!(
            host.does("text, peer = dns.recvfrom(9); dns.sendto(b'answer', peer)"),
            "ok",
            "{ask}"
        );
        assert_eq!(host.does("peer[0]"), own, "{ask}");
        assert_eq!(dyno.does("q.recv(9).decode()"), "answer", "{ask}");
    }
    assert_eq!(
        dyno.does("connect('192.0.2.53', 53).family.name"),
        "AF_INET"
    );
    assert_eq!(dyno.does("connect('192.0.2.53', 54)"), "ECONNREFUSED");
    assert_eq!(
        dyno.does("udp().sendto(b'ask', ('192.0.2.53', 54))"),
        "ECONNREFUSED"
    );
}
