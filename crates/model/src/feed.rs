//! What the roles tell each other over the api's control socket.
//!
//! Framed JSON: a 4-byte big-endian length, then one message, at most
//! [`crate::limits::FRAME_MAX_BYTES`]. A role sends [`Up`], the api sends [`Down`]. The first frame
//! is [`Up::Hello`]. A feed then gets a snapshot in chunks, then changes. Upstream events carry
//! numbers of the sender and are sent again after a reconnect until they were acknowledged;
//! handling one twice changes nothing.

mod build;

pub use build::{Artifact, BuildOrder, Pending, Place, Source};

use crate::query::{Query, Reply};
use crate::route::Route;
use crate::slug::Manifest;
use crate::{account, app, digest::Digest, dyno, release};
use std::net::SocketAddrV4;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The control plane itself.
    Api,
    /// Git intake and builds.
    Builder,
    /// Dynos of a node.
    Dynod,
    /// Requests.
    Router,
    /// Root on the server, through the command line.
    Operator,
}

/// A message to the api.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "up")]
pub enum Up {
    /// The first message of every connection.
    Hello(Hello),
    /// Something happened.
    Event {
        /// The sender's number of it, ascending from 1 in one life of the sender.
        n: u64,
        /// What.
        event: Event,
    },
    /// A question; answered by [`Down::Answer`] with the same number.
    Ask {
        /// The sender's number of it.
        n: u64,
        /// What is asked.
        ask: Ask,
    },
    /// The asker no longer waits for this answer; what the question started is undone where it can
    /// be.
    Forget {
        /// Which question.
        n: u64,
    },
    /// To [`Down::Query`], with its number.
    Reply {
        /// The api's number of the question.
        n: u64,
        /// What.
        reply: Reply,
    },
}

/// Who connects, and what for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hello {
    /// Checked against the peer's user.
    pub role: Role,
    /// The node's name.
    pub node: String,
    /// The program's version.
    pub version: String,
    /// What for.
    pub purpose: Purpose,
}

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Purpose {
    /// Snapshot, changes, events, questions.
    Feed,
    /// Questions only.
    Ask,
    /// After [`Down::Ready`] raw bytes both ways: the terminal or pipes of an attached one-off.
    Stream {
        /// Which dyno.
        dyno: dyno::Id,
    },
}

/// A message from the api.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "down")]
pub enum Down {
    /// One chunk of the state at a revision; what is in no chunk up to the last is gone.
    Snapshot {
        /// The revision of the whole snapshot.
        revision: u64,
        /// Whether it is the last chunk.
        last: bool,
        /// What is there.
        items: Vec<Item>,
    },
    /// What changed since the revision before.
    Change {
        /// The revision after the change.
        revision: u64,
        /// The leader's epoch: a role ignores an older one than it has seen.
        epoch: u64,
        /// New or different.
        set: Vec<Item>,
        /// Gone.
        remove: Vec<Key>,
    },
    /// Events up to this number need not be sent again.
    Acknowledge {
        /// The sender's number.
        n: u64,
    },
    /// A line on the way to an answer, e.g. output of a release phase.
    Progress {
        /// Which question.
        n: u64,
        /// One line of output, without its end.
        line: String,
    },
    /// The answer.
    Answer {
        /// Which question.
        n: u64,
        /// What.
        answer: Answer,
    },
    /// A question to a node; answered by [`Up::Reply`] with the same number, or not at all: the
    /// api waits [`crate::limits::QUERY_TIMEOUT_MS`].
    Query {
        /// The api's number of it, never given out twice.
        n: u64,
        /// What is asked.
        query: Query,
    },
    /// The stream begins with the next byte.
    Ready,
    /// The connection's purpose cannot be had.
    Refused {
        /// Why.
        message: String,
    },
}

/// One thing that a role is told.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "item")]
pub enum Item {
    /// To routers.
    Route(Route),
    /// To the dynod of the node: a dyno that shall run. When it is removed the dyno is stopped.
    Want(Box<dyno::Want>),
    /// To builder, dynod and router: an app that lives; what belongs to no living app is removed.
    App(App),
    /// To builders: a build that is waited for. When it is removed before its slug is asked to be
    /// released, it was cancelled.
    Build(Pending),
}

/// The name of a thing that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "key", content = "id")]
pub enum Key {
    /// A route, by app.
    Route(app::Id),
    /// A dyno.
    Want(dyno::Id),
    /// An app.
    App(app::Id),
    /// A build.
    Build(uuid::Uuid),
}

impl Item {
    /// The key under which it is replaced or removed.
    pub fn key(&self) -> Key {
        match self {
            Self::Route(route) => Key::Route(route.app),
            Self::Want(want) => Key::Want(want.dyno),
            Self::App(app) => Key::App(app.id),
            Self::Build(pending) => Key::Build(pending.build),
        }
    }
}

