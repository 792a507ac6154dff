//! Brings what lies on this node in line with the apps that live: removes what belongs to none, and
//! moves the branches of pushes that we did not live to finish.

use crate::git_job;
use crate::repository;
use crate::site::Site;
use link::feed::State;
use link::stop::Stop;
use model::app;
use model::feed::{App, Item};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// The app lives no more.
    Remove(app::Id),
    /// A release of this app serves, and its branch was left behind.
    Settle(app::Id),
}

/// What lies here.
#[derive(Clone, Debug, Default)]
struct Found {
    /// Apps with a repository or a cache.
    folders: BTreeSet<app::Id>,
    /// Notes of branches about to move, with their commits.
    moving: BTreeMap<app::Id, String>,
    /// Apps that are being pushed to.
    busy: BTreeSet<app::Id>,
}

/// Runs until stop.
pub(crate) async fn run(site: Arc<Site>, stop: Stop) {
    let mut states = site.api.feed.state.clone();
    // Apps that were in some state: only these, and those that were here before us, can be gone.
    // One that a push has just made may not be in the state yet.
    let mut old = folders(&site);
    loop {
        let state = states.borrow_and_update().clone();
        if state.is_live {
            let living = living(&state);
            old.extend(living.keys());
            for action in plan(&living, &found(&site, &old)) {
                apply(&site, &action).await;
            }
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            () = stop.requested() => return,
        }
    }
}

fn living(state: &State) -> BTreeMap<app::Id, App> {
    let apps = state.items.values().filter_map(|item| match item.as_ref() {
        Item::App(app) => Some((app.id, app.clone())),
        Item::Route(_) | Item::Want(_) | Item::Build(_) => None,
    });
    apps.collect()
}

fn folders(site: &Site) -> BTreeSet<app::Id> {
    let mut all = BTreeSet::new();
    match site.repositories.list() {
        Ok(ids) => all.extend(ids),
        Err(error) => tracing::error!(%error, "repositories cannot be listed"),
    }
    match site.caches.list() {
        Ok(ids) => all.extend(ids),
        Err(error) => tracing::error!(%error, "caches cannot be listed"),
    }
    all
}

fn found(site: &Site, old: &BTreeSet<app::Id>) -> Found {
    let folders = folders(site);
    let note = |app: &app::Id| Some((*app, site.repositories.is_moving(*app)?.commit));
    Found {
        moving: folders.iter().filter_map(note).collect(),
        busy: folders
            .iter()
            .copied()
            .filter(|app| site.queue.has(*app))
            .collect(),
        folders: folders.intersection(old).copied().collect(),
    }
}

fn plan(living: &BTreeMap<app::Id, App>, found: &Found) -> Vec<Action> {
    let gone = found
        .folders
        .iter()
        .filter(|app| !living.contains_key(app) && !found.busy.contains(app))
        .map(|app| Action::Remove(*app));
    let left = found
        .moving
        .iter()
        .filter(|(app, commit)| {
            let serves = living.get(app).and_then(|app| app.commit.as_ref());
            serves == Some(commit) && !found.busy.contains(app)
        })
        .map(|(app, _)| Action::Settle(*app));
    gone.chain(left).collect()
}

async fn apply(site: &Site, action: &Action) {
    let result = match action {
        Action::Remove(app) => remove(site, *app).await,
        Action::Settle(app) => settle(site, *app).await,
    };
    match result {
        Ok(()) => tracing::info!(?action, "upkeep"),
        Err(error) => tracing::error!(
            ?action,
            error = crate::chain(error.as_ref()),
            "upkeep failed"
        ),
    }
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn remove(site: &Site, app: app::Id) -> Outcome {
    let repositories = site.repositories.clone();
    tokio::task::spawn_blocking(move || repositories.remove(app)).await??;
    site.outputs.remove(app)?;
    if site.caches.list()?.contains(&app) {
        site.caches
            .remove(&site.jobs, &site.config.default_stack, app)
            .await?;
    }
    Ok(())
}

async fn settle(site: &Site, app: app::Id) -> Outcome {
    let Some(moving) = site.repositories.is_moving(app) else {
        return Ok(());
    };
    let folder = repository::folder(app);
    let (spec, secrets) = git_job::move_branch(site, &folder, &moving.branch, &moving.commit);
    site.jobs.collect(spec, secrets).await?.check()?;
    site.repositories.point_head(app, &moving.branch)?;
    site.repositories.moved(app)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans() {
        let ids: Vec<app::Id> = (0..3).map(|_| app::Id::new(uuid::Uuid::new_v4())).collect();
        let app = |id: app::Id, commit: Option<&str>| App {
            id,
            name: app::Name::parse("hello").unwrap(),
            commit: commit.map(str::to_owned),
        };
        let living = BTreeMap::from([
            (ids[0], app(ids[0], Some("one"))),
            (ids[1], app(ids[1], Some("one"))),
        ]);
        let mut found = Found {
            folders: ids.iter().copied().collect(),
            moving: BTreeMap::from([(ids[0], "one".to_owned()), (ids[1], "two".to_owned())]),
            busy: BTreeSet::new(),
        };
        assert_eq!(
            plan(&living, &found),
            [Action::Remove(ids[2]), Action::Settle(ids[0])]
        );
        found.busy = ids.iter().copied().collect();
        assert_eq!(plan(&living, &found), []);
    }
}
