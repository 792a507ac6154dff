//! An attached one-off over real TLS: the dynod is played.

use super::harness::{Peer, World};
use super::push::{first_push, roles};
use crate::rendezvous;
use link::authority::{Authority, client_config};
use model::dyno::Purpose;
use model::feed::Purpose as For;
use model::feed::Role;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A platform with an app that runs, and its rendezvous port.
async fn running() -> (World, super::push::Roles, u16) {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut roles = roles(&world).await;
    first_push(&world, &mut roles).await;
    let authority = world.folder.join("authority");
    std::fs::create_dir(&authority).unwrap();
    let names = rendezvous::certificate_names(&world.platform.config);
    let tls = Authority::open(&authority).unwrap().server_config(&names);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = TlsAcceptor::from(tls.unwrap());
    let serving = rendezvous::serve(Arc::clone(&world.platform), listener, tls);
    world.platform.tasks.spawn(serving);
    (world, roles, port)
}

async fn client(world: &World, port: u16) -> TlsStream<TcpStream> {
    let config = client_config(&world.folder.join("authority/ca.pem")).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = "127.0.0.1".try_into().unwrap();
    TlsConnector::from(config)
        .connect(name, stream)
        .await
        .unwrap()
}

/// Starts a one-off; returns its secret and the dynod's stream.
async fn start(world: &World, roles: &mut super::push::Roles, body: Value) -> (String, Peer) {
    let made = world.call("POST /apps/hello/dynos", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let url = made.json()["attach_url"].as_str().unwrap().to_owned();
    let secret = url
        .strip_prefix("rendezvous://127.0.0.1:5443/")
        .unwrap()
        .to_owned();
    let find = |peer: &Peer| {
        let wants = peer.wants();
        wants
            .into_iter()
            .find(|want| matches!(want.purpose, Purpose::Attached { .. }))
    };
    let want = roles.dynod.until(find).await;
    let dyno = want.dyno;
    (
        secret,
        world.connect(Role::Dynod, For::Stream { dyno }).await,
    )
}

#[tokio::test]
async fn a_person_and_a_dyno_meet() {
    let (world, mut roles, port) = running().await;
    let body = json!({"command": "bash", "attach": true, "env": {"COLUMNS": 100, "LINES": 30}});
    let (secret, mut dyno) = start(&world, &mut roles, body).await;
    let mut person = client(&world, port).await;
    person
        .write_all(format!("{secret}\r\n").as_bytes())
        .await
        .unwrap();
    let mut greeting = [0; 64];
    let count = person.read(&mut greeting).await.unwrap();
    assert_eq!(&greeting[..count], b"rendezvous\r\n", "a record of its own");
    dyno.receive().await;
    person.write_all(b"echo\r").await.unwrap();
    let mut typed = [0; 5];
    dyno.stream.read_exact(&mut typed).await.unwrap();
    assert_eq!(&typed, b"echo\r");
    dyno.stream.write_all(b"hello\r\n").await.unwrap();
    drop(dyno);
    let mut output = Vec::new();
    person.read_to_end(&mut output).await.unwrap();
    assert_eq!(output, b"hello\r\n");

    let mut again = client(&world, port).await;
    again.write_all(secret.as_bytes()).await.unwrap();
    let ended = again.read(&mut greeting).await;
    assert!(
        matches!(ended, Ok(0) | Err(_)),
        "a secret works once: {ended:?}"
    );
    world.end().await;
}

#[tokio::test]
async fn without_a_terminal_and_without_a_line_end() {
    let (world, mut roles, port) = running().await;
    let body = json!({"command": "cat", "attach": true, "force_no_tty": true});
    let (secret, mut dyno) = start(&world, &mut roles, body).await;
    let mut person = client(&world, port).await;
    person.write_all(secret.as_bytes()).await.unwrap();
    let mut greeting = [0; 12];
    person.read_exact(&mut greeting).await.unwrap();
    dyno.receive().await;
    person.write_all(b"data\x04").await.unwrap();
    let mut input = Vec::new();
    dyno.stream.read_to_end(&mut input).await.unwrap();
    assert_eq!(input, b"data");
    dyno.stream.write_all(&input).await.unwrap();
    drop(dyno);
    let mut output = Vec::new();
    person.read_to_end(&mut output).await.unwrap();
    assert_eq!(output, b"data");
    world.end().await;
}

#[tokio::test]
async fn nobody_waits_for_an_unknown_secret_or_dyno() {
    let (world, _roles, port) = running().await;
    let mut person = client(&world, port).await;
    person.write_all(&[b'x'; 42]).await.unwrap();
    let ended = person.read(&mut [0; 8]).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    let dyno = model::dyno::Id::new(uuid::Uuid::new_v4());
    let mut stream = world.connect(Role::Dynod, For::Stream { dyno }).await;
    stream.receive().await;
    assert_eq!(
        stream.refused.as_deref(),
        Some("nobody waits for this dyno")
    );
    world.end().await;
}
