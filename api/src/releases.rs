//! Makes releases: an artifact, config vars and process types under the next number.
//!
//! Builds, config changes, rollbacks and calls of the API all come here. A release without a slug
//! is done at once; any other goes on to [`crate::deploy`], which ends the app's turn.

use crate::clock::now_us;
use crate::deploy::{self, Running};
use crate::platform::Platform;
use crate::records::{
    Account, App, Build, BuildState, Change, Op, Phase, RecordsError, Scaled, Slug, Stage, Want,
};
use crate::turns::Turn;
use crate::vars::VarsError;
use model::app;
use model::config_vars::Vars;
use model::dyno::{Id, Name, Purpose};
use model::formation::{Entry, Formation};
use model::process::{Type, Types};
use model::release::{Number, Release, Status};
use model::size::Size;
use std::sync::Arc;
use uuid::Uuid;

/// What a new release shall be.
#[derive(Debug)]
pub(crate) struct Draft {
    /// `Deploy 1a2b3c4d`
    pub(crate) description: String,
    /// What it runs; none before the first build.
    pub(crate) slug: Option<Slug>,
    /// Its config vars.
    pub(crate) config: Config,
    /// Who makes it.
    pub(crate) by: Account,
    /// The build it comes from.
    pub(crate) build: Option<Build>,
}

/// Which config vars a new release has.
#[derive(Debug)]
pub(crate) enum Config {
    /// Those that were set last.
    Kept,
    /// These; they are the app's from now on, whatever becomes of the release.
    Set(Vars),
    /// Those of an earlier release; they become the app's when the release serves.
    Of(String),
}

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    /// The app was destroyed meanwhile.
    #[error("the app is gone")]
    Gone,
    /// Its config vars cannot be had.
    #[error(transparent)]
    Vars(#[from] VarsError),
    /// The records cannot be read or written.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

impl From<MakeError> for crate::http::failure::Failure {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Gone => Self::no_such_app(),
            MakeError::Vars(error) => error.into(),
            MakeError::Records(error) => error.into(),
        }
    }
}

/// Makes a release, in the app's turn. With a slug its deploy has begun when this returns, and
/// holds the turn until the release serves or has failed.
pub(crate) async fn make(
    platform: &Arc<Platform>,
    turn: Turn,
    app: app::Id,
    draft: Draft,
) -> Result<(Release, Option<Arc<Running>>), MakeError> {
    let mut change = platform
        .begin()
        .await
        .by(draft.by.id, "release", &app.to_string());
    let mut app = platform.records.app(app)?.ok_or(MakeError::Gone)?;
    let release = new_release(platform, &mut change, &mut app, &draft)?;
    app.newest = release.number;
    app.updated_at_us = release.created_at_us;
    change.put_release(app.id, &release);
    let op = if let Some(slug) = &draft.slug {
        change.put_slug(app.id, slug);
        add_types(platform, &mut change, app.id, &release.process_types)?;
        Some(begin_op(platform, &mut change, &app, &release, &draft)?)
    } else {
        app.current = release.number;
        None
    };
    change.put_app(&app);
    change.commit().await?;
    let who = &draft.by.email;
    platform
        .log
        .line(app.id, &format!("{} by user {who}", release.description));
    platform.log.line(
        app.id,
        &format!("Release {} created by user {who}", release.number),
    );
    let running = op.map(|op| deploy::start(platform, app.id, op, turn));
    Ok((release, running))
}

fn new_release(
    platform: &Platform,
    change: &mut Change,
    app: &mut App,
    draft: &Draft,
) -> Result<Release, MakeError> {
    let config = match &draft.config {
        Config::Kept => app.config.clone(),
        Config::Of(name) => name.clone(),
        Config::Set(vars) => {
            app.config = platform.put_vars(change, app.id, vars)?;
            app.config.clone()
        }
    };
    let manifest = draft.slug.as_ref().map(|slug| &slug.manifest);
    let now_us = now_us();
    Ok(Release {
        id: Uuid::new_v4(),
        number: Number(app.newest.0 + 1),
        description: draft.description.clone(),
        status: if manifest.is_some() {
            Status::Pending
        } else {
            Status::Succeeded
        },
        slug: draft.slug.as_ref().map(|slug| slug.digest),
        commit: manifest.and_then(|manifest| manifest.commit.clone()),
        process_types: manifest
            .map(|m| m.process_types.clone())
            .unwrap_or_default(),
        config,
        by: draft.by.id,
        created_at_us: now_us,
        updated_at_us: now_us,
    })
}

