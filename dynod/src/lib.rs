//! The role `dynod`: the dynos that shall be become running dynos, on one node.
//!
//! In: orders ([`model::dyno::Want`]) over the feed. Out: states over the feed, lines into the
//! journal. Everything that needs privilege is asked of the nursery. It knows neither git nor
//! builds nor routes. It may be killed at any time: dynos do not notice, and the next one adopts
//! them.

mod node;
mod plan;
mod context;
mod dyno;
mod life;
mod way;
mod seats;
mod command;
mod program;
mod slug;
mod status;
mod watch;
mod output;
mod attach;
mod piped;
mod lines;
mod log;
mod crash;
mod saved;
mod answers;
mod nursery;

use link::config::Config;
use link::stop::Stop;
use model::feed::Role;

/// Why the role cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DynodError {
    /// The runtime or a file of its own failed.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Blobs or shelf cannot be used.
    #[error("open the blobs of this node: {0}")]
    Slugs(String),
}

fn failed(doing: &'static str) -> impl FnOnce(std::io::Error) -> DynodError {
    move |source| DynodError::Io { doing, source }
}

/// Runs until it is asked to stop. Dynos go on.
pub fn run(config: &Config) -> Result<(), DynodError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(failed("start the runtime"))?;
    runtime.block_on(serve(config))
}

async fn serve(config: &Config) -> Result<(), DynodError> {
    let stop = Stop::on_signals().map_err(failed("listen for signals"))?;
    let nursery = nursery::Nursery::new(config.run_dir.join("nursery.sock"));
    let slugs = slug::Slugs::open(config, nursery.clone())
        .map_err(|error| DynodError::Slugs(error.to_string()))?;
    let log =
        log::start(config.data_dir.join("journal/dynod")).map_err(failed("start the journal"))?;
    let watcher = watch::Watcher::new().map_err(failed("make an inotify"))?;
    let watching = tokio::spawn(watcher.clone().run());
    let saved = saved::Saved::open(config.data_dir.join("node/dynod"))
        .map_err(failed("open the saved orders"))?;
    let (feed, queries) = link::feed::connect_and_answer(config, Role::Dynod);
    let mut state = feed.state.clone();
    let ctx = context::Context::new(config, (nursery, slugs, log, watcher, feed));
    let answering = tokio::spawn(answers::serve(ctx.clone(), queries));
    let mut node = node::Node::begin(ctx, saved).map_err(failed("read the orders of this node"))?;
    tokio::pin!(watching, answering);
    loop {
        tokio::select! {
            () = stop.requested() => return Ok(()),
            changed = state.changed() => match changed {
                Ok(()) => {
                    let now = state.borrow_and_update().clone();
                    node.reconcile(&now).await;
                }
                Err(_) => return Ok(()),
            },
            () = node.reap() => {}
            ended = &mut answering => {
                let reason = ended.err().map_or("the feed is gone".to_owned(), |e| e.to_string());
                return Err(failed("answer the api")(std::io::Error::other(reason)));
            }
            ended = &mut watching => {
                let error = match ended {
                    Ok(result) => result.err().unwrap_or_else(|| std::io::ErrorKind::Other.into()),
                    Err(error) => std::io::Error::other(error),
                };
                return Err(failed("wait for status files")(error));
            }
        }
    }
}

/// Unix microseconds now.
fn now_us() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}
