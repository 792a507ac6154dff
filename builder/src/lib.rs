//! The role `builder`: takes pushes, builds them, and asks the api for their release.
//!
//! The way of a push: `intake` speaks git over HTTP and starts git's receive-pack in a job; its
//! `hook` asks `push`, which decides by `policy` and `queue`; `deploy` tells the story from there,
//! `build` the part up to the slug. What the API is asked to build comes through `orders`. Every
//! line goes through `output`. What runs inside jobs is `jail`.

mod intake;

mod push;
mod orders;

mod policy;
mod queue;

mod deploy;

mod build;
mod image;
mod plan;

mod output;

pub mod hook;
pub mod jail;

mod api;
mod git_job;
mod jobs;
mod repository;
mod site;
mod tidy;
mod upkeep;

#[cfg(test)]
#[path = "../../tests/unit/scratch.rs"]
mod scratch;

use artifact::shelf::Leftovers;
use artifact::{Blobs, Names, Shelf};
use intake::Intake;
use link::config::Config;
use link::stop::Stop;
use model::feed::Role;
use model::limits;
use site::Site;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// How long pushes may go on after the stop was asked for.
const DRAIN: Duration = Duration::from_secs(20);
/// How long they then have to tell their pushers; together it is less than the supervisor waits
/// (`limits::ROLE_STOP_TIMEOUT_MS`).
const CLOSE: Duration = Duration::from_secs(5);

/// Why the role cannot run.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    /// There is no runtime, or no signal can be heard.
    #[error("start")]
    Start(#[source] std::io::Error),
    /// `paas up` gave no listener.
    #[error("listen for git")]
    Listen(#[from] link::listeners::ListenersError),
    /// The data folder cannot be used.
    #[error("open the data folder")]
    Data(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The listener broke.
    #[error("serve git")]
    Serve(#[source] std::io::Error),
}

/// Runs the role until it is told to stop; pushes that are under way then have 25 s.
pub fn run(config: &Config) -> Result<(), BuilderError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(BuilderError::Start)?;
    runtime.block_on(serve(config))
}

async fn serve(config: &Config) -> Result<(), BuilderError> {
    let stop = Stop::on_signals().map_err(BuilderError::Start)?;
    let listeners = link::listeners::unix("git")?;
    let (closing, close) = Stop::by_hand();
    let (site, leftovers) = open(config, closing)?;
    let site = Arc::new(site);
    tokio::spawn(tidy::shelf(Arc::clone(&site), leftovers));
    let intake = Intake::new(Arc::clone(&site));
    let upkeep = tokio::spawn(upkeep::run(Arc::clone(&site), stop.clone()));
    let orders = tokio::spawn(orders::run(Arc::clone(&site), stop.clone()));

    let mut servers = JoinSet::new();
    for listener in listeners {
        let listener = UnixListener::from_std(listener).map_err(BuilderError::Serve)?;
        let stopped = stop.clone();
        let server = axum::serve(listener, intake.routes())
            .with_graceful_shutdown(async move { stopped.requested().await });
        servers.spawn(server.into_future());
    }
    tracing::info!(node = config.node, "takes pushes");
    stop.requested().await;
    let mut end = std::pin::pin!(async {
        while let Some(served) = servers.join_next().await {
            if let Ok(Err(error)) = served {
                tracing::error!(%error, "git was not served to the end");
            }
        }
        let mut tasks = intake.take_tasks();
        while tasks.join_next().await.is_some() {}
        if let Err(error) = orders.await {
            tracing::error!(%error, "orders ended badly");
        }
    });
    if tokio::time::timeout(DRAIN, &mut end).await.is_err() {
        close.stop();
        if tokio::time::timeout(CLOSE, &mut end).await.is_err() {
            // Their jobs die with our ends of their lifelines, and no ref has moved.
            tracing::warn!("pushes were cut by the stop");
        }
    }
    if let Err(error) = upkeep.await {
        tracing::error!(%error, "upkeep ended badly");
    }
    Ok(())
}

fn open(config: &Config, closing: Stop) -> Result<(Site, Leftovers), BuilderError> {
    let data = |error: Box<dyn std::error::Error + Send + Sync>| BuilderError::Data(error);
    let dir = &config.data_dir;
    let (shelf, leftovers) = Shelf::open(&dir.join("shelf")).map_err(|e| data(e.into()))?;
    let site = Site {
        config: config.clone(),
        jobs: jobs::Jobs::new(&config.run_dir.join("nursery.sock")),
        api: api::Api {
            feed: link::feed::connect(config, Role::Builder),
            phase: Duration::from_secs(config.limits.release_phase_s),
        },
        repositories: repository::Repositories::open(dir).map_err(|e| data(e.into()))?,
        caches: build::cache::Caches::open(dir.join("cache")).map_err(|e| data(e.into()))?,
        blobs: Blobs::open(&dir.join("blobs")).map_err(|e| data(e.into()))?,
        shelf,
        layers: Names::open(&dir.join("layers")).map_err(|e| data(e.into()))?,
        outputs: output::kept::Outputs::open(dir.join("journal/builder"))
            .map_err(|e| data(e.into()))?,
        queue: queue::Queue::new(limits::BUILDS_AT_ONCE),
        closing,
    };
    Ok((site, leftovers))
}

/// An error with all its causes, for the log.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}
