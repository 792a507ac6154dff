//! Leaving without a gap: dynos leave their route, the router leaves the machine.

use crate::world::{Dyno, OK, World, field, rest, short, soon, status, until};
use router::timers::Timers;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: hello.paas.test\r\n\r\n";

/// Answers when told to.
async fn slow(go: &Arc<Notify>, asked: &Arc<Notify>) -> Dyno {
    let (go, asked) = (Arc::clone(go), Arc::clone(asked));
    Dyno::run(move |mut stream, _| {
        let (go, asked) = (Arc::clone(&go), Arc::clone(&asked));
        async move {
            until(&mut stream, "\r\n\r\n").await;
            asked.notify_one();
            go.notified().await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            until(&mut stream, "never").await;
        }
    })
    .await
}

fn patient() -> Timers {
    Timers {
        first_byte: Duration::from_secs(10),
        ..short()
    }
}

#[tokio::test]
async fn a_deploy_cuts_nothing() {
    let (go, asked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let old = slow(&go, &asked).await;
    let new = Dyno::saying(OK).await;
    let world = World::with(patient(), &[&old]);
    let mut client = world.connect().await;
    client.write_all(GET).await.unwrap();
    soon(asked.notified()).await;
    world.web(vec![new.endpoint()]);
    let drains = world.drains();
    assert_eq!(status(&world.get().await), 200, "the new one answers");
    assert_eq!(new.connections(), 1);
    let early = tokio::time::timeout(Duration::from_millis(20), drains.next()).await;
    assert!(early.is_err(), "a request is under way on the old one");
    go.notify_one();
    assert_eq!(status(&until(&mut client, "hello").await), 200);
    assert_eq!(soon(drains.next()).await, [old.id]);
    world.finish().await;
}

#[tokio::test]
async fn idle_connections_to_a_dyno_close_when_it_leaves() {
    let closed = Arc::new(Notify::new());
    let tell = Arc::clone(&closed);
    let old = Dyno::run(move |mut stream, _| {
        let tell = Arc::clone(&tell);
        async move {
            until(&mut stream, "\r\n\r\n").await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            assert_eq!(
                until(&mut stream, "\r\n\r\n").await,
                "",
                "no second request"
            );
            tell.notify_one();
        }
    })
    .await;
    let new = Dyno::saying(OK).await;
    let world = World::with(short(), &[&old]);
    assert_eq!(status(&world.get().await), 200);
    world.web(vec![new.endpoint()]);
    assert_eq!(soon(world.drains().next()).await, [old.id]);
    assert_eq!(status(&world.get().await), 200);
    assert_eq!((old.connections(), new.connections()), (1, 1));
    soon(closed.notified()).await;
    world.finish().await;
}

#[tokio::test]
async fn a_router_that_stops_ends_what_is_under_way() {
    let (go, asked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let dyno = slow(&go, &asked).await;
    let world = World::with(
        Timers {
            drain: Duration::from_secs(10),
            ..patient()
        },
        &[&dyno],
    );
    let mut silent = world.connect().await;
    let mut late = world.connect().await;
    let mut client = world.connect().await;
    client.write_all(GET).await.unwrap();
    soon(asked.notified()).await;
    let stopping = world.stop();
    late.write_all(GET).await.unwrap();
    soon(asked.notified()).await;
    assert_eq!(rest(&mut silent).await, "", "no connection stays idle");
    for client in [&mut client, &mut late] {
        go.notify_one();
        let answer = rest(client).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(field(&answer, "connection"), Some("close"), "{answer}");
    }
    assert_eq!(stopping.finish().await.len(), 2);
}

#[tokio::test]
async fn clients_that_are_slow_or_idle_are_closed() {
    let dyno = Dyno::saying(OK).await;
    let ms = Duration::from_millis;
    for (head, client_idle, request) in [
        (ms(50), ms(10_000), "GET / HT"),
        (ms(50), ms(10_000), ""),
        (
            ms(10_000),
            ms(50),
            "GET / HTTP/1.1\r\nHost: hello.paas.test\r\n\r\n",
        ),
    ] {
        let timers = Timers {
            head,
            client_idle,
            ..short()
        };
        let world = World::with(timers, &[&dyno]);
        let mut client = world.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        assert_eq!(
            answer.contains("hello"),
            request.ends_with("\r\n\r\n"),
            "{request}"
        );
        world.finish().await;
    }
}
