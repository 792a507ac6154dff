//! `/paas/apps/APP/image`: the image of an app as an archive that other tools read.

use super::auth::Need;
use super::failure::Failure;
use super::shape::Ctx;
use crate::accounts::Caller;
use crate::platform::Platform;
use crate::records::App;
use artifact::Blobs;
use artifact::image::layout::{self, Part};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::stream::unfold;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use model::digest::Digest;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::OwnedSemaphorePermit;

/// Bytes of one piece of a download.
const PIECE_BYTES: usize = 256 * 1024;

/// `GET /paas/apps/APP/image`: the image that serves, as an OCI layout in a tar.
pub(super) async fn export(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Response, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let (manifest, name) = current(&platform, &app)?;
    let reader = Arc::clone(&platform.readers).try_acquire_owned();
    let reader = reader.map_err(|_| {
        Failure::unavailable("Too many images and outputs are being read. Try again.")
    })?;
    let folder = platform.config.data_dir.join("blobs");
    let opened = tokio::task::spawn_blocking(move || {
        let blobs = Blobs::reading(&folder);
        let image = artifact::image::load(&blobs, manifest)?;
        let size_bytes = blobs.size_bytes(&manifest)?;
        let parts = layout::archive(&image, size_bytes, &name);
        Ok::<_, artifact::image::ImageError>((blobs, parts))
    });
    let opened = opened.await.map_err(|error| broken(&error))?;
    let (blobs, parts) = opened.map_err(|error| broken(&error))?;
    let size_bytes: u64 = parts.iter().map(Part::size_bytes).sum();
    let sending = Sending {
        blobs,
        parts: parts.into(),
        open: None,
        _reader: reader,
    };
    let pieces = unfold(sending, |mut sending| async {
        let piece = sending.next().await.transpose()?;
        Some((piece, sending))
    });
    Response::builder()
        .header(CONTENT_TYPE, "application/x-tar")
        .header(CONTENT_LENGTH, size_bytes)
        .body(Body::from_stream(pieces))
        .map_err(|_| Failure::internal())
}

/// The manifest of the release that serves, and its name.
fn current(platform: &Platform, app: &App) -> Result<(Digest, String), Failure> {
    let nothing = || Failure::invalid(format!("{} has no release with an image yet.", app.name));
    let release = platform.records.release(app.id, app.current)?;
    let release = release.ok_or_else(nothing)?;
    let slug = release.slug.ok_or_else(nothing)?;
    let slug = platform.records.slug(app.id, slug)?.ok_or_else(nothing)?;
    let number = release.number;
    if slug.manifest.image.is_none() {
        return Err(Failure::invalid(format!(
            "{number} of {} is a slug and no image. To build images: paas stack:set container",
            app.name
        )));
    }
    Ok((slug.manifest.app.digest, number.to_string()))
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Failure {
    crate::say::failed("read an image", error);
    Failure::internal()
}

/// An archive on its way.
struct Sending {
    blobs: Blobs,
    parts: VecDeque<Part>,
    open: Option<File>,
    _reader: OwnedSemaphorePermit,
}

impl Sending {
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(file) = &mut self.open {
                let mut piece = vec![0; PIECE_BYTES];
                let count = file.read(&mut piece).await?;
                if count > 0 {
                    piece.truncate(count);
                    return Ok(Some(piece));
                }
                self.open = None;
            }
            match self.parts.pop_front() {
                None => return Ok(None),
                Some(Part::Bytes(bytes)) if bytes.is_empty() => {}
                Some(Part::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(Part::Blob { digest, .. }) => {
                    self.open = Some(File::open(self.blobs.path(&digest)).await?);
                }
            }
        }
    }
}