/// Types that were never there before: one `web`, none of the others.
fn add_types(
    platform: &Platform,
    change: &mut Change,
    app: app::Id,
    types: &Types,
) -> Result<(), RecordsError> {
    let known = platform.records.formation(app)?;
    let is_new = |name: &&Type| !known.contains_key(*name) && name.is_scalable();
    for process_type in types.keys().filter(is_new) {
        let now_us = now_us();
        let scaled = Scaled {
            id: Uuid::new_v4(),
            entry: first_entry(process_type),
            created_at_us: now_us,
            updated_at_us: now_us,
        };
        change.put_scaled(app, process_type, &scaled);
    }
    Ok(())
}

fn first_entry(process_type: &Type) -> Entry {
    Entry {
        quantity: u32::from(process_type.is_web()),
        size: Size::default(),
    }
}

/// The formation as it is after [`add_types`], whether that is committed or not.
fn formation(platform: &Platform, app: app::Id, types: &Types) -> Result<Formation, RecordsError> {
    let mut formation = platform.records.formation(app)?;
    for process_type in types.keys().filter(|name| name.is_scalable()) {
        formation
            .entry(process_type.clone())
            .or_insert_with(|| first_entry(process_type));
    }
    Ok(formation)
}

fn begin_op(
    platform: &Platform,
    change: &mut Change,
    app: &App,
    release: &Release,
    draft: &Draft,
) -> Result<Op, RecordsError> {
    let phase = match release.process_types.get(&Type::release()) {
        Some(command) => {
            let name = one_off_name(Type::release());
            let want = Want {
                purpose: Purpose::Release,
                ..new_want(platform, app.id, release, (name, Size::default()), command)?
            };
            change.put_want(&want);
            Phase::Command { dyno: want.dyno }
        }
        None => begin_boot(platform, change, app.id, release)?,
    };
    let op = Op {
        release: release.number,
        build: draft.build.as_ref().map(|build| build.id),
        phase,
        began_at_us: release.created_at_us,
    };
    change.put_op(app.id, &op);
    if let (Some(build), Some(slug)) = (&draft.build, release.slug) {
        change.put_build(&Build {
            state: BuildState::Releasing {
                release: release.number,
                slug,
            },
            updated_at_us: release.created_at_us,
            ..build.clone()
        });
    }
    Ok(op)
}

/// Orders the new web dynos of a release; they get no requests before the switch.
pub(crate) fn begin_boot(
    platform: &Platform,
    change: &mut Change,
    app: app::Id,
    release: &Release,
) -> Result<Phase, RecordsError> {
    let web = Type::web();
    let formation = formation(platform, app, &release.process_types)?;
    if let (Some(command), Some(entry)) = (release.process_types.get(&web), formation.get(&web)) {
        for number in 1..=entry.quantity {
            let process_type = web.clone();
            let name = Name {
                process_type,
                number,
            };
            let want = Want {
                stage: Stage::Booting,
                ..new_want(platform, app, release, (name, entry.size), command)?
            };
            change.put_want(&want);
        }
    }
    let began_at_us = now_us();
    Ok(Phase::Boot { began_at_us })
}

/// A dyno of a release, part of the formation and serving unless the caller says otherwise.
pub(crate) fn new_want(
    platform: &Platform,
    app: app::Id,
    release: &Release,
    (name, size): (Name, Size),
    command: &str,
) -> Result<Want, RecordsError> {
    let slug = release.slug.ok_or_else(|| RecordsError::NoSlug {
        release: release.number,
    })?;
    Ok(Want {
        dyno: Id::new(Uuid::now_v7()),
        node: platform.config.node.clone(),
        app,
        name,
        release: release.number,
        purpose: Purpose::Formation,
        command: command.to_owned(),
        slug,
        config: release.config.clone(),
        overlay: None,
        size,
        stage: Stage::Serving,
        created_at_us: now_us(),
    })
}

/// `run.4711`: four random digits, as Heroku's.
pub(crate) fn one_off_name(process_type: Type) -> Name {
    let [a, b, ..] = *Uuid::new_v4().as_bytes();
    Name {
        process_type,
        number: 1000 + u32::from(u16::from_be_bytes([a, b])) % 9000,
    }
}
