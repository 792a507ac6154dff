//! `/paas/apps/APP/dynos/DYNO/…`: what the node of a dyno knows of it. The node is asked each time;
//! nothing of it is kept here.

use super::auth::Need;
use super::dynos::find;
use super::failure::Failure;
use super::shape::{Ctx, Ref, uuid};
use crate::accounts::Caller;
use crate::platform::Platform;
use crate::records::{App, Want};
use axum::Json;
use axum::extract::{Path, State};
use model::dyno::{Id, Network};
use model::query::{Port, Query, Refusal, Reply, Step};
use nix::errno::Errno;
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use uuid::Uuid;

/// Which dyno, of which app, on which node.
#[derive(Debug, Serialize)]
struct Subject {
    dyno: DynoRef,
    app: Ref,
    node: String,
    release: u64,
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct DynoRef {
    id: Uuid,
    name: String,
}

impl Subject {
    fn of(platform: &Platform, app: &App, want: &Want) -> Self {
        Self {
            dyno: DynoRef {
                id: uuid(&want.dyno),
                name: want.name.to_string(),
            },
            app: Ref::app(app),
            node: want.node.clone(),
            release: want.release.0,
            state: platform.fleet.look(|view| view.state(want.dyno)).word(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct PortAnswer {
    #[serde(flatten)]
    subject: Subject,
    network: Network,
    address: Ipv4Addr,
    port: u16,
    listening: Vec<SocketAddr>,
    refusals: Vec<RefusalAnswer>,
    bytes_in: u64,
    bytes_out: u64,
}

#[derive(Debug, Serialize)]
struct RefusalAnswer {
    what: String,
    errno: i32,
    /// `ECONNREFUSED`
    error: String,
    count: u64,
}

impl From<Refusal> for RefusalAnswer {
    fn from(refusal: Refusal) -> Self {
        Self {
            what: refusal.what,
            errno: refusal.errno,
            error: format!("{:?}", Errno::from_raw(refusal.errno)),
            count: refusal.count,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct StartAnswer {
    #[serde(flatten)]
    subject: Subject,
    steps: Vec<Step>,
}

/// `GET /paas/apps/APP/dynos/NAME_OR_ID/port`
pub(super) async fn port(
    State(platform): Ctx,
    caller: Caller,
    Path((app, dyno)): Path<(String, String)>,
) -> Result<Json<PortAnswer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let want = find(&platform, &app, &dyno)?;
    match ask(&platform, &want, |dyno| Query::Port { dyno }).await? {
        Reply::Port(port) => {
            let subject = Subject::of(&platform, &app, &want);
            Ok(Json(port_answer(subject, port)))
        }
        other => Err(not_answered(&want, other)),
    }
}

fn port_answer(subject: Subject, port: Port) -> PortAnswer {
    PortAnswer {
        subject,
        network: port.network,
        address: port.address,
        port: port.port,
        listening: port.listening,
        refusals: port.refusals.into_iter().map(Into::into).collect(),
        bytes_in: port.bytes_in,
        bytes_out: port.bytes_out,
    }
}

/// `GET /paas/apps/APP/dynos/NAME_OR_ID/start`
pub(super) async fn start(
    State(platform): Ctx,
    caller: Caller,
    Path((app, dyno)): Path<(String, String)>,
) -> Result<Json<StartAnswer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let want = find(&platform, &app, &dyno)?;
    match ask(&platform, &want, |dyno| Query::Start { dyno }).await? {
        Reply::Start { steps } => {
            let subject = Subject::of(&platform, &app, &want);
            Ok(Json(StartAnswer { subject, steps }))
        }
        other => Err(not_answered(&want, other)),
    }
}

async fn ask(
    platform: &Arc<Platform>,
    want: &Want,
    query: impl FnOnce(Id) -> Query,
) -> Result<Reply, Failure> {
    let asked = platform.feeds.ask(&want.node, query(want.dyno)).await;
    asked.map_err(|silence| {
        let node = &want.node;
        Failure::unavailable(format!("The node {node} cannot be asked: {silence}."))
    })
}

/// A node says why there is no answer; another answer than the one asked for is our fault.
fn not_answered(want: &Want, reply: Reply) -> Failure {
    match reply {
        Reply::None { message } => Failure::conflict(format!("{}: {message}.", want.name)),
        other => {
            tracing::error!(?other, "a node answered what was not asked");
            Failure::internal()
        }
    }
}
