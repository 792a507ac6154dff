//! The control plane: the Platform API, releases, placement, what the other roles are told, logs.
//!
//! It alone opens the store. It runs nothing itself and routes nothing: it writes down what shall
//! be (`records`), tells it to builder, dynod and router over the control socket (`control`), and
//! hears from them what is (`fleet`). A push ends in `control::builds`, goes on in `releases` and
//! `deploy`. People and programs speak to `http`; attached one-offs meet in `rendezvous`.

mod platform;

mod records;
mod seal;
mod vars;

mod accounts;
mod apps;
mod releases;
mod sources;

mod deploy;
mod domains;
mod placement;
mod turns;

mod fleet;
mod route;
mod upkeep;

mod control;
mod feeds;

mod http;
mod rates;

mod follow;
mod log;
mod rendezvous;

mod clock;
mod say;
mod tasks;

#[cfg(test)]
mod tests;

pub use records::RecordsError;
pub use seal::SealError;

use control::Allowed;
use link::authority::{Authority, AuthorityError};
use link::config::Config;
use link::listeners::{self, ListenersError};
use link::stop::Stop;
use platform::Platform;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

/// Background work has so long at the end; what is cut is taken up by the next start.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Why the api does not run.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A listener is missing.
    #[error(transparent)]
    Listeners(#[from] ListenersError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// The records cannot be read or written.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The platform's key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The certificate of attached one-offs.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A folder cannot be made.
    #[error("make {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The system refuses threads, signals or sockets.
    #[error("{doing}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

fn system(doing: &'static str) -> impl FnOnce(std::io::Error) -> ApiError {
    move |source| ApiError::System { doing, source }
}

/// Runs the role until it is asked to stop.
pub fn run(config: &Config) -> Result<(), ApiError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("api")
        .build()
        .map_err(system("start threads"))?;
    runtime.block_on(serve(config))
}

async fn serve(config: &Config) -> Result<(), ApiError> {
    let stop = Stop::on_signals().map_err(system("listen to signals"))?;
    let tls = rendezvous_tls(config)?;
    let platform = Platform::open(config, stop)?;
    rendezvous::clear(&platform).await?;
    deploy::resume(&platform).await?;
    control::await_builder(&platform);
    platform.tasks.spawn(upkeep::run(Arc::clone(&platform)));
    platform.tasks.spawn(sources::upkeep(Arc::clone(&platform)));
    for listener in listeners::unix("control")? {
        let listener = tokio::net::UnixListener::from_std(listener);
        let listener = listener.map_err(system("take the control socket"))?;
        let serving = control::serve(Arc::clone(&platform), listener, Allowed::of_system());
        platform.tasks.spawn(serving);
    }
    for listener in listeners::tcp("rendezvous")? {
        let listener = tokio::net::TcpListener::from_std(listener);
        let listener = listener.map_err(system("take the rendezvous port"))?;
        let serving = rendezvous::serve(Arc::clone(&platform), listener, tls.clone());
        platform.tasks.spawn(serving);
    }
    for listener in listeners::unix("api")? {
        let listener = tokio::net::UnixListener::from_std(listener);
        let listener = listener.map_err(system("take the api's socket"))?;
        platform
            .tasks
            .spawn(http::serve(Arc::clone(&platform), listener));
    }
    tracing::info!(domain = config.domain, "serves");
    platform.stop.requested().await;
    let cut = platform.tasks.finish(STOP_WAIT).await;
    tracing::info!(cut, "stopped");
    Ok(())
}

fn rendezvous_tls(config: &Config) -> Result<TlsAcceptor, ApiError> {
    let folder = config.data_dir.join("authority");
    match std::fs::create_dir(&folder) {
        Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(ApiError::Folder {
                path: folder,
                source,
            });
        }
        _ => {}
    }
    let authority = Authority::open(&folder)?;
    let names = rendezvous::certificate_names(config);
    Ok(TlsAcceptor::from(authority.server_config(&names)?))
}
