//! The feed against a server by rote over a real Unix socket.

use super::*;
use crate::frame;
use crate::scratch::Scratch;
use model::feed::{Access, App, Down, DynoChange, Hello, Item, Purpose, Up};
use model::limits::{FEED_QUEUE_MAX, QUERIES_MAX};
use model::query::Query;
use model::{app, dyno, query};
use tokio::net::{UnixListener, UnixStream};

const SOON: Duration = Duration::from_secs(10);

struct Server {
    listener: UnixListener,
    folder: Scratch,
}

impl Server {
    fn new() -> Self {
        let folder = Scratch::new();
        let listener = UnixListener::bind(folder.path().join("control.sock")).unwrap();
        Self { listener, folder }
    }

    fn peer(&self) -> Peer {
        Peer {
            socket: self.folder.path().join("control.sock"),
            node: "n1".to_owned(),
            role: Role::Dynod,
        }
    }

    async fn accept(&self) -> Connection {
        let accepted = tokio::time::timeout(SOON, self.listener.accept()).await;
        let mut connection = Connection(accepted.expect("in time").unwrap().0);
        let hello = Hello {
            role: Role::Dynod,
            node: "n1".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            purpose: Purpose::Feed,
        };
        assert_eq!(connection.read().await, Up::Hello(hello));
        connection
    }
}

struct Connection(UnixStream);

impl Connection {
    async fn read(&mut self) -> Up {
        let message = tokio::time::timeout(SOON, frame::read(&mut self.0)).await;
        message.expect("in time").unwrap().expect("a message")
    }

    async fn write(&mut self, message: &Down) {
        frame::write(&mut self.0, message).await.unwrap();
    }

    async fn snapshot(&mut self, revision: u64, last: bool, names: &[(u8, &str)]) {
        let items = names.iter().map(|(n, name)| item(*n, name)).collect();
        let message = Down::Snapshot {
            revision,
            last,
            items,
        };
        self.write(&message).await;
    }
}

fn item(n: u8, name: &str) -> Item {
    Item::App(App {
        id: app::Id::parse(&format!("00000000-0000-4000-8000-0000000000{n:02}")).unwrap(),
        name: app::Name::parse(name).unwrap(),
        commit: None,
    })
}

fn event(at_us: u64) -> Event {
    Event::Dyno(DynoChange {
        dyno: dyno::Id::parse("00000000-0000-4000-8000-000000000002").unwrap(),
        state: dyno::State::Up,
        at_us,
        address: None,
        network: None,
        exit_code: None,
        failure: None,
    })
}

fn sent(n: u64) -> Up {
    Up::Event { n, event: event(n) }
}

fn question() -> Ask {
    Ask::CheckToken {
        token: "t".to_owned(),
        app: "hello".to_owned(),
    }
}

fn answer() -> Answer {
    Answer::Access(Access::BadToken)
}

async fn wait_for(feed: &mut Feed, is_it: impl FnMut(&State) -> bool) -> State {
    let state = tokio::time::timeout(SOON, feed.state.wait_for(is_it)).await;
    state.expect("in time").expect("the task lives").clone()
}

#[tokio::test]
async fn snapshot_change_and_reconnect() {
    let server = Server::new();
    let mut feed = connect_to(server.peer(), Desk::closed());
    let mut api = server.accept().await;
    api.snapshot(5, false, &[(1, "one")]).await;
    api.snapshot(5, true, &[(2, "two")]).await;
    let state = wait_for(&mut feed, |state| state.is_live).await;
    assert_eq!((state.revision, state.items.len()), (5, 2));

    let change = Down::Change {
        revision: 6,
        epoch: 1,
        set: vec![item(3, "three")],
        remove: vec![item(1, "one").key()],
    };
    api.write(&change).await;
    let state = wait_for(&mut feed, |state| state.revision == 6).await;
    assert_eq!(state.items.len(), 2);

    drop(api);
    let state = wait_for(&mut feed, |state| !state.is_live).await;
    assert_eq!(state.items.len(), 2, "what was told last is kept");
    let mut api = server.accept().await;
    api.snapshot(1, true, &[(9, "nine")]).await;
    let state = wait_for(&mut feed, |state| state.is_live).await;
    assert_eq!((state.revision, state.items.len()), (1, 1));
}

