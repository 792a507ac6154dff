//! The platform's own hosts, over the sockets of api and builder.

use crate::world::{World, field, short, soon, status, until};
use router::timers::Timers;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

/// It ends with the test.
struct Role(tokio::task::JoinHandle<()>);

impl Drop for Role {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A role that says its name and what it was asked.
fn role(socket: &Path, name: &'static str) -> Role {
    let listener = UnixListener::bind(socket).unwrap();
    Role(tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = until(&mut stream, "\r\n\r\n").await;
            let host = field(&head, "host").unwrap_or_default();
            let client = field(&head, "x-forwarded-for").unwrap_or_default();
            let target = head.lines().next().unwrap_or_default();
            let body = format!("{name}|{target}|{host}|{client}");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    }))
}

#[tokio::test]
async fn hosts_and_paths() {
    let world = World::start(short());
    let _roles = [
        role(&world.folder.join("api.sock"), "api"),
        role(&world.folder.join("git.sock"), "git"),
    ];
    for (host, path, wanted) in [
        ("paas.test", "/", "api"),
        ("PAAS.test:8080", "/", "api"),
        ("api.paas.test", "/apps", "api"),
        ("git.paas.test", "/hello.git/info/refs?service=x", "git"),
        ("paas.test", "/hello.git/info/refs", "git"),
        ("registry.paas.test", "/v2/", "api"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = world.ask(&request).await;
        let body = format!("{wanted}|GET {path} HTTP/1.1|{host}|127.0.0.1");
        assert!(answer.ends_with(&body), "{answer}");
    }
    // The loopback port is the platform's whatever the host; the other port is not.
    let request = "GET / HTTP/1.1\r\nHost: localhost:5080\r\nConnection: close\r\n\r\n";
    assert!(world.ask_loopback(request).await.contains("api|"));
    assert_eq!(status(&world.ask(request).await), 404);
    let other = "GET / HTTP/1.1\r\nHost: wwwpaas.test\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&world.ask(other).await), 404);
    assert!(world.finish().await.is_empty(), "no log lines");
}

const APPS: &str = "GET /apps HTTP/1.1\r\nHost: api.paas.test\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_role_that_is_away() {
    let world = World::start(short());
    let answer = world.ask(APPS).await;
    assert_eq!(status(&answer), 503);
    assert_eq!(field(&answer, "content-type"), Some("application/json"));
    assert!(answer.contains(r#""id":"service_unavailable""#), "{answer}");
    world.finish().await;
}

#[tokio::test]
async fn a_role_that_restarts_is_waited_for() {
    let world = World::start(Timers {
        role_away: Duration::from_secs(10),
        ..short()
    });
    let socket = world.folder.join("api.sock");
    // The first life dies with a request in hand.
    let listener = UnixListener::bind(&socket).unwrap();
    let (answer, _second) = tokio::join!(world.ask(APPS), async {
        let (mut stream, _) = soon(listener.accept()).await.unwrap();
        until(&mut stream, "\r\n\r\n").await;
        drop((stream, listener));
        std::fs::remove_file(&socket).unwrap();
        role(&socket, "api")
    });
    assert_eq!(status(&answer), 200, "{answer}");
    world.finish().await;
}

#[tokio::test]
async fn silence_is_allowed() {
    let world = World::start(short());
    let socket = world.folder.join("git.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let request = "POST /hello.git/git-receive-pack HTTP/1.1\r\nHost: git.paas.test\r\n\
                   Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npack\r\n0\r\n\r\n";
    let timers = short();
    let (answer, ()) = tokio::join!(world.ask(request), async {
        let (mut stream, _) = soon(listener.accept()).await.unwrap();
        until(&mut stream, "0\r\n\r\n").await;
        let longer = timers.first_byte + timers.idle;
        tokio::time::sleep(longer).await;
        let start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
        stream.write_all(start).await.unwrap();
        tokio::time::sleep(longer).await;
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    });
    assert!(answer.ends_with("2\r\nok\r\n0\r\n\r\n"), "{answer}");
    world.finish().await;
}
