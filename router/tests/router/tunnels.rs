//! Upgrade: bytes both ways after a 101, and only then.

use crate::world::{Dyno, OK, World, field, rest, short, soon, status, until, value};
use model::route::State;
use router::timers::Timers;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const UPGRADE: &str = "GET /socket HTTP/1.1\r\nHost: hello.paas.test\r\n\
                       Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: abc\r\n\r\n";

/// Switches and echoes.
async fn echo() -> Dyno {
    Dyno::run(|mut stream, _| async move {
        let head = until(&mut stream, "\r\n\r\n").await;
        assert_eq!(field(&head, "upgrade"), Some("websocket"), "{head}");
        assert_eq!(field(&head, "connection"), Some("upgrade"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Accept: def\r\n\r\nwelcome";
        stream.write_all(answer).await.unwrap();
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..count]).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn an_echo() {
    let dyno = echo().await;
    let world = World::with(short(), &[&dyno]);
    let mut client = world.connect().await;
    // The first bytes come right behind the request, before the 101.
    client
        .write_all(format!("{UPGRADE}early").as_bytes())
        .await
        .unwrap();
    let head = until(&mut client, "\r\n\r\n").await;
    assert_eq!(status(&head), 101, "{head}");
    assert_eq!(field(&head, "upgrade"), Some("websocket"));
    assert_eq!(field(&head, "sec-websocket-accept"), Some("def"));
    until(&mut client, "welcome").await;
    until(&mut client, "early").await;
    client.write_all(b"ping").await.unwrap();
    assert_eq!(until(&mut client, "ping").await, "ping");
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, "");
    let lines = world.finish().await;
    assert_eq!(value(&lines[0], "at"), "info", "{lines:?}");
    assert_eq!(value(&lines[0], "status"), "101");
    assert_eq!(value(&lines[0], "bytes"), "16");
}

#[tokio::test]
async fn silence_ends_it() {
    let dyno = echo().await;
    let world = World::with(short(), &[&dyno]);
    let mut client = world.connect().await;
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    until(&mut client, "welcome").await;
    rest(&mut client).await;
    let lines = world.finish().await;
    assert_eq!(value(&lines[0], "code"), "H15", "{lines:?}");
}

#[tokio::test]
async fn a_refused_upgrade_is_a_normal_answer() {
    let dyno = Dyno::saying(OK).await;
    let world = World::with(short(), &[&dyno]);
    let mut client = world.connect().await;
    let next = "GET / HTTP/1.1\r\nHost: hello.paas.test\r\nConnection: close\r\n\r\n";
    client
        .write_all(format!("{UPGRADE}{next}").as_bytes())
        .await
        .unwrap();
    let both = rest(&mut client).await;
    assert_eq!(both.matches("HTTP/1.1 200 OK").count(), 2, "{both}");
    assert_eq!(world.finish().await.len(), 2);
}

#[tokio::test]
async fn a_dyno_that_left_is_drained_when_its_tunnel_ends() {
    let dyno = echo().await;
    let world = World::with(
        Timers {
            idle: Duration::from_secs(10),
            ..short()
        },
        &[&dyno],
    );
    let mut client = world.connect().await;
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    until(&mut client, "welcome").await;
    let drains = world.drains();
    world.tell(State::NoWeb);
    client.write_all(b"still here").await.unwrap();
    until(&mut client, "still here").await;
    let early = tokio::time::timeout(Duration::from_millis(20), drains.next()).await;
    assert!(early.is_err(), "its tunnel is open");
    drop(client);
    assert_eq!(soon(drains.next()).await, [dyno.id]);
    world.finish().await;
}

#[tokio::test]
async fn the_end_of_the_drain_cuts_it() {
    let dyno = echo().await;
    let world = World::with(
        Timers {
            idle: Duration::from_secs(10),
            ..short()
        },
        &[&dyno],
    );
    let mut client = world.connect().await;
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    until(&mut client, "welcome").await;
    let lines = world.finish().await;
    assert_eq!(value(&lines[0], "code"), "H24", "{lines:?}");
    assert_eq!(value(&lines[0], "status"), "");
    rest(&mut client).await;
}
