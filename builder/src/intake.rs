//! git's smart HTTP protocol (gitprotocol-http(5)) on `/APP.git/…`: who may, then git in a job.
//!
//! Bodies stream both ways with the job's own back-pressure. A push to a name that is free is shown
//! an empty repository and makes the app when its objects come.

mod access;
mod answers;
pub(crate) mod body;
pub(crate) mod client;

use crate::git_job::{self, Act, Service};
use crate::hook::packet;
use crate::jobs::{self, JobError};
use crate::push::{self, Push};
use crate::repository;
use crate::site::Site;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use body::Incoming;
use client::Client;
use model::feed::{Access, App};
use model::limits::{DISK_FREE_MIN_BYTES, GIT_JOBS_AT_ONCE};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Bytes of one piece of an answer.
const CHUNK_BYTES: usize = 32 * 1024;
/// Bytes of a `Git-Protocol` header.
const PROTOCOL_MAX_BYTES: usize = 256;
/// Bytes of git's own complaints that are kept.
const ERRORS_MAX_BYTES: u64 = 16 * 1024;

/// What handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    site: Arc<Site>,
    /// Pushes and fetches under way.
    tasks: Arc<Mutex<JoinSet<()>>>,
    /// One for each git program.
    permits: Arc<Semaphore>,
}