/// An app as builder and dynod see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct App {
    /// Its id.
    pub id: app::Id,
    /// Its name today.
    pub name: app::Name,
    /// The commit of the release it serves: after a crash the branch is set to it.
    pub commit: Option<String>,
}

/// What a role reports.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A dyno is in another state.
    Dyno(DynoChange),
    /// A router sends nothing to this dyno any more: it left the route and its requests ended.
    Drained {
        /// Which dyno.
        dyno: dyno::Id,
    },
    /// A router answers from the state of this revision, and from no older one.
    Routed {
        /// The revision.
        revision: u64,
    },
}

/// A dyno's change of state.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DynoChange {
    /// Which dyno.
    pub dyno: dyno::Id,
    /// Its state now.
    pub state: dyno::State,
    /// Since when, Unix microseconds.
    pub at_us: u64,
    /// Where it listens, when it is up and web.
    pub address: Option<SocketAddrV4>,
    /// In which way it is on the network, as long as it runs.
    pub network: Option<dyno::Network>,
    /// How its process ended: the exit code, or 128 + signal.
    pub exit_code: Option<i32>,
    /// Why it crashed, in one or more lines for the person who pushed: what it listened on, R10,
    /// ...
    pub failure: Option<String>,
}

/// What a role may ask. Each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum Ask {
    /// Who has this token, and may it touch the app of this name? -> [`Answer::Access`]
    CheckToken {
        /// The token as given, not trusted.
        token: String,
        /// The app's name as given, not trusted.
        app: String,
    },
    /// Makes an app for the token's account. -> [`Answer::App`] or [`Answer::Refused`]
    CreateApp {
        /// The token.
        token: String,
        /// The app's name, not trusted.
        name: String,
    },
    /// Takes the app's turn for a build and says how to build. -> [`Answer::Build`] or
    /// [`Answer::Refused`] The turn ends with `Release` or `BuildFailed`, or when the connection is
    /// cut.
    StartBuild {
        /// Whose turn.
        app: app::Id,
        /// Who pushes.
        account: account::Id,
        /// What is built, 40 hex digits.
        commit: String,
    },
    /// Takes a build that the API was asked for. -> as `StartBuild`
    TakeBuild {
        /// Which.
        build: uuid::Uuid,
    },
    /// The build succeeded and its blobs are sealed: makes a release of it. Progress lines are the
    /// release phase's output. -> [`Answer::Released`] or [`Answer::NotReleased`]
    Release {
        /// Which build.
        build: uuid::Uuid,
        /// The digest of the manifest, which is in the blob store.
        slug: Digest,
        /// The manifest itself.
        manifest: Box<Manifest>,
    },
    /// The build failed or was cancelled. -> [`Answer::Done`]
    BuildFailed {
        /// Which build.
        build: uuid::Uuid,
        /// One line.
        reason: String,
    },
    /// Operator only: makes the account if it is missing and a token for it. -> [`Answer::Token`]
    IssueToken {
        /// Whose.
        email: account::Email,
        /// Shown in `authorizations`.
        description: String,
    },
}

/// What the api answers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// To `CheckToken`.
    Access(Access),
    /// To `CreateApp`.
    App(App),
    /// To `StartBuild` and `TakeBuild`.
    Build(Box<BuildOrder>),
    /// To `Release`: it serves.
    Released {
        /// Its number.
        number: release::Number,
        /// Where the app is reached, with a slash at the end.
        url: String,
        /// Time of the release phase and of making the release, milliseconds.
        release_ms: u64,
        /// Time from then until all new web dynos were up, milliseconds.
        start_ms: u64,
        /// Why its web dynos run isolated, where they would run central if they could.
        fallback: Option<String>,
    },
    /// To `Release`: the old release serves on.
    NotReleased {
        /// `release phase failed`, `dynos did not boot`, ...
        reason: String,
        /// Lines for the pusher, the cause last.
        lines: Vec<String>,
    },
    /// To `BuildFailed`.
    Done,
    /// To `IssueToken`.
    Token {
        /// The token, shown once.
        token: String,
        /// Its account.
        email: account::Email,
    },
    /// No, with a message for the person that names the thing and the next step.
    Refused {
        /// The message.
        message: String,
    },
}

