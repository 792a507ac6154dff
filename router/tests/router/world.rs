//! What every test starts from: a router of its own on port 0, and dynos that do as told.

use link::stop::{Stop, Trigger};
use model::route::{Endpoint, EndpointState, Route, State};
use model::{app, dyno};
use router::Platform;
use router::route::Drains;
use router::server::{Running, Server};
use router::table::Table;
use router::timers::Timers;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The id of the one app.
const APP: &str = "00000000-0000-4000-8000-000000000001";
/// A test that waits longer than this has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits that a test can outlast.
pub(crate) fn short() -> Timers {
    let ms = Duration::from_millis;
    Timers {
        boot: ms(300),
        connect: ms(150),
        quarantine: ms(100),
        first_byte: ms(200),
        idle: ms(250),
        role_away: ms(200),
        drain: ms(400),
        linger: ms(100),
        ..Timers::default()
    }
}

pub(crate) struct World {
    pub(crate) table: Arc<Table>,
    pub(crate) folder: PathBuf,
    address: SocketAddr,
    loopback: SocketAddr,
    running: Running,
    trigger: Trigger,
}

impl World {
    /// A router with one thread, so that what a pool holds is no accident.
    pub(crate) fn start(timers: Timers) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("router-test-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(folder.join("journal")).unwrap();
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (http, loopback) = (listen(), listen());
        let (stop, trigger) = Stop::by_hand();
        let table = Arc::new(Table::default());
        let address = http.local_addr().unwrap();
        let loopback_address = loopback.local_addr().unwrap();
        let server = Server {
            http: vec![http],
            loopback: vec![loopback],
            table: Arc::clone(&table),
            platform: Platform {
                domain: "paas.test".to_owned(),
                api_socket: folder.join("api.sock"),
                git_socket: folder.join("git.sock"),
            },
            journal: folder.join("journal"),
            threads: 1,
            timers,
            stop,
        };
        Self {
            table,
            folder,
            address,
            loopback: loopback_address,
            running: server.start().unwrap(),
            trigger,
        }
    }

    /// A world whose app `hello` has these dynos, all up.
    pub(crate) fn with(timers: Timers, dynos: &[&Dyno]) -> Self {
        let world = Self::start(timers);
        world.web(dynos.iter().map(|dyno| dyno.endpoint()).collect());
        world
    }

    pub(crate) fn web(&self, endpoints: Vec<Endpoint>) {
        self.tell(State::Web { endpoints });
    }

    pub(crate) fn tell(&self, state: State) {
        let route = Route {
            app: app::Id::parse(APP).unwrap(),
            app_name: app::Name::parse("hello").unwrap(),
            hosts: vec!["hello.paas.test".to_owned()],
            state,
        };
        self.table.apply([route].iter());
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn drains(&self) -> Arc<Drains> {
        self.table.drains()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a whole request to the app and takes all that comes until the end.
    pub(crate) async fn ask(&self, request: &str) -> String {
        exchange(self.connect().await, request).await
    }

    pub(crate) async fn ask_loopback(&self, request: &str) -> String {
        exchange(TcpStream::connect(self.loopback).await.unwrap(), request).await
    }

    /// `GET /` of the app on a connection of its own.
    pub(crate) async fn get(&self) -> String {
        self.ask("GET / HTTP/1.1\r\nHost: hello.paas.test\r\nConnection: close\r\n\r\n")
            .await
    }

    /// Asks the router to stop, and goes on at once.
    pub(crate) fn stop(self) -> Stopping {
        self.trigger.stop();
        Stopping {
            running: self.running,
            folder: self.folder,
        }
    }

    /// Stops the router and gives its log lines, oldest first.
    pub(crate) async fn finish(self) -> Vec<String> {
        self.stop().finish().await
    }
}

pub(crate) struct Stopping {
    running: Running,
    folder: PathBuf,
}

impl Stopping {
    pub(crate) async fn finish(self) -> Vec<String> {
        soon(self.running.join()).await;
        let journal = self.folder.join("journal").join(APP);
        let tail = journal::last(&[journal], 1500, &|_| true).unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
        let lines = tail.lines.iter();
        lines.map(|line| line.text_lossy().into_owned()).collect()
    }
}

/// A wait that fails loudly.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it comes in time")
}

pub(crate) async fn exchange(mut stream: TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

/// All that comes until the end; a reset is an end, too.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    if soon(stream.read_to_end(&mut bytes)).await.is_err() {
        bytes.extend_from_slice(b"<reset>");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What comes up to and with this text.
pub(crate) async fn until(stream: &mut (impl AsyncReadExt + Unpin), end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        match soon(stream.read_u8()).await {
            Ok(byte) => bytes.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status of a response.
pub(crate) fn status(response: &str) -> u16 {
    let status = response.split(' ').nth(1).unwrap_or_default();
    status.parse().unwrap_or(0)
}

/// A field's value in a message, in lower-case names.
pub(crate) fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let head = message.split("\r\n\r\n").next()?;
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// The value of `name=` in a log line.
pub(crate) fn value<'a>(line: &'a str, name: &str) -> &'a str {
    let start = format!("{name}=");
    line.split(' ')
        .find_map(|word| word.strip_prefix(start.as_str()))
        .unwrap_or("<none>")
}

/// A dyno: every connection runs its script.
pub(crate) struct Dyno {
    pub(crate) id: dyno::Id,
    pub(crate) address: SocketAddrV4,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Dyno {
    pub(crate) async fn run<F, R>(script: F) -> Self
    where
        F: Fn(TcpStream, usize) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("it was bound to an IPv4 address");
        };
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(stream, number));
            }
        });
        Self {
            id: dyno::Id::new(uuid::Uuid::new_v4()),
            address,
            connections,
            task,
        }
    }

    /// Reads a bodiless request and answers every one on a connection with the same bytes.
    pub(crate) async fn saying(response: &'static str) -> Self {
        Self::run(move |mut stream, _| async move {
            while until(&mut stream, "\r\n\r\n").await.ends_with("\r\n\r\n") {
                stream.write_all(response.as_bytes()).await.unwrap();
            }
        })
        .await
    }

    /// Answers one request a connection, then closes.
    pub(crate) async fn saying_once(response: &'static str) -> Self {
        Self::run(move |mut stream, _| async move {
            until(&mut stream, "\r\n\r\n").await;
            // The router may have heard enough before the end.
            drop(stream.write_all(response.as_bytes()).await);
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.in_state(EndpointState::Up {
            address: self.address,
        })
    }

    pub(crate) fn in_state(&self, state: EndpointState) -> Endpoint {
        Endpoint {
            dyno: self.id,
            name: dyno::Name::parse("web.1").unwrap(),
            state,
        }
    }
}

impl Drop for Dyno {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
