//! `/sources`: where to upload what shall be built, and the upload itself.

use super::auth::Need;
use super::failure::Failure;
use super::shape::{Ctx, created};
use crate::accounts::Caller;
use crate::clock::now_us;
use crate::platform::Platform;
use crate::sources::{self, Act, PART};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use model::limits::{SOURCE_MAX_BYTES, SOURCE_SILENCE_MS, SOURCES_MAX_BYTES};
use serde_json::{Value, json};
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

/// Bytes of one piece of a download.
const PIECE_BYTES: usize = 64 * 1024;

/// `POST /sources`
pub(super) async fn create(State(platform): Ctx, caller: Caller) -> Result<Response, Failure> {
    caller.needs(Need::Write)?;
    Ok(addresses(&platform))
}

/// `POST /apps/APP/sources`
pub(super) async fn create_for_app(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Response, Failure> {
    caller.app(&platform, &app, Need::Write)?;
    Ok(addresses(&platform))
}

fn addresses(platform: &Platform) -> Response {
    let id = Uuid::new_v4();
    let address = |act| sources::address(platform, act, id);
    created(json!({
        "source_blob": {"get_url": address(Act::Get), "put_url": address(Act::Put)}
    }))
}

/// What an address says.
type Claim = (String, Uuid, u64, String);

/// The file of an address that is ours and whose time is not over.
fn file(platform: &Platform, claim: Claim, wanted: Act) -> Result<PathBuf, Failure> {
    let gone = || Failure::not_found("There is no such source, or its address is too old.");
    let (act, id, until_s, signature) = claim;
    let act = Act::parse(&act).ok_or_else(gone)?;
    let is_good = act == wanted
        && sources::is_ours(platform, (act, id, until_s), &signature)
        && now_us() / 1_000_000 <= until_s;
    if !is_good {
        return Err(gone());
    }
    Ok(sources::folder(&platform.config).join(id.to_string()))
}

/// `PUT` to a `put_url`: any type, again replaces.
pub(super) async fn upload(
    State(platform): Ctx,
    Path(claim): Path<Claim>,
    body: Body,
) -> Result<Json<Value>, Failure> {
    let file = file(&platform, claim, Act::Put)?;
    let held = sources::size_bytes(&platform.config).map_err(|error| disk(&error))?;
    let room = SOURCES_MAX_BYTES.saturating_sub(held);
    if room < SOURCE_MAX_BYTES {
        return Err(Failure::unavailable(
            "The platform holds as many uploaded sources as it may. The oldest go after a day.",
        ));
    }
    let part = file.with_extension(format!("{}{PART}", Uuid::new_v4()));
    let taken = take(body, &part).await;
    let taken = match taken {
        Ok(()) => fs::rename(&part, &file).await.map_err(|error| disk(&error)),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = taken {
        // What is left goes with the next sweep.
        fs::remove_file(&part).await.ok();
        return Err(failure);
    }
    Ok(Json(json!({})))
}

async fn take(body: Body, part: &FilePath) -> Result<(), Failure> {
    let mut file = new(part).await.map_err(|error| disk(&error))?;
    let mut stream = body.into_data_stream();
    let mut size_bytes = 0;
    let silence = Duration::from_millis(SOURCE_SILENCE_MS);
    loop {
        let next = tokio::time::timeout(silence, stream.next()).await;
        let piece = match next.map_err(|_| Failure::too_slow())? {
            None => break,
            Some(Ok(piece)) => piece,
            Some(Err(_)) => return Err(Failure::bad_request("The source did not arrive whole.")),
        };
        size_bytes += piece.len() as u64;
        if size_bytes > SOURCE_MAX_BYTES {
            return Err(Failure::too_large(
                usize::try_from(SOURCE_MAX_BYTES).unwrap_or(usize::MAX),
            ));
        }
        file.write_all(&piece).await.map_err(|error| disk(&error))?;
    }
    file.flush().await.map_err(|error| disk(&error))
}

/// A file that the builder may read: the folder's group is the roles'.
async fn new(part: &FilePath) -> io::Result<File> {
    if let Some(folder) = part.parent()
        && !folder.exists()
    {
        fs::create_dir(folder).await?;
    }
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(part)
        .await
}

fn disk(error: &io::Error) -> Failure {
    crate::say::failed("keep a source", error);
    match error.kind() {
        io::ErrorKind::StorageFull => Failure::unavailable("The platform's disk is full."),
        _ => Failure::internal(),
    }
}

/// `GET` of a `get_url`.
pub(super) async fn download(
    State(platform): Ctx,
    Path(claim): Path<Claim>,
) -> Result<Response, Failure> {
    let path = file(&platform, claim, Act::Get)?;
    let file = match File::open(&path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::not_found("Nothing was uploaded here."));
        }
        Err(error) => return Err(disk(&error)),
    };
    let size_bytes = file.metadata().await.map_err(|error| disk(&error))?.len();
    let pieces = unfold(file, |mut file| async {
        let mut piece = vec![0; PIECE_BYTES];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some((Ok(piece), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    });
    Response::builder()
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_LENGTH, size_bytes)
        .body(Body::from_stream(pieces))
        .map_err(|_| Failure::internal())
}