/// What a token may do with an app.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "access")]
pub enum Access {
    /// The token may read and push.
    Granted {
        /// Its account.
        account: account::Id,
        /// The account's email.
        email: account::Email,
        /// The app.
        app: App,
    },
    /// The token is good, there is no app of that name, and a push may make it.
    Free {
        /// Its account.
        account: account::Id,
        /// The account's email.
        email: account::Email,
    },
    /// The token is good, but there is no such app for it (or the name can be no app's).
    NoApp {
        /// Why, for the person.
        message: String,
    },
    /// The token is unknown, revoked or expired.
    BadToken,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    /// The bytes on the wire are a contract between processes of different versions.
    fn golden<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
        value: &T,
        json: &str,
    ) {
        assert_eq!(serde_json::to_string(value).unwrap(), json);
        assert_eq!(&serde_json::from_str::<T>(json).unwrap(), value);
    }

    fn app() -> App {
        App {
            id: app::Id::parse("00000000-0000-4000-8000-000000000001").unwrap(),
            name: app::Name::parse("hello").unwrap(),
            commit: None,
        }
    }

    #[test]
    fn hello() {
        golden(
            &Up::Hello(Hello {
                role: Role::Dynod,
                node: "n1".to_owned(),
                version: "0.1.0".to_owned(),
                purpose: Purpose::Feed,
            }),
            r#"{"up":"hello","role":"dynod","node":"n1","version":"0.1.0","purpose":{"kind":"feed"}}"#,
        );
    }

    #[test]
    fn change() {
        golden(
            &Down::Change {
                revision: 7,
                epoch: 1,
                set: vec![Item::App(app())],
                remove: vec![Key::App(app().id)],
            },
            r#"{"down":"change","revision":7,"epoch":1,"set":[{"item":"app","id":"00000000-0000-4000-8000-000000000001","name":"hello","commit":null}],"remove":[{"key":"app","id":"00000000-0000-4000-8000-000000000001"}]}"#,
        );
    }

    #[test]
    fn dyno_event() {
        golden(
            &Up::Event {
                n: 3,
                event: Event::Dyno(DynoChange {
                    dyno: dyno::Id::parse("00000000-0000-4000-8000-000000000002").unwrap(),
                    state: dyno::State::Up,
                    at_us: 5,
                    address: Some("10.201.128.2:5000".parse().unwrap()),
                    network: Some(dyno::Network::Isolated {
                        fallback: Some("no bpf".to_owned()),
                    }),
                    exit_code: None,
                    failure: None,
                }),
            },
            r#"{"up":"event","n":3,"event":{"event":"dyno","dyno":"00000000-0000-4000-8000-000000000002","state":"up","at_us":5,"address":"10.201.128.2:5000","network":{"mode":"isolated","fallback":"no bpf"},"exit_code":null,"failure":null}}"#,
        );
    }

    #[test]
    fn queries_and_replies() {
        let dyno = dyno::Id::parse("00000000-0000-4000-8000-000000000002").unwrap();
        golden(
            &Down::Query {
                n: 4,
                query: Query::Port { dyno },
            },
            r#"{"down":"query","n":4,"query":{"query":"port","dyno":"00000000-0000-4000-8000-000000000002"}}"#,
        );
        let refusal = query::Refusal {
            what: "connect to 10.201.0.4:10001".to_owned(),
            errno: 111,
            count: 2,
        };
        let port = query::Port {
            network: dyno::Network::Central,
            address: "10.201.0.3".parse().unwrap(),
            port: 10_000,
            listening: vec!["10.201.0.3:10000".parse().unwrap()],
            refusals: vec![refusal],
            bytes_in: 1,
            bytes_out: 2,
        };
        golden(
            &Up::Reply {
                n: 4,
                reply: Reply::Port(port),
            },
            r#"{"up":"reply","n":4,"reply":{"reply":"port","network":{"mode":"central"},"address":"10.201.0.3","port":10000,"listening":["10.201.0.3:10000"],"refusals":[{"what":"connect to 10.201.0.4:10001","errno":111,"count":2}],"bytes_in":1,"bytes_out":2}}"#,
        );
        let steps = vec![query::Step {
            name: "cgroup".to_owned(),
            duration_us: 44,
        }];
        golden(
            &Up::Reply {
                n: 5,
                reply: Reply::Start { steps },
            },
            r#"{"up":"reply","n":5,"reply":{"reply":"start","steps":[{"name":"cgroup","duration_us":44}]}}"#,
        );
    }

    #[test]
    fn builds() {
        let build = uuid::Uuid::from_u128(7);
        golden(
            &Item::Build(Pending {
                build,
                app: app().id,
                is_free: true,
            }),
            r#"{"item":"build","build":"00000000-0000-0000-0000-000000000007","app":"00000000-0000-4000-8000-000000000001","is_free":true}"#,
        );
        golden(
            &Source::Archive {
                at: Place::Uploaded { id: build },
                version: Some("v1".to_owned()),
                sha256: None,
            },
            r#"{"source":"archive","at":{"at":"uploaded","id":"00000000-0000-0000-0000-000000000007"},"version":"v1","sha256":null}"#,
        );
    }

    #[test]
    fn answers() {
        golden(
            &Down::Answer {
                n: 1,
                answer: Answer::Access(Access::BadToken),
            },
            r#"{"down":"answer","n":1,"answer":{"answer":"access","access":"bad_token"}}"#,
        );
        golden(
            &Down::Answer {
                n: 2,
                answer: Answer::Refused {
                    message: "no".to_owned(),
                },
            },
            r#"{"down":"answer","n":2,"answer":{"answer":"refused","message":"no"}}"#,
        );
    }
}
