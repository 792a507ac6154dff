//! `/apps/APP/builds`: the builds that are kept, begun by a push or here.

use super::auth::Need;
use super::body::Given;
use super::failure::Failure;
use super::range::{Kind, Page, Range};
use super::shape::{Ctx, IdOnly, User, created, uuid};
use super::{buildpacks, outputs};
use crate::accounts::Caller;
use crate::clock::Stamp;
use crate::control::builds::{self as control, Wanted};
use crate::platform::Platform;
use crate::records::{App, Build, BuildState, Slug, SourceBlob};
use crate::sources;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use model::feed::{Place, Source};
use model::limits::{SOURCE_URL_MAX_BYTES, SOURCE_VERSION_MAX_BYTES};
use model::release::Number;
use serde::{Deserialize, Serialize};
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

impl Answer {
    fn of(platform: &Platform, app: &App, build: &Build) -> Result<Self, Failure> {
        let id_of = |number: Number| -> Result<Option<IdOnly>, Failure> {
            let release = platform.records.release(app.id, number)?;
            Ok(release.map(|release| IdOnly { id: release.id }))
        };
        let (status, slug, release) = match &build.state {
            BuildState::Ordered | BuildState::Building { .. } => ("pending", None, None),
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
            source_blob: build.source.clone().unwrap_or_else(|| SourceBlob {
                url: platform.config.git_url(&app.name),
                version: Some(build.commit.clone()),
                version_description: None,
                checksum: None,
            }),
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
    let build = find(&platform, &app, &build)?;
    Answer::of(&platform, &app, &build).map(Json)
}

/// `DELETE /apps/APP/builds/ID`: cancels it; one that has ended stays.
pub(super) async fn cancel(
    State(platform): Ctx,
    caller: Caller,
    Path((app, build)): Path<(String, String)>,
) -> Result<Json<Answer>, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let build = find(&platform, &app, &build)?;
    let is_cancelled = control::cancel(&platform, &build).await?;
    let build = find(&platform, &app, &build.id.to_string())?;
    let has_succeeded = matches!(build.state, BuildState::Released { .. });
    if !is_cancelled || has_succeeded {
        return Err(Failure::invalid("The build has ended already."));
    }
    Answer::of(&platform, &app, &build).map(Json)
}

fn find(platform: &Platform, app: &App, id: &str) -> Result<Build, Failure> {
    let build = match Uuid::parse_str(id) {
        Ok(id) => platform.records.build(app.id, id)?,
        Err(_) => None,
    };
    build.ok_or_else(|| Failure::no_such("build"))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    source_blob: Option<Blob>,
    buildpacks: Option<Vec<WishedBuildpack>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Blob {
    url: Option<String>,
    version: Option<String>,
    version_description: Option<String>,
    checksum: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WishedBuildpack {
    url: Option<String>,
    name: Option<String>,
}

/// `POST /apps/APP/builds`: answered at once, the builder takes it from there.
pub(super) async fn create(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    Given(wish): Given<Wish>,
) -> Result<Response, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let source = source(wish.source_blob)?;
    if sources::meaning(&platform, &app, &source).is_none() {
        return Err(Failure::invalid(format!(
            "`source_blob.url` is no address that this platform gave out. Upload the source first: \
             POST /sources. To build a commit that was pushed give {} and the commit's 40 hex \
             digits as `version`.",
            platform.config.git_url(&app.name)
        )));
    }
    let buildpacks = match wish.buildpacks {
        None => None,
        Some(list) => {
            let names = list.into_iter().map(|one| one.url.or(one.name));
            Some(buildpacks::checked(
                names.map(Option::unwrap_or_default).collect(),
            )?)
        }
    };
    let wanted = Wanted {
        app: app.id,
        by: caller.account.id,
        commit: source.version.clone().unwrap_or_default(),
        source: Some(source),
        is_image: false,
        buildpacks,
    };
    let (app, build) = control::enter(&platform, wanted).await?;
    Ok(created(Answer::of(&platform, &app, &build)?))
}

/// `POST /paas/apps/APP/images`: the same with an image that was uploaded as an archive.
pub(super) async fn import(
    State(platform): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    Given(wish): Given<Wish>,
) -> Result<Response, Failure> {
    let app = caller.app(&platform, &app, Need::Write)?;
    let source = source(wish.source_blob)?;
    let meaning = sources::meaning(&platform, &app, &source);
    let is_uploaded = matches!(
        meaning,
        Some(Source::Archive {
            at: Place::Uploaded { .. },
            ..
        })
    );
    if !is_uploaded || wish.buildpacks.is_some() {
        return Err(Failure::invalid(
            "`source_blob.url` is the `get_url` of an image's archive that was uploaded: POST \
             /sources. Buildpacks have nothing to do with it.",
        ));
    }
    let wanted = Wanted {
        app: app.id,
        by: caller.account.id,
        commit: source.version.clone().unwrap_or_default(),
        source: Some(source),
        is_image: true,
        buildpacks: None,
    };
    let (app, build) = control::enter(&platform, wanted).await?;
    Ok(created(Answer::of(&platform, &app, &build)?))
}

/// What was given, if it can be a source at all.
fn source(blob: Option<Blob>) -> Result<SourceBlob, Failure> {
    let missing = || Failure::invalid("`source_blob` with its `url` is needed.");
    let blob = blob.ok_or_else(missing)?;
    let url = blob.url.ok_or_else(missing)?;
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    let is_plain = |c: char| c.is_ascii_graphic();
    if !is_web || url.len() > SOURCE_URL_MAX_BYTES || !url.chars().all(is_plain) {
        return Err(Failure::invalid(
            "`source_blob.url` is the http or https address of an archive.",
        ));
    }
    let text = |field: &str, value: Option<String>| match value {
        Some(value)
            if value.len() > SOURCE_VERSION_MAX_BYTES || value.chars().any(char::is_control) =>
        {
            Err(Failure::invalid(format!(
                "`source_blob.{field}` is one line of at most {SOURCE_VERSION_MAX_BYTES} bytes."
            )))
        }
        value => Ok(value.filter(|value| !value.is_empty())),
    };
    let checksum = blob.checksum.filter(|checksum| !checksum.is_empty());
    if checksum
        .as_deref()
        .is_some_and(|checksum| sources::sha256(checksum).is_none())
    {
        return Err(Failure::invalid(
            "`source_blob.checksum` has the form SHA256:HEX.",
        ));
    }
    Ok(SourceBlob {
        url,
        version: text("version", blob.version)?,
        version_description: text("version_description", blob.version_description)?,
        checksum,
    })
}