#[tokio::test]
async fn a_change_before_the_snapshot_starts_afresh() {
    let server = Server::new();
    let _feed = connect_to(server.peer(), Desk::closed());
    let mut api = server.accept().await;
    let change = Down::Change {
        revision: 6,
        epoch: 1,
        set: vec![],
        remove: vec![],
    };
    api.write(&change).await;
    server.accept().await;
}

#[tokio::test]
async fn events_are_sent_until_acknowledged() {
    let server = Server::new();
    let feed = connect_to(server.peer(), Desk::closed());
    for n in 1..=3 {
        feed.event(event(n)).await;
    }
    let mut api = server.accept().await;
    for n in 1..=3 {
        assert_eq!(api.read().await, sent(n));
    }
    // The answer to the question shows that what was sent before it has been handled.
    api.write(&Down::Acknowledge { n: 2 }).await;
    let asked = tokio::spawn({
        let feed = feed.clone();
        async move { feed.ask(question(), SOON, drop).await }
    });
    assert!(matches!(api.read().await, Up::Ask { n: 1, .. }));
    api.write(&Down::Answer {
        n: 1,
        answer: answer(),
    })
    .await;
    assert_eq!(asked.await.unwrap(), Ok(answer()));

    drop(api);
    let mut api = server.accept().await;
    assert_eq!(api.read().await, sent(3));
    feed.event(event(4)).await;
    assert_eq!(api.read().await, sent(4));
}

#[tokio::test]
async fn a_full_queue_makes_the_reporter_wait() {
    let server = Server::new();
    let feed = connect_to(server.peer(), Desk::closed());
    let full = u64::try_from(FEED_QUEUE_MAX).unwrap();
    for n in 1..=full {
        feed.event(event(n)).await;
    }
    let late = tokio::spawn({
        let feed = feed.clone();
        async move { feed.event(event(full + 1)).await }
    });
    let mut api = server.accept().await;
    for n in 1..=full {
        assert_eq!(api.read().await, sent(n));
    }
    assert!(!late.is_finished());
    api.write(&Down::Acknowledge { n: 1 }).await;
    late.await.unwrap();
    assert_eq!(api.read().await, sent(full + 1));
}

#[tokio::test]
async fn a_question_with_progress_survives_a_reconnect() {
    let server = Server::new();
    let feed = connect_to(server.peer(), Desk::closed());
    let asked = tokio::spawn(async move {
        let mut lines = Vec::new();
        let answer = feed.ask(question(), SOON, |line| lines.push(line)).await;
        (answer, lines)
    });
    let mut api = server.accept().await;
    let ask = Up::Ask {
        n: 1,
        ask: question(),
    };
    assert_eq!(api.read().await, ask);
    drop(api);
    let mut api = server.accept().await;
    assert_eq!(api.read().await, ask);
    for line in ["one", "two"] {
        let line = line.to_owned();
        api.write(&Down::Progress { n: 1, line }).await;
    }
    api.write(&Down::Answer {
        n: 1,
        answer: answer(),
    })
    .await;
    let (got, lines) = asked.await.unwrap();
    assert_eq!(got, Ok(answer()));
    assert_eq!(lines, ["one", "two"]);
}

