//! The role `router`: a request -> a dyno.
//!
//! One process, a thread a core; a connection lives and dies on the thread that accepted it. The
//! table of routes follows the api's feed and has a copy on disk, so requests are routed while the
//! api is away. Each rule of HTTP is a pure function (`rules`, `headers`, `balance`); hyper speaks
//! on both sides for now. It knows hosts and endpoints, never releases.

mod client;
mod deliver;
mod exchange;
mod listen;
mod platform;
mod tunnel;

pub mod headers;
pub mod rules;

pub mod balance;
pub mod route;
pub mod table;

pub mod access;
mod activity;
mod answer;
mod body;
pub mod error;
mod ledger;
mod page;
mod pool;
mod wire;

mod feed;
pub mod server;
pub mod timers;
mod worker;

pub use worker::Platform;

use link::config::Config;
use server::{Server, ServerError};

/// Why the router does not run.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// `paas up` handed no listeners over.
    #[error("take its listeners")]
    Listeners(#[from] link::listeners::ListenersError),
    /// The system refused.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The threads that serve do not start.
    #[error("serve")]
    Server(#[from] ServerError),
}

/// Runs the router until it is asked to stop, then drains.
pub fn run(config: &Config) -> Result<(), RouterError> {
    let io = |doing| move |source| RouterError::Io { doing, source };
    let folder = config.data_dir.join("node/router");
    std::fs::create_dir_all(&folder).map_err(io("make its folder"))?;
    let copy = folder.join("table.json");
    let table = table::Table::default();
    if let Err(error) = table.load(&copy) {
        // The api tells it all again; a broken copy must not keep the router down.
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "no routes from disk"
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io("make its runtime"))?;
    let journal = config.data_dir.join("journal/router");
    std::fs::create_dir_all(&journal).map_err(io("make its journal"))?;
    runtime.block_on(async {
        let stop = link::stop::Stop::on_signals().map_err(io("listen to signals"))?;
        let server = Server {
            http: link::listeners::tcp("http")?,
            loopback: link::listeners::tcp("loopback")?,
            table: std::sync::Arc::new(table),
            platform: Platform {
                domain: config.domain.clone(),
                api_socket: config.run_dir.join("api.sock"),
                git_socket: config.run_dir.join("git.sock"),
            },
            journal,
            threads: config.router.threads,
            timers: timers::Timers::default(),
            stop,
        };
        let table = std::sync::Arc::clone(&server.table);
        let feed = link::feed::connect(config, model::feed::Role::Router);
        feed::first_word(&feed, &table).await;
        let running = server.start()?;
        let follow = feed::Follow {
            feed,
            table,
            copy,
            log: running.log(),
        };
        tokio::select! {
            () = follow.run() => {}
            () = running.stopped() => {}
        }
        running.join().await;
        Ok(())
    })
}
