//! The route table: host -> route, kept equal to what the api tells, with a copy on disk.
//!
//! One task writes ([`Table::apply`]), all threads read ([`Table::lookup`]). A new state is diffed
//! into the index, so it is never empty in between. The disk copy lets a router that starts while
//! the api is away serve what it was told last.

use crate::route::{Drains, Dyno, Endpoint, Route, Shape, Web};
use dashmap::DashMap;
use model::{app, dyno, route};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The routes of all apps.
#[derive(Debug)]
pub struct Table {
    hosts: DashMap<String, Arc<Route>>,
    apps: Mutex<BTreeMap<app::Id, Known>>,
    drains: Arc<Drains>,
    generation: watch::Sender<u64>,
}

#[derive(Debug)]
struct Known {
    told: route::Route,
    route: Arc<Route>,
}

/// Why the disk copy cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The disk refused.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is there is no table.
    #[error("read the route table {}", path.display())]
    Format {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Default for Table {
    fn default() -> Self {
        Self {
            hosts: DashMap::new(),
            apps: Mutex::new(BTreeMap::new()),
            drains: Arc::default(),
            generation: watch::Sender::new(0),
        }
    }
}

impl Table {
    /// The route of a host: lower case, without port and trailing dot. A host that no app has
    /// belongs to the app that has `*` in place of its first label, if there is one.
    pub fn lookup(&self, host: &str) -> Option<Arc<Route>> {
        // The guard of the map is gone before anybody waits: only the Arc leaves.
        let exact = self.hosts.get(host).map(|route| Arc::clone(&route));
        exact.or_else(|| {
            let (_, parent) = host.split_once('.')?;
            let route = self.hosts.get(format!("*.{parent}").as_str())?;
            Some(Arc::clone(&route))
        })
    }

    /// Where dynos that left and are drained come up.
    pub fn drains(&self) -> Arc<Drains> {
        Arc::clone(&self.drains)
    }

    /// Changes with every change of the table.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Makes the table equal to these routes, one per app. Returns whether anything changed.
    pub fn apply<'a>(&self, routes: impl Iterator<Item = &'a route::Route>) -> bool {
        let wanted: BTreeMap<app::Id, &route::Route> =
            routes.map(|told| (told.app, told)).collect();
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<app::Id> = apps
            .keys()
            .filter(|app| !wanted.contains_key(app))
            .copied()
            .collect();
        let mut changed = false;
        // New hosts before old ones go: a host that moves to another app is never without a route.
        for (app, told) in wanted {
            let known = apps.get(&app);
            if known.is_some_and(|known| known.told == *told) {
                continue;
            }
            changed = true;
            let now = self.set(known, told);
            apps.insert(app, now);
        }
        for app in gone {
            changed = true;
            if let Some(known) = apps.remove(&app) {
                self.remove(&known);
            }
        }
        drop(apps);
        if changed {
            self.generation.send_modify(|generation| *generation += 1);
        }
        changed
    }

    fn set(&self, known: Option<&Known>, told: &route::Route) -> Known {
        let old = known.map(|known| known.route.shape());
        let shape = self.shape(old.as_deref(), told);
        let staying: BTreeSet<dyno::Id> = dynos(&shape).map(|dyno| dyno.id).collect();
        let route = match known {
            Some(known) => {
                known.route.reshape(shape);
                Arc::clone(&known.route)
            }
            None => Arc::new(Route::new(told.app, shape)),
        };
        for dyno in old.iter().flat_map(|old| dynos(old)) {
            if !staying.contains(&dyno.id) {
                dyno.leave();
            }
        }
        for host in &told.hosts {
            self.hosts.insert(host.clone(), Arc::clone(&route));
        }
        for host in known.iter().flat_map(|known| &known.told.hosts) {
            if !told.hosts.contains(host) {
                self.forget(host, &route);
            }
        }
        Known {
            told: told.clone(),
            route,
        }
    }

    fn remove(&self, known: &Known) {
        for host in &known.told.hosts {
            self.forget(host, &known.route);
        }
        let old = known.route.shape();
        known.route.reshape(Shape {
            app_name: old.app_name.clone(),
            web: Web::None,
        });
        for dyno in dynos(&old) {
            dyno.leave();
        }
    }

    /// Takes a host out, unless it belongs to another app by now.
    fn forget(&self, host: &str, route: &Arc<Route>) {
        self.hosts
            .remove_if(host, |_, current| Arc::ptr_eq(current, route));
    }

    /// The new shape, with the dynos that stay being the same objects: their counts go on.
    fn shape(&self, old: Option<&Shape>, told: &route::Route) -> Shape {
        let known: BTreeMap<dyno::Id, Arc<Dyno>> = old
            .into_iter()
            .flat_map(dynos)
            .map(|dyno| (dyno.id, Arc::clone(dyno)))
            .collect();
        let endpoint = |told: &route::Endpoint| Endpoint {
            dyno: known.get(&told.dyno).map_or_else(
                || Arc::new(Dyno::new(told.dyno, &told.name, self.drains())),
                Arc::clone,
            ),
            state: told.state,
        };
        Shape {
            app_name: told.app_name.clone(),
            web: match &told.state {
                route::State::Blank => Web::Blank,
                route::State::NoWeb => Web::None,
                route::State::Maintenance => Web::Maintenance,
                route::State::Web { endpoints } => {
                    Web::Dynos(endpoints.iter().map(endpoint).collect())
                }
            },
        }
    }

    /// Writes the disk copy: whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), TableError> {
        let bytes = {
            let apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
            let routes: Vec<&route::Route> = apps.values().map(|known| &known.told).collect();
            serde_json::to_vec(&routes)
        };
        let bytes = bytes.map_err(|source| TableError::Format {
            path: path.to_owned(),
            source,
        })?;
        let fresh = path.with_extension("json.new");
        let folder = path.parent().unwrap_or(Path::new("/"));
        let written = File::create(&fresh).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.map_err(failed("write", &fresh))?;
        fs::rename(&fresh, path).map_err(failed("rename", &fresh))?;
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed("sync", folder))
    }

    /// Takes over the disk copy; without one the table stays as it is.
    pub fn load(&self, path: &Path) -> Result<(), TableError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(failed("read", path)(source)),
        };
        let routes: Vec<route::Route> =
            serde_json::from_slice(&bytes).map_err(|source| TableError::Format {
                path: path.to_owned(),
                source,
            })?;
        self.apply(routes.iter());
        Ok(())
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> TableError {
    let path = path.to_owned();
    move |source| TableError::Io {
        doing,
        path,
        source,
    }
}

fn dynos(shape: &Shape) -> impl Iterator<Item = &Arc<Dyno>> {
    let endpoints = match &shape.web {
        Web::Dynos(endpoints) => endpoints.as_slice(),
        Web::Blank | Web::None | Web::Maintenance => &[],
    };
    endpoints.iter().map(|endpoint| &endpoint.dyno)
}

#[cfg(test)]
mod tests;
