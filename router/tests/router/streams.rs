//! Bodies of any size, both ways, with neither side running ahead of the other.

use crate::world::{Dyno, PATIENCE, World, field, rest, short, soon, status, until, value};
use router::timers::Timers;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

const TOTAL: usize = 200_000_000;
/// What may be under way in socket buffers of two connections and in the router: Linux lets those
/// of each grow to 32 MiB for reading and 4 MiB for writing (`tcp_rmem`, `tcp_wmem`).
const UNDER_WAY_MAX: usize = 2 * (32 + 4) * 1024 * 1024 + 2_000_000;

fn patient() -> Timers {
    Timers {
        first_byte: PATIENCE,
        idle: PATIENCE,
        ..short()
    }
}

/// Writes until all is written and gives the stream back; says so when nothing moves for a while.
async fn pour<W: AsyncWriteExt + Unpin>(
    mut to: W,
    sent: Arc<AtomicUsize>,
    stuck: Arc<Notify>,
) -> W {
    let block = vec![b'x'; 100_000];
    while sent.load(Ordering::SeqCst) < TOTAL {
        let mut left = block.as_slice();
        while !left.is_empty() {
            match tokio::time::timeout(Duration::from_millis(200), to.write(left)).await {
                Ok(Ok(count)) => left = &left[count..],
                Ok(Err(error)) => panic!("cut: {error}"),
                Err(_) => stuck.notify_one(),
            }
        }
        sent.fetch_add(block.len(), Ordering::SeqCst);
    }
    to
}

/// Reads so many bytes.
async fn swallow(mut from: impl AsyncRead + Unpin, total: usize) {
    let mut buffer = vec![0; 256 * 1024];
    let mut left = total;
    while left > 0 {
        let count = from.read(&mut buffer).await.unwrap();
        assert!(count > 0, "{left} bytes are missing");
        left -= count;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_waits_for_its_reader() {
    let (sent, stuck) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, notify) = (Arc::clone(&sent), Arc::clone(&stuck));
    let dyno = Dyno::run(move |mut stream, _| {
        let (count, notify) = (Arc::clone(&count), Arc::clone(&notify));
        async move {
            until(&mut stream, "\r\n\r\n").await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            drop(pour(stream, count, notify).await);
        }
    })
    .await;
    let world = World::with(patient(), &[&dyno]);
    let mut client = world.connect().await;
    let get = b"GET / HTTP/1.1\r\nHost: hello.paas.test\r\nConnection: close\r\n\r\n";
    client.write_all(get).await.unwrap();
    assert_eq!(status(&until(&mut client, "\r\n\r\n").await), 200);
    soon(stuck.notified()).await;
    let ahead = sent.load(Ordering::SeqCst);
    assert!(ahead < UNDER_WAY_MAX, "{ahead} bytes ahead of the reader");
    soon(swallow(client, TOTAL)).await;
    let lines = world.finish().await;
    assert_eq!(value(&lines[0], "bytes"), TOTAL.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_waits_for_its_reader() {
    let go = Arc::new(Notify::new());
    let start = Arc::clone(&go);
    let dyno = Dyno::run(move |mut stream, _| {
        let start = Arc::clone(&start);
        async move {
            let head = until(&mut stream, "\r\n\r\n").await;
            assert_eq!(
                field(&head, "content-length"),
                Some(TOTAL.to_string().as_str())
            );
            start.notified().await;
            swallow(&mut stream, TOTAL).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let world = World::with(patient(), &[&dyno]);
    let mut client = world.connect().await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: hello.paas.test\r\nConnection: close\r\nContent-Length: {TOTAL}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let (sent, stuck) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (mut reader, writer) = client.into_split();
    let pouring = tokio::spawn(pour(writer, Arc::clone(&sent), Arc::clone(&stuck)));
    soon(stuck.notified()).await;
    let ahead = sent.load(Ordering::SeqCst);
    assert!(ahead < UNDER_WAY_MAX, "{ahead} bytes ahead of the reader");
    go.notify_one();
    let answer = until(&mut reader, "done").await;
    assert_eq!(status(&answer), 200);
    drop(soon(pouring).await.unwrap());
    world.finish().await;
}

#[tokio::test]
async fn bytes_go_on_as_they_come() {
    let (said, passed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&said), Arc::clone(&passed));
    let dyno = Dyno::run(move |mut stream, _| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            until(&mut stream, "\r\n\r\n").await;
            assert_eq!(until(&mut stream, "one\r\n").await, "3\r\none\r\n");
            tell.notify_one();
            until(&mut stream, "0\r\n\r\n").await;
            let start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n";
            stream.write_all(start).await.unwrap();
            wait.notified().await;
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let world = World::with(patient(), &[&dyno]);
    let mut client = world.connect().await;
    let head = b"POST / HTTP/1.1\r\nHost: hello.paas.test\r\nTransfer-Encoding: chunked\r\n\
                 Connection: close\r\n\r\n3\r\none\r\n";
    client.write_all(head).await.unwrap();
    soon(said.notified()).await;
    client.write_all(b"0\r\n\r\n").await.unwrap();
    until(&mut client, "3\r\ntwo\r\n").await;
    passed.notify_one();
    assert_eq!(rest(&mut client).await, "0\r\n\r\n");
    world.finish().await;
}

#[tokio::test]
async fn an_early_answer_is_heard_and_ends_both_connections() {
    let dyno = Dyno::run(|mut stream, _| async move {
        until(&mut stream, "\r\n\r\n").await;
        let answer = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 4\r\n\r\nmuch";
        stream.write_all(answer).await.unwrap();
        // It goes on reading, as a polite server does.
        until(&mut stream, "never").await;
    })
    .await;
    let world = World::with(patient(), &[&dyno]);
    let mut client = world.connect().await;
    let head = b"POST / HTTP/1.1\r\nHost: hello.paas.test\r\nContent-Length: 1000000\r\n\r\nxxx";
    client.write_all(head).await.unwrap();
    let answer = rest(&mut client).await;
    assert_eq!(status(&answer), 413, "{answer}");
    assert!(answer.ends_with("much"), "{answer}");
    assert_eq!(field(&answer, "connection"), Some("close"));
    assert_eq!(value(&world.finish().await[0], "status"), "413");
}

#[tokio::test]
async fn a_get_may_have_a_body() {
    let dyno = Dyno::run(|mut stream, _| async move {
        let head = until(&mut stream, "\r\n\r\n").await;
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
        until(&mut stream, "5\r\nquery\r\n0\r\n\r\n").await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let world = World::with(patient(), &[&dyno]);
    let request = "GET /_search HTTP/1.1\r\nHost: hello.paas.test\r\nConnection: close\r\n\
                   Transfer-Encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n";
    assert!(world.ask(request).await.ends_with("done"));
    world.finish().await;
}

#[tokio::test]
async fn expect_100_is_answered_when_a_dyno_is_there() {
    let dyno = Dyno::run(|mut stream, _| async move {
        let head = until(&mut stream, "\r\n\r\n").await;
        assert_eq!(field(&head, "expect"), None);
        until(&mut stream, "hi").await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let world = World::with(patient(), &[&dyno]);
    let mut client = world.connect().await;
    let head = b"POST / HTTP/1.1\r\nHost: hello.paas.test\r\nContent-Length: 2\r\n\
                 Expect: 100-continue\r\nConnection: close\r\n\r\n";
    client.write_all(head).await.unwrap();
    assert_eq!(
        until(&mut client, "\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.write_all(b"hi").await.unwrap();
    assert!(rest(&mut client).await.ends_with("done"));
    world.finish().await;
}
