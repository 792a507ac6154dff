//! Outputs of builds and release phases: plain text from the first byte, live to the end, behind an
//! address that nobody can guess.

use super::failure::Failure;
use super::shape::Ctx;
use crate::follow::Bytes;
use crate::platform::Platform;
use crate::records::App;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::stream::unfold;
use http::header::CONTENT_TYPE;
use model::app;
use model::release::{Number, Status};
use std::convert::Infallible;
use std::path::Path as FilePath;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

/// The address of a release phase's output.
pub(super) fn release_url(platform: &Platform, app: &App, number: Number) -> String {
    url(platform, &format!("releases/{}/{}", app.id, number.0))
}

/// The address of a build's output.
pub(super) fn build_url(platform: &Platform, app: &App, build: Uuid) -> String {
    url(platform, &format!("builds/{}/{build}", app.id))
}

fn url(platform: &Platform, path: &str) -> String {
    let signature = platform.keyring.sign(path);
    format!("{}/streams/{path}/{signature}", platform.config.api_url())
}

fn gone() -> Failure {
    Failure::not_found("There is no such output.")
}

fn app(platform: &Platform, id: &str) -> Result<App, Failure> {
    let id = app::Id::parse(id).ok_or_else(gone)?;
    platform.records.app(id)?.ok_or_else(gone)
}

/// `GET /streams/releases/APP/N/SIGNATURE`
pub(super) async fn release(
    State(platform): Ctx,
    Path((app_id, number, signature)): Path<(String, u64, String)>,
) -> Result<Response, Failure> {
    let path = format!("releases/{app_id}/{number}");
    if !platform.keyring.is_signed(&path, &signature) {
        return Err(gone());
    }
    let app = app(&platform, &app_id)?;
    let number = Number(number);
    let release = platform.records.release(app.id, number)?.ok_or_else(gone)?;
    let file = platform.log.release_output(app.id, number);
    let until = Until::Release(app.id, number);
    stream(platform, &file, release.status == Status::Pending, until)
}

/// `GET /streams/builds/APP/ID/SIGNATURE`
pub(super) async fn build(
    State(platform): Ctx,
    Path((app_id, build, signature)): Path<(String, Uuid, String)>,
) -> Result<Response, Failure> {
    let path = format!("builds/{app_id}/{build}");
    if !platform.keyring.is_signed(&path, &signature) {
        return Err(gone());
    }
    let app = app(&platform, &app_id)?;
    let record = platform.records.build(app.id, build)?.ok_or_else(gone)?;
    let file = platform.log.build_output(app.id, build);
    stream(platform, &file, record.state.is_pending(), Until::File)
}

/// When the body ends: readers look at the release right after.
enum Until {
    File,
    Release(app::Id, Number),
}

struct Reading {
    bytes: Option<Bytes>,
    until: Until,
    platform: Arc<Platform>,
    _reader: OwnedSemaphorePermit,
}

fn stream(
    platform: Arc<Platform>,
    file: &FilePath,
    is_live: bool,
    until: Until,
) -> Result<Response, Failure> {
    let reader = Arc::clone(&platform.readers).try_acquire_owned();
    let reader = reader.map_err(|_| {
        Failure::unavailable("Too many outputs are being read. Close one and try again.")
    })?;
    // What has ended without a file had nothing to say.
    let bytes = if is_live || file.exists() {
        let opened = Bytes::open(file).map_err(|error| {
            crate::say::failed("read an output", &error);
            Failure::internal()
        });
        Some(opened?)
    } else {
        None
    };
    let reading = Reading {
        bytes,
        until,
        platform,
        _reader: reader,
    };
    let body = unfold(reading, |mut reading| async move {
        let bytes = reading.next().await?;
        Some((Ok::<_, Infallible>(bytes), reading))
    });
    Response::builder()
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Body::from_stream(body))
        .map_err(|_| Failure::internal())
}

impl Reading {
    async fn next(&mut self) -> Option<bytes::Bytes> {
        let platform = Arc::clone(&self.platform);
        let bytes = self.bytes.as_mut()?;
        let read = tokio::select! {
            read = bytes.next() => read,
            () = platform.stop.requested() => return None,
        };
        match read {
            Ok(read) if !read.is_empty() => Some(read.into()),
            Ok(_) => {
                self.wait_for_release().await;
                None
            }
            Err(error) => {
                crate::say::failed("read an output", &error);
                None
            }
        }
    }

    async fn wait_for_release(&self) {
        let Until::Release(app, number) = self.until else {
            return;
        };
        let running = self.platform.deploys.of(app);
        if let Some(running) = running.filter(|running| running.release == number) {
            tokio::select! {
                _ = running.outcome() => {}
                () = self.platform.stop.requested() => {}
            }
        }
    }
}
