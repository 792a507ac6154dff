//! The built-in buildpacks on small apps of their languages.

use crate::platform::Platform;
use std::io::{Read as _, Write as _};

#[test]
fn python_with_gunicorn() {
    let platform = Platform::start();
    let app = platform.checkout("python-gunicorn", "flask");
    let push = app.push().ok();
    assert!(
        push.stderr.contains("Python app detected"),
        "{}",
        push.stderr
    );
    assert_eq!(
        platform.get("flask", "/").body,
        "hello from python on web.1\n"
    );
    let headers: serde_json::Value =
        serde_json::from_str(&platform.get("flask", "/headers").body).unwrap();
    assert_eq!(headers["X-Forwarded-For"], "127.0.0.1");
    assert_eq!(headers["X-Forwarded-Proto"], "http");
    assert!(headers["X-Request-Id"].as_str().unwrap().len() >= 20);

    // The same commit pushed to another app, which has no cache: the same bytes.
    platform.paas(&["create", "twin"]).ok();
    let url = format!("http://git.paas.localhost:{}/twin.git", platform.http_port);
    app.git(&["push", &url, "main"]).ok();
    let (one, two) = (checksum(&platform, "flask"), checksum(&platform, "twin"));
    assert_eq!(one, two, "same commit, same buildpacks: same slug");
    app.commit("a later commit has later times");
    app.push().ok();
    assert_ne!(checksum(&platform, "flask"), one);
}

/// The checksum of the current release's slug, as the API tells it.
fn checksum(platform: &Platform, app: &str) -> String {
    let releases = platform.api(&format!("/apps/{app}/releases"));
    let mut releases = releases.as_array().unwrap().iter();
    let current = releases.find(|one| one["current"] == true).unwrap();
    let id = current["slug"]["id"].as_str().unwrap();
    let slug = platform.api(&format!("/apps/{app}/slugs/{id}"));
    slug["checksum"].as_str().unwrap().to_owned()
}

#[test]
fn node_with_express_from_a_lock_file() {
    let platform = Platform::start();
    let app = platform.checkout("node-express", "express");
    let push = app.push().ok();
    assert!(
        push.stderr.contains("Node.js app detected"),
        "{}",
        push.stderr
    );
    assert!(
        platform
            .get("express", "/")
            .body
            .contains("hello from node on web.1")
    );
    app.write("added.txt", "one line\n");
    app.commit("one line");
    app.push().ok();
    assert_eq!(platform.get("express", "/").status, 200);
}

#[test]
fn static_files_with_and_without_configuration() {
    let platform = Platform::start();
    platform.checkout("static-site", "plain").push().ok();
    assert_eq!(platform.get("plain", "/").status, 200);
    assert_eq!(platform.get("plain", "/style.css").status, 200);
    assert_eq!(platform.get("plain", "/../../etc/passwd").status, 400);
    platform.checkout("static-json", "configured").push().ok();
    assert_eq!(
        platform.get("configured", "/about").status,
        200,
        "clean_urls"
    );
    assert_eq!(platform.get("configured", "/missing").status, 404);
}

#[test]
fn a_websocket_is_tunnelled() {
    let platform = Platform::start();
    platform.checkout("websocket-echo", "echo").push().ok();
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", platform.http_port)).unwrap();
    let upgrade = "GET / HTTP/1.1\r\nHost: echo.paas.localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(upgrade.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    // A masked text frame "hi"; the server sends it back without a mask.
    socket
        .write_all(&[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2])
        .unwrap();
    let mut frame = [0; 4];
    socket.read_exact(&mut frame).unwrap();
    assert_eq!(frame, [0x81, 2, b'h', b'i']);
}
