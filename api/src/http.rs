//! The Platform API over HTTP: docs/platform-api.md. `protocol` is what all endpoints have in
//! common, `routes` lists them, each family has its file.

pub(crate) mod failure;
mod protocol;
mod range;
mod routes;

mod auth;
mod body;
mod shape;

mod account;
mod apps;
mod authorizations;
mod buildpacks;
mod builds;
mod collaborators;
mod config_vars;
mod domains;
mod dynos;
mod formation;
mod images;
mod inspect;
mod log_sessions;
mod outputs;
mod releases;
mod slugs;
mod sources;
mod stacks;
mod status;
mod unbuilt;

use crate::platform::Platform;
use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use model::limits::API_CONNECTIONS_MAX;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

/// How long a request's head may take; the router has read it whole before.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// When the api stops, requests under way have so long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Who has connected just before the end may have a request on its way; hyper, asked to end, closes
/// such a connection without an answer. Ours: a router writes at once.
const FIRST_WORD: Duration = Duration::from_millis(100);

/// The API as a service; also what the tests call.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    platform: Arc<Platform>,
    router: Router,
}

impl Api {
    pub(crate) fn new(platform: Arc<Platform>) -> Self {
        let router = routes::all(Arc::clone(&platform));
        Self { platform, router }
    }

    /// Answers one request; never fails: what goes wrong is an answer, too.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        protocol::answer(&self.platform, &self.router, request).await
    }
}

/// Serves the socket until the platform stops; then requests under way are finished.
pub(crate) async fn serve(platform: Arc<Platform>, listener: UnixListener) {
    let api = Api::new(Arc::clone(&platform));
    let places = Arc::new(Semaphore::new(API_CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = tokio::select! {
            () = platform.stop.requested() => break,
            accepted = async { (place.await, listener.accept().await) } => accepted,
        };
        let (place, stream) = match accepted {
            (Ok(place), Ok((stream, _))) => (place, stream),
            (_, Err(error)) => {
                crate::say::failed("accept a connection", &error);
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            (Err(_), _) => break,
        };
        let api = api.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request.map(Body::new)).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        platform.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
            drop(place);
        });
    }
    tokio::time::sleep(FIRST_WORD).await;
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::info!("requests under way were cut at the end");
    }
}
