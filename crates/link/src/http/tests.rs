//! The client against a server that answers by rote.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

/// Serves one connection: reads until `until` was seen, answers, gives what it read.
async fn serve<S>(mut stream: S, until: &str, answer: &str) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(until) {
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "closed early");
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(seen).unwrap()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}";

#[tokio::test]
async fn names_below_localhost_are_loopback() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, "{\"x\":2}", OK).await
    });
    let base = format!("http://api.paas.localhost:{port}");
    let client = Client::new(&base).unwrap().with_bearer("secret");
    let json = serde_json::json!({"x": 2});
    let answer = client
        .ask(http::Method::POST, "/apps", Some(&json))
        .await
        .unwrap();
    assert_eq!(answer.json::<serde_json::Value>().unwrap()["a"], 1);
    let seen = server.await.unwrap();
    for part in [
        "POST /apps HTTP/1.1\r\n",
        &format!("host: api.paas.localhost:{port}\r\n"),
        "authorization: Bearer secret\r\n",
        "content-length: 7\r\n",
    ] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
}

#[tokio::test]
async fn chunks_over_a_unix_socket() {
    let folder = crate::scratch::Scratch::new();
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, "\r\n0\r\n\r\n", OK).await
    });
    let client = Client::unix(&socket, "api.paas.localhost");
    let (chunks, receiver) = tokio::sync::mpsc::channel(1);
    let request = client
        .request(http::Method::PUT, "/x")
        .body(Body::chunks(receiver))
        .unwrap();
    let feed = tokio::spawn(async move {
        for chunk in ["ab", "cd"] {
            chunks
                .send(Ok(Bytes::from_static(chunk.as_bytes())))
                .await
                .unwrap();
        }
    });
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    feed.await.unwrap();
    let seen = server.await.unwrap();
    assert!(seen.ends_with("2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"), "{seen}");
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let client = Client::new(&format!("http://127.0.0.1:{port}")).unwrap();
    let error = client.ask(http::Method::GET, "/", None).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
}

#[test]
fn addresses() {
    for good in [
        "http://a",
        "http://a:8080",
        "http://127.0.0.1:1/",
        "http://[::1]:2",
    ] {
        assert!(Client::new(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "a",
        "https://a",
        "http://a/x",
        "http://u:p@a",
        "http://a?x",
    ] {
        assert!(Client::new(bad).is_err(), "{bad}");
    }
}
