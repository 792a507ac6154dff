//! Each H code that this router can reach: what the client sees and what the log says.

use crate::world::{Dyno, OK, World, exchange, field, short, soon, status, until, value};
use model::route::{EndpointState, State};
use router::timers::Timers;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const POST: &str = "POST / HTTP/1.1\r\nHost: hello.paas.test\r\nConnection: close\r\n\
                    Content-Length: 10\r\n\r\n";

/// Checks the last log line.
fn check(lines: &[String], code: &str, status: &str, dyno: &str) {
    let line = lines.last().expect("a line");
    assert_eq!(value(line, "code"), code, "{line}");
    assert_eq!(value(line, "status"), status, "{line}");
    assert_eq!(value(line, "dyno"), dyno, "{line}");
}

#[tokio::test]
async fn states_without_a_dyno() {
    let dyno = Dyno::saying(OK).await;
    let web = |state| State::Web {
        endpoints: vec![dyno.in_state(state)],
    };
    for (state, code) in [
        (State::Blank, "H81"),
        (State::NoWeb, "H14"),
        (State::Maintenance, "H80"),
        (web(EndpointState::Crashed), "H10"),
        (web(EndpointState::Starting), "H20"),
    ] {
        let world = World::start(short());
        world.tell(state);
        let answer = world.get().await;
        assert_eq!(status(&answer), 503, "{code}");
        assert!(answer.contains(code), "{answer}");
        check(&world.finish().await, code, "503", "");
    }
}

#[tokio::test]
async fn a_booting_dyno_is_waited_for() {
    let dyno = Dyno::saying(OK).await;
    let world = World::start(Timers {
        boot: Duration::from_secs(10),
        ..short()
    });
    world.web(vec![dyno.in_state(EndpointState::Starting)]);
    let (answer, ()) = tokio::join!(world.get(), async {
        tokio::task::yield_now().await;
        world.web(vec![dyno.endpoint()]);
    });
    assert_eq!(status(&answer), 200);
    world.finish().await;
}

#[tokio::test]
async fn answers_that_are_none() {
    for (response, code, wanted) in [
        ("", "H13", 503),
        ("nonsense\r\n\r\n", "H17", 503),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "H17", 503),
        ("HTTP/1.1 2000 OK\r\n\r\n", "H17", 503),
        ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "H17", 503),
        ("HTTP/1.1 200 OK\r\nContent-Le", "H18", 503),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "H25",
            502,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "H25",
            502,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n", "H25", 502),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "H25",
            502,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "H17",
            502,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "H17",
            502,
        ),
    ] {
        let dyno = Dyno::saying_once(response).await;
        let world = World::with(short(), &[&dyno]);
        let answer = world.get().await;
        assert_eq!(status(&answer), wanted, "{response} -> {answer}");
        assert!(answer.contains(code), "{response} -> {answer}");
        check(&world.finish().await, code, &wanted.to_string(), "web.1");
    }
}

#[tokio::test]
async fn limits_of_a_response() {
    let cookie = format!(
        "HTTP/1.1 200 OK\r\nSet-Cookie: {}\r\n\r\n",
        "c".repeat(8_200)
    );
    let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: 1\r\n".repeat(1_100));
    let line = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(600_000));
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(2_000_000));
    for response in [cookie, head, line, huge] {
        let response: &'static str = response.leak();
        let dyno = Dyno::saying_once(response).await;
        let world = World::with(short(), &[&dyno]);
        assert_eq!(status(&world.get().await), 502);
        check(&world.finish().await, "H25", "502", "web.1");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_is_cut_for_the_client() {
    for (response, end) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "hello\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
            "hello\r\n",
        ),
    ] {
        let dyno = Dyno::saying_once(response).await;
        let world = World::with(short(), &[&dyno]);
        let answer = world.get().await;
        assert_eq!(status(&answer), 200);
        let answer = answer.trim_end_matches("<reset>");
        assert!(answer.ends_with(end), "never ended cleanly: {answer}");
        let lines = world.finish().await;
        assert!(
            lines[0].starts_with("sock=backend at=error code=H18"),
            "{lines:?}"
        );
        check(&lines, "H18", "503", "web.1");
    }
}

#[tokio::test]
async fn a_dyno_that_says_nothing() {
    let dyno = Dyno::run(|mut stream, _| async move {
        until(&mut stream, "never").await;
    })
    .await;
    let world = World::with(short(), &[&dyno]);
    let begun = Instant::now();
    assert_eq!(status(&world.get().await), 503);
    assert!(begun.elapsed() >= short().first_byte);
    let lines = world.finish().await;
    check(&lines, "H12", "503", "web.1");
    assert!(lines[0].contains("desc=\"Request timeout\""), "{lines:?}");
}

#[tokio::test]
async fn a_dyno_that_falls_silent() {
    let dyno = Dyno::run(|mut stream, _| async move {
        until(&mut stream, "\r\n\r\n").await;
        let start = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
        stream.write_all(start).await.unwrap();
        until(&mut stream, "never").await;
    })
    .await;
    let world = World::with(short(), &[&dyno]);
    assert_eq!(status(&world.get().await), 200);
    let lines = world.finish().await;
    check(&lines, "H15", "503", "web.1");
    assert_eq!(value(&lines[0], "bytes"), "5");
}

/// An address that refuses.
async fn refusing() -> Dyno {
    let mut dyno = Dyno::saying(OK).await;
    let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let SocketAddr::V4(address) = closed.local_addr().unwrap() else {
        unreachable!("it was bound to an IPv4 address");
    };
    dyno.address = address;
    dyno
}