#[tokio::test]
async fn who_no_longer_waits_says_so() {
    let server = Server::new();
    let feed = connect_to(server.peer(), Desk::closed());
    let asked = tokio::spawn({
        let feed = feed.clone();
        async move { feed.ask(question(), SOON, drop).await }
    });
    let mut api = server.accept().await;
    assert!(matches!(api.read().await, Up::Ask { n: 1, .. }));
    asked.abort();
    assert_eq!(api.read().await, Up::Forget { n: 1 });

    let brief = Duration::from_millis(20);
    assert_eq!(
        feed.ask(question(), brief, drop).await,
        Err(AskError::TimedOut)
    );
    assert!(matches!(api.read().await, Up::Ask { n: 2, .. }));
    assert_eq!(api.read().await, Up::Forget { n: 2 });
}

#[tokio::test]
async fn questions_of_the_api_are_answered_over_their_own_connection() {
    let server = Server::new();
    let (desk, mut queries) = Desk::open();
    let _feed = connect_to(server.peer(), desk);
    let dyno = dyno::Id::parse("00000000-0000-4000-8000-000000000002").unwrap();
    let query = Query::Start { dyno };
    let reply = query::Reply::Start { steps: vec![] };

    let mut api = server.accept().await;
    api.write(&Down::Query { n: 7, query }).await;
    let asked = queries.next().await.expect("the feed lives");
    assert_eq!(asked.query, query);
    asked.answer(reply.clone());
    assert_eq!(
        api.read().await,
        Up::Reply {
            n: 7,
            reply: reply.clone()
        }
    );

    api.write(&Down::Query { n: 8, query }).await;
    let late = queries.next().await.expect("the feed lives");
    late.answer(reply.clone());
    assert!(matches!(api.read().await, Up::Reply { n: 8, .. }));
}

#[tokio::test]
async fn too_many_questions_at_a_time_have_no_answer() {
    let server = Server::new();
    let (desk, mut queries) = Desk::open();
    let mut feed = connect_to(server.peer(), desk);
    let dyno = dyno::Id::parse("00000000-0000-4000-8000-000000000002").unwrap();
    let query = Query::Port { dyno };
    let none = |message: &str| query::Reply::None {
        message: message.to_owned(),
    };
    let most = u64::try_from(QUERIES_MAX).unwrap();
    let mut api = server.accept().await;
    for n in 1..=most + 1 {
        api.write(&Down::Query { n, query }).await;
    }
    // The state shows that what was sent before it has been handled.
    api.snapshot(1, true, &[]).await;
    wait_for(&mut feed, |state| state.is_live).await;
    let mut asked = Vec::new();
    for _ in 1..=most {
        asked.push(queries.next().await.expect("the feed lives"));
    }
    for one in asked {
        one.answer(none("first"));
    }
    for n in 1..=most {
        assert_eq!(
            api.read().await,
            Up::Reply {
                n,
                reply: none("first")
            }
        );
    }
    api.write(&Down::Query { n: 99, query }).await;
    queries
        .next()
        .await
        .expect("the feed lives")
        .answer(none("next"));
    assert!(matches!(api.read().await, Up::Reply { n: 99, .. }));
}

#[tokio::test]
async fn the_connection_closes_with_the_last_clone() {
    let server = Server::new();
    let feed = connect_to(server.peer(), Desk::closed());
    let mut api = server.accept().await;
    drop(feed.clone());
    feed.event(event(1)).await;
    assert_eq!(api.read().await, sent(1));
    drop(feed);
    let end = tokio::time::timeout(SOON, frame::read::<Up>(&mut api.0)).await;
    assert!(end.expect("in time").unwrap().is_none());
}

#[tokio::test]
async fn one_question_and_one_stream() {
    let server = Server::new();
    let peer = server.peer();
    let asked =
        tokio::spawn(async move { ask_once(&peer.socket, Role::Operator, question()).await });
    let mut api = Connection(server.listener.accept().await.unwrap().0);
    assert!(matches!(api.read().await, Up::Hello(hello) if hello.purpose == Purpose::Ask));
    assert!(matches!(api.read().await, Up::Ask { n: 1, .. }));
    let message = "only root".to_owned();
    api.write(&Down::Refused { message }).await;
    let error = asked.await.unwrap().unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "be served by the api: only root");
}
