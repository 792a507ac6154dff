//! Requests that no dyno sees: refused, unknown, or left by their client. Numbers: docs/router.md,
//! "Decisions".

use crate::world::{Dyno, OK, World, field, short, status, value};

#[tokio::test]
async fn what_is_refused_never_reaches_a_dyno() {
    let dyno = Dyno::saying(OK).await;
    let world = World::with(short(), &[&dyno]);
    let long = "a".repeat(8_200);
    let many = "x: 1\r\n".repeat(1_000);
    for (number, request, wanted) in [
        (1, "GET / HTTP/1.1\r\nHost: hello.paas.test\r\nContent-Length: 5, 5\r\n\r\n".to_owned(), 400),
        (32, "GET / HTTP/1.1\r\nHost: hello.paas.test\r\nTransfer-Encoding : chunked\r\n\r\n".to_owned(), 400),
        (54, "GET / HTTP/2.0\r\nHost: hello.paas.test\r\n\r\n".to_owned(), 400),
        (76, "GET / HTTP/1.1\r\nHost: hello.paas.test\r\nTransfer-Encoding: xchunked\r\n\r\n".to_owned(), 400),
        (91, "GET / HTTP/1.1\r\nHost: hello.paas.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        (92, "GET / HTTP/1.1\r\nHost: hello.paas.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        (93, "GET / HTTP/1.1\r\nHost: hello.paas.test\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        (94, "GET / HTTP/1.1\r\nHost: hello.paas.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(), 501),
        (128, format!("GET / HTTP/1.1\r\nHost: hello.paas.test\r\nx: {long}\r\n\r\n"), 400),
        (130, format!("GET / HTTP/1.1\r\nHost: hello.paas.test\r\n{many}\r\n"), 431),
        (131, format!("GET /{long} HTTP/1.1\r\nHost: hello.paas.test\r\n\r\n"), 400),
        (132, "GET foo HTTP/1.1\r\nHost: hello.paas.test\r\n\r\n".to_owned(), 400),
        (135, "CONNECT hello.paas.test:80 HTTP/1.1\r\nHost: hello.paas.test\r\n\r\n".to_owned(), 405),
        (137, "GET ftp://hello.paas.test/ HTTP/1.1\r\nHost: hello.paas.test\r\n\r\n".to_owned(), 400),
        (139, "GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (140, "GET / HTTP/1.0\r\n\r\n".to_owned(), 400),
        (141, "GET / HTTP/1.1\r\nHost: hello.paas.test\r\nHost: hello.paas.test\r\n\r\n".to_owned(), 400),
        (144, "GET / HTTP/1.1\r\nHost: hello.paas.test/x\r\n\r\n".to_owned(), 400),
        (150, "GET / HTTP/1.1\r\nHost: hello.paas.test:65536\r\n\r\n".to_owned(), 400),
        (154, "GET http://other.test/ HTTP/1.1\r\nHost: hello.paas.test\r\nConnection: close\r\n\r\n".to_owned(), 404),
        (155, "GET http://a:b@hello.paas.test/ HTTP/1.1\r\nHost: hello.paas.test\r\n\r\n".to_owned(), 400),
    ] {
        let next = "GET /hidden HTTP/1.1\r\nHost: hello.paas.test\r\n\r\n"; // 166
        let next = if number == 154 { "" } else { next };
        let answer = world.ask(&format!("{request}{next}")).await;
        assert_eq!(status(&answer), wanted, "case {number}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "case {number}: {answer}");
        assert_eq!(dyno.connections(), 0, "case {number}");
    }
    assert!(world.finish().await.is_empty(), "no line without an app");
}

#[tokio::test]
async fn an_absolute_target_decides() {
    let dyno = Dyno::saying(OK).await;
    let world = World::with(short(), &[&dyno]);
    let answer = world
        .ask(
            "GET http://hello.paas.test/ HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert_eq!(status(&answer), 200);
    world.finish().await;
}

#[tokio::test]
async fn a_host_without_an_app() {
    let world = World::start(short());
    let answer = world
        .ask("GET / HTTP/1.1\r\nHost: nobody.paas.test\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(status(&answer), 404);
    assert_eq!(
        field(&answer, "content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(answer.contains("<h1>No such app</h1>"), "{answer}");
    // With a body that nobody reads the connection ends; no second answer comes.
    let answer = world
        .ask(
            "POST / HTTP/1.1\r\nHost: nobody.paas.test\r\nContent-Length: 50\r\n\r\nGET / HTTP/1.1",
        )
        .await;
    assert_eq!(status(&answer), 404);
    assert_eq!(field(&answer, "connection"), Some("close"));
    world.finish().await;
}

#[tokio::test]
async fn expectations() {
    let dyno = Dyno::saying(OK).await;
    let world = World::with(short(), &[&dyno]);
    let answer = world
        .ask("GET / HTTP/1.1\r\nHost: hello.paas.test\r\nExpect: tea\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(status(&answer), 417);
    let lines = world.finish().await;
    assert!(
        lines[0].starts_with(
            "at=error code=H26 desc=\"Request Error\" cause=\"unsupported expect header value\""
        ),
        "{lines:?}"
    );
    assert_eq!(value(&lines[0], "status"), "417");
}
