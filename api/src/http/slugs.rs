//! `/apps/APP/slugs`: what was built.

use super::auth::Need;
use super::failure::Failure;
use super::shape::{Ctx, Ref};
use crate::accounts::Caller;
use crate::clock::Stamp;
use crate::records::Slug;
use axum::Json;
use axum::extract::{Path, State};
use model::process::Types;
use serde::Serialize;
use uuid::Uuid;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    id: Uuid,
    blob: Blob,
    buildpack_provided_description: Option<String>,
    checksum: Option<String>,
    commit: Option<String>,
    commit_description: Option<String>,
    process_types: Types,
    size: Option<u64>,
    stack: Ref,
    created_at: Stamp,
    updated_at: Stamp,
    deleted_at: Option<Stamp>,
}

/// Blobs cannot be fetched over HTTP yet: the address is empty.
#[derive(Debug, Serialize)]
struct Blob {
    method: &'static str,
    url: &'static str,
}

/// `GET /apps/APP/slugs/ID`
pub(super) async fn info(
    State(platform): Ctx,
    caller: Caller,
    Path((app, id)): Path<(String, String)>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let slugs = platform.records.slugs(app.id)?;
    let is_it = |slug: &Slug| Slug::id(slug.digest).to_string() == id;
    let slug = slugs.into_iter().find(is_it);
    let slug = slug.ok_or_else(|| Failure::no_such("slug"))?;
    let manifest = slug.manifest;
    Ok(Json(Answer {
        id: Slug::id(slug.digest),
        blob: Blob {
            method: "get",
            url: "",
        },
        checksum: Some(format!("SHA256:{}", manifest.app.digest.hex())),
        size: Some(manifest.size_bytes()),
        buildpack_provided_description: manifest.description,
        commit: manifest.commit,
        commit_description: None,
        process_types: manifest.process_types,
        stack: Ref::of("stack", &manifest.stack),
        created_at: Stamp(slug.created_at_us),
        updated_at: Stamp(slug.created_at_us),
        deleted_at: None,
    }))
}
