//! A platform in a folder of its own, spoken to over its real router and real sockets.

use crate::accounts::{self, NewToken};
use crate::control::{self, Allowed};
use crate::http::Api;
use crate::platform::Platform;
use crate::records::Scope;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use link::config::Config;
use link::frame;
use link::stop::{Stop, Trigger};
use model::account::Email;
use model::feed::{Answer, Ask, Down, Event, Hello, Item, Key, Purpose, Role, Up};
use model::query::Query;
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// Everything that a test waits for comes within this time, or never.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) platform: Arc<Platform>,
    pub(crate) api: Api,
    pub(crate) token: String,
    pub(crate) folder: PathBuf,
    trigger: Option<Trigger>,
}

#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("paas-api-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::create_dir(folder.join("journal")).unwrap();
        Self::open(folder).await
    }

    async fn open(folder: PathBuf) -> Self {
        let mut config = Config::load(&folder).unwrap();
        config.run_dir.clone_from(&folder);
        config.program_dir.clone_from(&folder);
        config.node = "n1".to_owned();
        let (stop, trigger) = Stop::by_hand();
        let platform = Platform::open(&config, stop).unwrap();
        crate::rendezvous::clear(&platform).await.unwrap();
        crate::deploy::resume(&platform).await.unwrap();
        platform
            .tasks
            .spawn(crate::upkeep::run(Arc::clone(&platform)));
        let socket = config.control_socket();
        if socket.exists() {
            std::fs::remove_file(&socket).unwrap();
        }
        let uid = nix::unistd::getuid().as_raw();
        let roles = [Role::Builder, Role::Dynod, Role::Router, Role::Operator];
        let allowed = Allowed(roles.map(|role| (uid, role)).into());
        let listener = UnixListener::bind(&socket).unwrap();
        let serving = control::serve(Arc::clone(&platform), listener, allowed);
        platform.tasks.spawn(serving);
        let mut world = Self {
            api: Api::new(Arc::clone(&platform)),
            platform,
            token: String::new(),
            folder,
            trigger: Some(trigger),
        };
        world.token = world.token_of("me@example.org", Scope::Global).await;
        world
    }

    /// Ends this api and starts the next one over the same folder.
    pub(crate) async fn restarted(mut self) -> Self {
        self.trigger.take().unwrap().stop();
        assert_eq!(self.platform.tasks.finish(WAIT).await, 0);
        let folder = self.folder.clone();
        let token = self.token.clone();
        drop(self);
        let mut next = Self::open(folder).await;
        next.token = token;
        next
    }

    /// Ends everything and removes the folder.
    pub(crate) async fn end(mut self) {
        self.trigger.take().unwrap().stop();
        assert_eq!(self.platform.tasks.finish(WAIT).await, 0);
        std::fs::remove_dir_all(&self.folder).unwrap();
    }

    pub(crate) async fn token_of(&self, email: &str, scope: Scope) -> String {
        let email = Email::parse(email).unwrap();
        let account = accounts::ensure(&self.platform, &email).await.unwrap();
        let new = NewToken {
            description: "test".to_owned(),
            scope: vec![scope],
            expires_in_s: None,
        };
        let made = accounts::make_token(&self.platform, &account, new).await;
        made.unwrap().1
    }

    /// One request, `GET /apps`, with a JSON body or none.
    pub(crate) async fn call(&self, line: &str, body: Value) -> Got {
        self.send(line, &self.token, &[], body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.call(&format!("GET {path}"), Value::Null).await
    }

    pub(crate) async fn send(
        &self,
        line: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Got {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        let response = self.api.answer(request.body(body).unwrap()).await;
        let (parts, body) = response.into_parts();
        let bytes = tokio::time::timeout(WAIT, body.collect()).await.unwrap();
        let text = String::from_utf8(bytes.unwrap().to_bytes().to_vec()).unwrap();
        Got {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }

    pub(crate) async fn peer(&self, role: Role) -> Peer {
        let mut peer = self.connect(role, Purpose::Feed).await;
        peer.receive().await;
        peer
    }

    pub(crate) async fn connect(&self, role: Role, purpose: Purpose) -> Peer {
        let socket = self.platform.config.control_socket();
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let hello = Up::Hello(Hello {
            role,
            node: "n1".to_owned(),
            version: "test".to_owned(),
            purpose,
        });
        frame::write(&mut stream, &hello).await.unwrap();
        Peer {
            stream,
            items: HashMap::new(),
            answers: HashMap::new(),
            progress: Vec::new(),
            acknowledged: 0,
            refused: None,
            queries: Vec::new(),
            n: 0,
        }
    }
}

/// A role that the test plays.
pub(crate) struct Peer {
    pub(crate) stream: UnixStream,
    pub(crate) items: HashMap<Key, Item>,
    pub(crate) answers: HashMap<u64, Answer>,
    pub(crate) progress: Vec<String>,
    pub(crate) acknowledged: u64,
    pub(crate) refused: Option<String>,
    pub(crate) queries: Vec<(u64, Query)>,
    n: u64,
}

impl Peer {
    /// Takes one message; the first is a snapshot.
    pub(crate) async fn receive(&mut self) {
        let message = frame::read::<Down>(&mut self.stream);
        let message = tokio::time::timeout(WAIT, message).await.unwrap().unwrap();
        match message.expect("the api does not hang up") {
            Down::Snapshot { items, .. } => {
                self.items
                    .extend(items.into_iter().map(|item| (item.key(), item)));
            }
            Down::Change { set, remove, .. } => {
                self.items
                    .extend(set.into_iter().map(|item| (item.key(), item)));
                for key in remove {
                    self.items.remove(&key);
                }
            }
            Down::Acknowledge { n } => self.acknowledged = n,
            Down::Progress { line, .. } => self.progress.push(line),
            Down::Answer { n, answer } => {
                self.answers.insert(n, answer);
            }
            Down::Refused { message } => self.refused = Some(message),
            Down::Query { n, query } => self.queries.push((n, query)),
            Down::Ready => {}
        }
    }

    /// Takes messages until the test sees what it looks for.
    pub(crate) async fn until<T>(&mut self, look: impl Fn(&Self) -> Option<T>) -> T {
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            self.receive().await;
        }
    }

    pub(crate) async fn ask(&mut self, ask: Ask) -> u64 {
        self.n += 1;
        let n = self.n;
        self.up(&Up::Ask { n, ask }).await;
        n
    }

    pub(crate) async fn answer(&mut self, ask: Ask) -> Answer {
        let n = self.ask(ask).await;
        self.until(|peer| peer.answers.get(&n).cloned()).await
    }

    pub(crate) async fn event(&mut self, event: Event) {
        self.n += 1;
        let n = self.n;
        self.up(&Up::Event { n, event }).await;
        self.until(|peer| (peer.acknowledged >= n).then_some(()))
            .await;
    }

    pub(crate) async fn up(&mut self, message: &Up) {
        frame::write(&mut self.stream, message).await.unwrap();
    }

    /// The dynos that shall run, by name.
    pub(crate) fn wants(&self) -> Vec<model::dyno::Want> {
        let mut wants: Vec<_> = self
            .items
            .values()
            .filter_map(|item| match item {
                Item::Want(want) => Some((**want).clone()),
                _ => None,
            })
            .collect();
        wants.sort_by_key(|want| (want.name.clone(), want.release));
        wants
    }

    /// The only route there is.
    pub(crate) fn route(&self) -> model::route::State {
        let route = self.items.values().find_map(|item| match item {
            Item::Route(route) => Some(route.state.clone()),
            _ => None,
        });
        route.expect("there is a route")
    }
}