#[tokio::test]
async fn a_dyno_that_refuses() {
    let dyno = refusing().await;
    let world = World::with(short(), &[&dyno]);
    assert_eq!(status(&world.get().await), 503);
    check(&world.finish().await, "H21", "503", "web.1");
}

#[tokio::test]
async fn another_dyno_answers_for_one_that_refuses() {
    let (bad, good) = (refusing().await, Dyno::saying(OK).await);
    let world = World::with(short(), &[&bad, &good]);
    for _ in 0..6 {
        assert_eq!(status(&world.get().await), 200);
    }
    world.finish().await;
}

#[tokio::test]
async fn dynos_that_stay_in_quarantine() {
    let dyno = refusing().await;
    let timers = Timers {
        quarantine: Duration::from_secs(10),
        ..short()
    };
    let world = World::with(timers, &[&dyno]);
    assert_eq!(status(&world.get().await), 503);
    assert_eq!(status(&world.get().await), 503);
    let lines = world.finish().await;
    assert_eq!(value(&lines[0], "code"), "H21");
    check(&lines, "H99", "503", "");
}

#[tokio::test]
async fn a_dyno_whose_backlog_is_full() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        unreachable!("it was bound to an IPv4 address");
    };
    // Connections that nobody accepts, until one hangs.
    let mut waiting = Vec::new();
    let one = |address: SocketAddrV4| {
        tokio::time::timeout(
            Duration::from_millis(100),
            tokio::net::TcpStream::connect(address),
        )
    };
    while let Ok(stream) = one(address).await {
        waiting.push(stream);
    }
    let mut dyno = Dyno::saying(OK).await;
    dyno.address = address;
    let world = World::with(short(), &[&dyno]);
    assert_eq!(status(&world.get().await), 503);
    check(&world.finish().await, "H19", "503", "web.1");
}

#[tokio::test]
async fn bad_chunks() {
    let dyno = Dyno::run(|mut stream, _| async move {
        until(&mut stream, "never").await;
    })
    .await;
    let world = World::with(short(), &[&dyno]);
    let answer = world
        .ask(
            "POST / HTTP/1.1\r\nHost: hello.paas.test\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0x5\r\n",
        )
        .await;
    assert_eq!(status(&answer), 400, "{answer}");
    assert_eq!(field(&answer, "connection"), Some("close"));
    let lines = world.finish().await;
    assert!(
        lines[0].contains("code=H26 desc=\"Request Error\" cause=\"bad chunk\""),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_client_that_leaves() {
    // While the dyno thinks, inside its own body, and inside the answer.
    let thinking = Dyno::run(|mut stream, _| async move {
        until(&mut stream, "never").await;
    })
    .await;
    let talking = Dyno::run(|mut stream, _| async move {
        until(&mut stream, "\r\n\r\n").await;
        let start = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
        stream.write_all(start).await.unwrap();
        until(&mut stream, "never").await;
    })
    .await;
    let get = "GET / HTTP/1.1\r\nHost: hello.paas.test\r\n\r\n";
    for (dyno, request, wait_for) in [
        (&thinking, get, ""),
        (&thinking, POST, ""),
        (&talking, get, "hello"),
    ] {
        let timers = Timers {
            first_byte: Duration::from_secs(10),
            idle: Duration::from_secs(10),
            ..short()
        };
        let world = World::with(timers, &[dyno]);
        let seen = dyno.connections();
        let mut client = world.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        if !wait_for.is_empty() {
            until(&mut client, wait_for).await;
        }
        soon(async {
            while dyno.connections() == seen {
                tokio::task::yield_now().await;
            }
        })
        .await;
        drop(client);
        // The next request's line comes after the first one's.
        let drains = world.drains();
        world.tell(State::NoWeb);
        assert_eq!(soon(drains.next()).await, [dyno.id]);
        let lines = world.finish().await;
        assert!(
            lines[0].starts_with("sock=client at=warning code=H27"),
            "{request}: {lines:?}"
        );
        check(&lines, "H27", "499", "web.1");
    }
}

#[tokio::test]
async fn a_client_that_falls_silent_inside_its_request() {
    let dyno = Dyno::run(|mut stream, _| async move {
        until(&mut stream, "never").await;
    })
    .await;
    let world = World::with(short(), &[&dyno]);
    let answer = exchange(world.connect().await, POST).await;
    assert_eq!(status(&answer), 499, "{answer}");
    check(&world.finish().await, "H28", "499", "web.1");
}

#[tokio::test]
async fn a_client_that_does_not_read() {
    let dyno = Dyno::run(|mut stream, _| async move {
        until(&mut stream, "\r\n\r\n").await;
        let start = b"HTTP/1.1 200 OK\r\n\r\n";
        stream.write_all(start).await.unwrap();
        let block = vec![b'x'; 65_536];
        while stream.write_all(&block).await.is_ok() {}
    })
    .await;
    let world = World::with(short(), &[&dyno]);
    let mut client = world.connect().await;
    let get = b"GET / HTTP/1.1\r\nHost: hello.paas.test\r\n\r\n";
    client.write_all(get).await.unwrap();
    let mut first = [0; 1];
    client.read_exact(&mut first).await.unwrap();
    let drains = world.drains();
    world.tell(State::NoWeb);
    assert_eq!(soon(drains.next()).await, [dyno.id]);
    check(&world.finish().await, "H28", "499", "web.1");
}