impl Intake {
    /// The intake of a site.
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Self {
            site,
            tasks: Arc::default(),
            permits: Arc::new(Semaphore::new(GIT_JOBS_AT_ONCE)),
        }
    }

    /// All routes.
    pub(crate) fn routes(&self) -> Router {
        Router::new()
            .route("/{repo}/info/refs", get(advertise))
            .route("/{repo}/git-receive-pack", post(receive))
            .route("/{repo}/git-upload-pack", post(upload))
            .fallback(nothing)
            .with_state(self.clone())
    }

    /// What is under way, to be waited for; nothing may come after.
    pub(crate) fn take_tasks(&self) -> JoinSet<()> {
        std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for its turn to start a git program; the client that waits may go at any time.
    async fn permit(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

#[derive(serde::Deserialize)]
struct Wanted {
    service: Option<String>,
}

async fn nothing() -> Response {
    answers::not_found("there is nothing here; the address of a repository is …/APP.git")
}

async fn advertise(
    State(intake): State<Intake>,
    Path(repo): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let Some(service) = wanted.service.as_deref().and_then(Service::parse) else {
        return answers::bad_request("only git's smart protocol is spoken here");
    };
    let site = &intake.site;
    let (access, name, _) = match access::check(site, &repo, &headers).await {
        Ok(checked) => checked,
        Err(response) => return response,
    };
    if let Some(refusal) = full_disk(site, service) {
        return refusal;
    }
    let folder = match (access, service) {
        (Access::Granted { app, .. }, _) => match site.repositories.ensure(app.id) {
            Ok(()) => repository::folder(app.id),
            Err(error) => return answers::broken(&error),
        },
        (_, Service::ReceivePack) => "empty.git".to_owned(),
        (_, Service::UploadPack) => return no_app(&name),
    };
    let _permit = intake.permit().await;
    match advertisement(site, service, &folder, protocol(&headers)).await {
        Ok(body) => {
            let content_type = format!("application/x-{}-advertisement", service.name());
            answers::git(content_type, Body::from(body))
        }
        Err(error) => answers::failed(&error),
    }
}

/// A push needs room before git can say anything.
fn full_disk(site: &Site, service: Service) -> Option<Response> {
    let free_bytes = artifact::disk::free_bytes(&site.config.data_dir);
    let is_full = free_bytes.is_ok_and(|free_bytes| free_bytes < DISK_FREE_MIN_BYTES);
    (is_full && service == Service::ReceivePack).then(answers::full_disk)
}

fn no_app(name: &model::app::Name) -> Response {
    answers::not_found(&format!(
        "there is no app {name}; make it with: paas create {name}, or push to it"
    ))
}

async fn advertisement(
    site: &Site,
    service: Service,
    folder: &str,
    protocol: Option<&str>,
) -> Result<Vec<u8>, JobError> {
    let (spec, secrets) = git_job::git(site, (service, Act::Advertise), folder, protocol);
    let done = site.jobs.collect(spec, secrets).await?;
    done.check()?;
    let mut body = Vec::new();
    // Version 2 names itself; a push knows no version 2.
    let is_two = protocol.is_some_and(|text| text.split(':').any(|word| word == "version=2"));
    if !is_two || service == Service::ReceivePack {
        let line = format!("# service={}\n", service.name());
        packet::write(&mut body, line.as_bytes()).map_err(std::io::Error::other)?;
        packet::flush(&mut body).map_err(std::io::Error::other)?;
    }
    body.extend_from_slice(&done.stdout);
    Ok(body)
}

async fn receive(
    State(intake): State<Intake>,
    Path(repo): Path<String>,
    request: Request,
) -> Response {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let site = &intake.site;
    let (access, name, token) = match access::check(site, &repo, &parts.headers).await {
        Ok(checked) => checked,
        Err(response) => return response,
    };
    let Some(body) = incoming(&parts.headers, body) else {
        return answers::bad_request("this Content-Encoding is not understood; gzip is");
    };
    let (account, app, is_new) = match access {
        Access::Granted { account, app, .. } => (account, app, false),
        Access::Free { account, .. } => {
            match site.api.create_app(token, name.as_str().to_owned()).await {
                Ok(app) => (account, app, true),
                Err(error) => return answers::unavailable(&error),
            }
        }
        Access::NoApp { .. } | Access::BadToken => return no_app(&name),
    };
    let push = Push {
        app,
        is_new,
        account,
        arrived,
    };
    if let Err(error) = site.repositories.ensure(push.app.id) {
        return answers::broken(&error);
    }
    let permit = intake.permit().await;
    let receiving = match push::begin(site, &push, protocol(&parts.headers)).await {
        Ok(receiving) => receiving,
        Err(error) => return answers::failed(&error),
    };
    let (answer, driven) = receiving.split();
    let (client, gone) = Client::new();
    let driving = push::drive(Arc::clone(site), push, driven, body, gone);
    intake.spawn(async move {
        driving.await;
        drop(permit);
    });
    result(Service::ReceivePack, answer, client)
}

async fn upload(
    State(intake): State<Intake>,
    Path(repo): Path<String>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let site = &intake.site;
    let (access, name, _) = match access::check(site, &repo, &parts.headers).await {
        Ok(checked) => checked,
        Err(response) => return response,
    };
    let Access::Granted { app, .. } = access else {
        return no_app(&name);
    };
    let Some(body) = incoming(&parts.headers, body) else {
        return answers::bad_request("this Content-Encoding is not understood; gzip is");
    };
    match fetch(&intake, &app, protocol(&parts.headers), body).await {
        Ok(response) => response,
        Err(error) => answers::failed(&error),
    }
}

async fn fetch(
    intake: &Intake,
    app: &App,
    protocol: Option<&str>,
    body: Incoming,
) -> Result<Response, JobError> {
    let site = &intake.site;
    site.repositories
        .ensure(app.id)
        .map_err(std::io::Error::other)?;
    let (input, stdin) = jobs::input_pipe()?;
    let (answer, stdout) = jobs::output_pipe()?;
    let (errors, stderr) = jobs::output_pipe()?;
    let what = (Service::UploadPack, Act::Exchange);
    let folder = repository::folder(app.id);
    let (spec, secrets) = git_job::git(site, what, &folder, protocol);
    let unused = OwnedFd::from(File::open("/dev/null")?);
    let permit = intake.permit().await;
    let job = site
        .jobs
        .start(spec, secrets, vec![stdin, stdout, stderr, unused])
        .await?;
    let (client, gone) = Client::new();
    let name = app.name.clone();
    intake.spawn(async move {
        let work = async {
            tokio::join!(
                body.pump(input),
                jobs::read_bounded(errors, ERRORS_MAX_BYTES),
                job.ended()
            )
        };
        // Dropping `work` kills the job.
        tokio::select! {
            (_, errors, ended) = work => {
                let errors = String::from_utf8_lossy(&errors.unwrap_or_default()).into_owned();
                tracing::debug!(app.name = %name, ?ended, errors = errors.trim(), "fetch ended");
            }
            () = gone.wait() => tracing::debug!(app.name = %name, "fetch cut"),
        }
        drop(permit);
    });
    Ok(result(Service::UploadPack, answer, client))
}

/// git's answer as it comes, to its end or as long as the client is there.
fn result(service: Service, answer: pipe::Receiver, client: Client) -> Response {
    let pieces = futures_util::stream::unfold((answer, client), |(mut answer, client)| async {
        let mut piece = vec![0; CHUNK_BYTES];
        match answer.read(&mut piece).await {
            Ok(0) => {
                client.has_all();
                None
            }
            Ok(count) => {
                piece.truncate(count);
                Some((Ok(Bytes::from(piece)), (answer, client)))
            }
            Err(error) => Some((Err(error), (answer, client))),
        }
    });
    let content_type = format!("application/x-{}-result", service.name());
    answers::git(content_type, Body::from_stream(pieces)).into_response()
}

fn incoming(headers: &HeaderMap, body: Body) -> Option<Incoming> {
    let encoding = headers.get(CONTENT_ENCODING).map(|value| value.to_str());
    match encoding {
        None => Incoming::new(body, None),
        Some(Ok(encoding)) => Incoming::new(body, Some(encoding)),
        Some(Err(_)) => None,
    }
}

fn protocol(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("git-protocol")?.to_str().ok()?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b":=-".contains(&b);
    (value.len() <= PROTOCOL_MAX_BYTES && value.bytes().all(is_plain)).then_some(value)
}
