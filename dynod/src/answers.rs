//! Answers to what the api asks about a dyno of this node. Each is a task of its own, so that
//! nothing waits for it.

use crate::command;
use crate::context::{Context, Run};
use link::feed::Queries;
use model::dyno::{Id, Network};
use model::limits::QUERY_TIMEOUT_MS;
use model::query::{Port, Query, Refusal, Reply, Step};
use sandbox::PortReport;
use std::time::Duration;
use tokio::task::JoinSet;

/// The nursery answers within a millisecond; it may be away.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(500);

/// Answers until the feed is gone. At most [`model::limits::QUERIES_MAX`] tasks: the feed takes no
/// more questions at a time.
pub(crate) async fn serve(ctx: Context, mut queries: Queries) {
    let mut tasks = JoinSet::new();
    while let Some(asked) = queries.next().await {
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "the answer to a question failed");
            }
        }
        let ctx = ctx.clone();
        tasks.spawn(async move {
            let reply = answer(&ctx, asked.query).await;
            asked.answer(reply);
        });
    }
}

async fn answer(ctx: &Context, query: Query) -> Reply {
    let (Query::Port { dyno } | Query::Start { dyno }) = query;
    match (ctx.run_of(dyno), query) {
        (None, _) => none("it does not run"),
        (Some(Run::Ended { port, .. }), Query::Port { .. }) => port,
        (Some(Run::Ended { start, .. }), Query::Start { .. }) => start,
        (Some(run @ Run::Known { .. }), _) => {
            let wait = Duration::from_millis(QUERY_TIMEOUT_MS);
            let reply = match tokio::time::timeout(wait, ask(ctx, &run, query)).await {
                Ok(reply) => reply,
                Err(_) => none("the nursery of its node does not answer"),
            };
            still(ctx, dyno, &run, reply)
        }
    }
}

/// What was read of a slot is the dyno's only if the dyno has the slot still.
fn still(ctx: &Context, dyno: Id, run: &Run, reply: Reply) -> Reply {
    match ctx.run_of(dyno) {
        Some(now) if now == *run => reply,
        Some(Run::Ended { .. }) => none("it has just ended"),
        _ => none("it is being started"),
    }
}

/// What there is to say of a run that ends, before its slot is given away. An end is not held up
/// for it.
pub(crate) async fn last_words(ctx: &Context, dyno: Id) -> Option<Run> {
    let run = ctx.run_of(dyno)?;
    let words = async {
        Run::Ended {
            port: ask(ctx, &run, Query::Port { dyno }).await,
            start: ask(ctx, &run, Query::Start { dyno }).await,
        }
    };
    let ended = || Run::Ended {
        port: none("it has ended"),
        start: none("it has ended"),
    };
    let said = tokio::time::timeout(LAST_WORDS_TIMEOUT, words).await;
    Some(said.unwrap_or_else(|_| ended()))
}

async fn ask(ctx: &Context, run: &Run, query: Query) -> Reply {
    let Run::Known { slot, network } = run else {
        return none("it does not run");
    };
    let id = command::sandbox_id(*slot);
    let answered = match query {
        Query::Port { .. } => {
            let report = ctx.nursery.port(&id).await;
            report.map(|report| port(network.clone(), report))
        }
        Query::Start { .. } => ctx.nursery.start_steps(&id).await.map(start),
    };
    answered.unwrap_or_else(|error| match error {
        sandbox::Error::Unknown(_) => none("it does not run"),
        sandbox::Error::Refused(reason) => none(&reason),
        error => {
            tracing::warn!(%error, dyno.slot = slot, "failed to ask about a dyno");
            none("the nursery of its node does not answer")
        }
    })
}

fn port(network: Network, report: PortReport) -> Reply {
    let refusals = report.refusals.into_iter().map(|refusal| Refusal {
        what: refusal.what,
        errno: refusal.errno,
        count: refusal.count,
    });
    Reply::Port(Port {
        network,
        address: report.address,
        port: report.port,
        listening: report.listening,
        refusals: refusals.collect(),
        bytes_in: report.bytes_in,
        bytes_out: report.bytes_out,
    })
}

fn start(steps: Vec<(String, u32)>) -> Reply {
    let steps = steps.into_iter();
    Reply::Start {
        steps: steps
            .map(|(name, duration_us)| Step { name, duration_us })
            .collect(),
    }
}

fn none(message: &str) -> Reply {
    Reply::None {
        message: message.to_owned(),
    }
}
