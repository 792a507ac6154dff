//! What a client gets of a dyno's answer, and what the dyno gets of a request.

use crate::world::{Dyno, OK, World, field, short, soon, status, until, value};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

#[tokio::test]
async fn a_page_with_its_headers_and_its_log_line() {
    let (sender, mut heads) = mpsc::channel(1);
    let dyno = Dyno::run(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            sender
                .send(until(&mut stream, "\r\n\r\n").await)
                .await
                .unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let world = World::with(short(), &[&dyno]);
    let answer = world
        .ask(
            "GET /x?y=1 HTTP/1.1\r\nHost: HELLO.paas.test:8080\r\nConnection: close\r\n\
             X-Forwarded-For: 9.9.9.9\r\nX-Request-Id: 0123456789abcdefghij\r\n\
             Content_Length: 7\r\nX-Mine: yes\r\n\r\n",
        )
        .await;
    assert_eq!(status(&answer), 200);
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert_eq!(field(&answer, "via"), Some("1.1 heroku-router"));
    assert_eq!(field(&answer, "content-length"), Some("5"));

    let head = soon(heads.recv()).await.unwrap();
    let port = world.port().to_string();
    assert!(head.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{head}");
    for (name, wanted) in [
        ("host", Some("HELLO.paas.test:8080")),
        ("x-forwarded-for", Some("9.9.9.9, 127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-port", Some(port.as_str())),
        ("x-request-id", Some("0123456789abcdefghij")),
        ("via", Some("1.1 heroku-router")),
        ("x-mine", Some("yes")),
        ("content_length", None),
        ("connection", None),
    ] {
        assert_eq!(field(&head, name), wanted, "{name}");
    }
    let start: u64 = field(&head, "x-request-start").unwrap().parse().unwrap();
    assert!(start > 1_600_000_000_000, "milliseconds");

    let lines = world.finish().await;
    let [line] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    assert!(
        line.starts_with(
            "at=info method=GET path=\"/x?y=1\" host=hello.paas.test \
             request_id=0123456789abcdefghij fwd=\"9.9.9.9, 127.0.0.1\" dyno=web.1 connect="
        ),
        "{line}"
    );
    assert!(line.ends_with("status=200 bytes=5 protocol=http"), "{line}");
}

#[tokio::test]
async fn statuses_and_lengths() {
    for (method, response, wanted, length) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
            200,
            Some("7"),
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
            304,
            Some("7"),
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        (
            "GET",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
            201,
            Some("0"),
        ),
        (
            "GET",
            "HTTP/1.1 418 I'm a Teapot\r\nContent-Length: 0\r\n\r\n",
            418,
            Some("0"),
        ),
    ] {
        let dyno = Dyno::saying(response).await;
        let world = World::with(short(), &[&dyno]);
        let request =
            format!("{method} / HTTP/1.1\r\nHost: hello.paas.test\r\nConnection: close\r\n\r\n");
        let answer = world.ask(&request).await;
        assert_eq!(status(&answer), wanted, "{response} -> {answer}");
        assert_eq!(
            field(&answer, "content-length"),
            length,
            "{response} -> {answer}"
        );
        assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
        assert_eq!(field(&answer, "transfer-encoding"), None);
        let lines = world.finish().await;
        assert_eq!(value(&lines[0], "status"), wanted.to_string(), "{lines:?}");
        assert_eq!(value(&lines[0], "at"), "info", "{lines:?}");
    }
}

#[tokio::test]
async fn a_reason_of_its_own_goes_on() {
    let dyno = Dyno::saying("HTTP/1.1 200 Fine By Me\r\nContent-Length: 0\r\n\r\n").await;
    let world = World::with(short(), &[&dyno]);
    assert!(world.get().await.starts_with("HTTP/1.1 200 Fine By Me\r\n"));
    world.finish().await;
}

#[tokio::test]
async fn connections_to_a_dyno_are_used_again() {
    let dyno = Dyno::saying(OK).await;
    let world = World::with(short(), &[&dyno]);
    for _ in 0..3 {
        assert_eq!(status(&world.get().await), 200);
    }
    assert_eq!(dyno.connections(), 1);
    assert_eq!(world.finish().await.len(), 3);
}

#[tokio::test]
async fn chunked_connections_are_used_again_too() {
    let dyno = Dyno::saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let world = World::with(short(), &[&dyno]);
    for _ in 0..3 {
        let answer = world.get().await;
        assert!(answer.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{answer}");
    }
    assert_eq!(dyno.connections(), 1);
    assert_eq!(value(&world.finish().await[2], "bytes"), "5");
}

#[tokio::test]
async fn connections_that_may_not_be_used_again_are_not() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n", // 168
        "HTTP/1.1 204 No Content\r\n\r\nbody",                                      // 183
    ] {
        let dyno = Dyno::saying(response).await;
        let world = World::with(short(), &[&dyno]);
        for turn in 1..=2 {
            let code = status(&world.get().await);
            assert!(code == 200 || code == 204, "{response}");
            assert_eq!(dyno.connections(), turn, "{response}");
        }
        world.finish().await;
    }
}

#[tokio::test]
async fn a_stale_connection_is_no_failure() {
    // Every second request finds a connection that the dyno closed without a byte.
    let dyno = Dyno::run(|mut stream, _| async move {
        until(&mut stream, "\r\n\r\n").await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        until(&mut stream, "\r\n\r\n").await;
    })
    .await;
    let world = World::with(short(), &[&dyno]);
    for turn in 1..=4 {
        assert_eq!(status(&world.get().await), 200, "request {turn}");
    }
    // A body that was taken from the client cannot be sent again.
    let post = "POST / HTTP/1.1\r\nHost: hello.paas.test\r\nConnection: close\r\n\
                Content-Length: 2\r\n\r\nhi";
    assert_eq!(status(&world.ask(post).await), 503);
    let lines = world.finish().await;
    assert_eq!(value(&lines[4], "code"), "H13");
}

#[tokio::test]
async fn a_client_of_http_10_gets_no_chunks() {
    let dyno = Dyno::saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let world = World::with(short(), &[&dyno]);
    let answer = world
        .ask("GET / HTTP/1.0\r\nHost: hello.paas.test\r\n\r\n")
        .await;
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert_eq!(field(&answer, "transfer-encoding"), None);
    world.finish().await;
}

#[tokio::test]
async fn several_requests_on_one_connection() {
    let dyno = Dyno::saying(OK).await;
    let world = World::with(short(), &[&dyno]);
    let mut client = world.connect().await;
    // Two of them at once: the second waits its turn.
    let request = "GET / HTTP/1.1\r\nHost: hello.paas.test\r\n\r\n";
    client
        .write_all(request.repeat(2).as_bytes())
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(status(&until(&mut client, "hello").await), 200);
    }
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(status(&until(&mut client, "hello").await), 200);
    drop(client);
    assert_eq!(world.finish().await.len(), 3);
}
