//! `/apps/APP/builds`: the builds that are kept. They are begun by a push.

use super::auth::Need;
use super::failure::Failure;
use super::outputs;
use super::range::{Kind, Page, Range};
use super::shape::{Ctx, IdOnly, User, uuid};
use crate::accounts::Caller;
use crate::clock::Stamp;
use crate::platform::Platform;
use crate::records::{App, Build, BuildState, Slug};
use axum::Json;
use axum::extract::{Path, State};
use http::HeaderMap;
use model::release::Number;
use serde::Serialize;
use uuid::Uuid;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    id: Uuid,
    app: IdOnly,
    status: &'static str,
    stack: String,
    buildpacks: Option<Vec<Buildpack>>,
    generation: &'static str,
    source_blob: SourceBlob,
    output_stream_url: String,
    slug: Option<IdOnly>,
    release: Option<IdOnly>,
    user: User,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Debug, Serialize)]
struct Buildpack {
    url: String,
    name: String,
}

#[derive(Debug, Serialize)]
struct SourceBlob {
    url: String,
    version: Option<String>,
    version_description: Option<String>,
    checksum: Option<String>,
}

impl Answer {
    fn of(platform: &Platform, app: &App, build: &Build) -> Result<Self, Failure> {
        let id_of = |number: Number| -> Result<Option<IdOnly>, Failure> {
            let release = platform.records.release(app.id, number)?;
            Ok(release.map(|release| IdOnly { id: release.id }))
        };
        let (status, slug, release) = match &build.state {
            BuildState::Building { .. } => ("pending", None, None),
            BuildState::Releasing { release, slug } => ("pending", Some(*slug), id_of(*release)?),
            BuildState::Released { release, slug, .. } => {
                ("succeeded", Some(*slug), id_of(*release)?)
            }
            BuildState::NotReleased { .. } | BuildState::Failed { .. } => ("failed", None, None),
        };
        let buildpacks = build.buildpacks.iter().map(|url| Buildpack {
            url: url.clone(),
            name: url.clone(),
        });
        Ok(Self {
            id: build.id,
            app: IdOnly { id: uuid(&app.id) },
            status,
            stack: build.stack.clone(),
            buildpacks: Some(buildpacks.collect()),
            generation: "cedar",
            source_blob: SourceBlob {
                url: platform.config.git_url(&app.name),
                version: Some(build.commit.clone()),
                version_description: None,
                checksum: None,
            },
            output_stream_url: outputs::build_url(platform, app, build.id),
            slug: slug.map(|digest| IdOnly {
                id: Slug::id(digest),
            }),
            release,
            user: User::find(platform, build.by),
            created_at: Stamp(build.created_at_us),
            updated_at: Stamp(build.updated_at_us),
        })
    }
}

const BUILDS: Kind<Build> = Kind {
    attributes: &["created_at", "id"],
    key: |build, attribute| match attribute {
        "id" => build.id.to_string(),
        _ => format!("{:020}", build.created_at_us),
    },
    id: |build| build.id.to_string(),
};

/// `GET /apps/APP/builds`
pub(super) async fn list(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    headers: HeaderMap,
) -> Result<Page<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let page = Range::of(&headers)?.cut(platform.records.builds(app.id)?, &BUILDS);
    page.try_map(|build| Answer::of(&platform, &app, &build))
}

/// `GET /apps/APP/builds/ID`
pub(super) async fn info(
    State(platform): Ctx,
    caller: Caller,
    Path((app, build)): Path<(String, String)>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Read)?;
    let build = match Uuid::parse_str(&build) {
        Ok(id) => platform.records.build(app.id, id)?,
        Err(_) => None,
    };
    let build = build.ok_or_else(|| Failure::no_such("build"))?;
    Answer::of(&platform, &app, &build).map(Json)
}

/// `POST /apps/APP/builds`
pub(super) async fn create(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Failure, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    Err(Failure::invalid(format!(
        "Builds begin with a push for now: git push {} main",
        platform.config.git_url(&app.name)
    )))
}
