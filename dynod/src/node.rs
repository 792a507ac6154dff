//! The dynos of this node: what the api wants against what runs.

use crate::context::Context;
use crate::dyno::{self, Begin};
use crate::plan::{Action, free_slot, plan};
use crate::saved::Saved;
use crate::seats::Seats;
use crate::way::{self, Way};
use crate::{command, output};
use link::feed::State;
use model::app;
use model::dyno::{self as noun, Id, Purpose, Want};
use model::feed::{DynoChange, Event, Item};
use model::network::SLOTS_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

struct Handle {
    slot: u16,
    stop: watch::Sender<bool>,
}

/// A dyno that an earlier dynod started.
struct Found {
    slot: u16,
    way: Way,
}

/// All dynos of the node.
pub(crate) struct Node {
    ctx: Context,
    orders: watch::Sender<Vec<Want>>,
    dynos: BTreeMap<Id, Handle>,
    stopping: BTreeSet<Id>,
    /// One-offs that ended and that the api has not taken back yet: they do not run twice.
    ended: BTreeSet<Id>,
    /// Started by an earlier dynod and not claimed yet.
    found: BTreeMap<Id, Found>,
    apps: BTreeSet<app::Id>,
    tasks: JoinSet<Id>,
    was_live: bool,
}

impl Node {
    /// Looks what an earlier dynod left, and goes on with those dynos that it had orders for.
    pub(crate) fn begin(ctx: Context, saved: Saved) -> std::io::Result<Self> {
        let wants = saved.load()?;
        let (orders, newest) = watch::channel(wants.clone());
        tokio::spawn(save(saved, newest));
        let found = leftovers(&ctx.dynos, &ctx.seats)?;
        tracing::info!(
            dynos = found.len(),
            orders = wants.len(),
            "looked for dynos that run"
        );
        let mut node = Self {
            ctx,
            orders,
            dynos: BTreeMap::new(),
            stopping: BTreeSet::new(),
            ended: BTreeSet::new(),
            found,
            apps: BTreeSet::new(),
            tasks: JoinSet::new(),
            was_live: false,
        };
        for want in wants {
            if node.found.contains_key(&want.dyno) {
                node.start(want);
            } else if want.purpose != Purpose::Formation {
                node.ended.insert(want.dyno);
                tokio::spawn(report_lost(node.ctx.clone(), want.dyno));
            }
        }
        Ok(node)
    }

    /// Makes what runs what the api wants.
    pub(crate) async fn reconcile(&mut self, state: &State) {
        if !state.is_live {
            self.was_live = false;
            return;
        }
        if !std::mem::replace(&mut self.was_live, true) {
            self.ctx.say_all_again().await;
        }
        let wants: BTreeMap<Id, &Want> = state
            .items
            .values()
            .filter_map(|item| {
                if let Item::Want(want) = &**item {
                    Some((want.dyno, &**want))
                } else {
                    None
                }
            })
            .collect();
        self.save(&wants);
        self.ended.retain(|id| wants.contains_key(id));
        let desired: BTreeSet<Id> = wants
            .keys()
            .filter(|id| !self.ended.contains(id))
            .copied()
            .collect();
        let observed: BTreeSet<Id> = self.dynos.keys().copied().collect();
        for action in plan(&desired, &observed, &self.stopping) {
            match action {
                Action::Stop(id) => self.stop(id),
                Action::Start(id) => {
                    if let Some(want) = wants.get(&id) {
                        self.start((*want).clone());
                    }
                }
            }
        }
        for (id, found) in std::mem::take(&mut self.found) {
            tracing::info!(dyno.id = %id, dyno.slot = found.slot, "a dyno runs that nobody wants: it is stopped");
            self.tasks.spawn(clear(self.ctx.clone(), id, found));
            self.stopping.insert(id);
        }
        self.forget_apps(state);
    }

    /// Waits for a dyno that is gone and notes it.
    pub(crate) async fn reap(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(id)) => {
                self.dynos.remove(&id);
                if !self.stopping.remove(&id) {
                    self.ended.insert(id);
                }
            }
            Some(Err(error)) => tracing::error!(%error, "a dyno's task failed"),
            None => std::future::pending().await,
        }
    }

    fn start(&mut self, want: Want) {
        let id = want.dyno;
        let (slot, begin) = match self.found.remove(&id) {
            Some(found) => (Some(found.slot), Begin::Adopt(found.way)),
            None => (self.free_slot(), Begin::Start),
        };
        let Some(slot) = slot else {
            tracing::error!(app.name = %want.app_name, dyno.name = %want.name, "this node has no free slot");
            return;
        };
        let (stop, asked) = watch::channel(false);
        self.dynos.insert(id, Handle { slot, stop });
        self.tasks
            .spawn(dyno::run(self.ctx.clone(), want, slot, begin, asked));
    }

    fn free_slot(&self) -> Option<u16> {
        let taken = self
            .dynos
            .values()
            .map(|handle| handle.slot)
            .chain(self.found.values().map(|found| found.slot))
            .collect();
        free_slot(&taken, SLOTS_MAX)
    }

    fn stop(&mut self, id: Id) {
        if let Some(handle) = self.dynos.get(&id) {
            self.stopping.insert(id);
            handle.stop.send_replace(true);
        }
    }

    fn save(&self, wants: &BTreeMap<Id, &Want>) {
        self.orders.send_if_modified(|saved| {
            let same = saved.len() == wants.len()
                && saved.iter().all(|want| wants.contains_key(&want.dyno));
            if !same {
                *saved = wants.values().map(|want| (*want).clone()).collect();
            }
            !same
        });
    }

    fn forget_apps(&mut self, state: &State) {
        let apps: BTreeSet<app::Id> = state
            .items
            .values()
            .filter_map(|item| {
                if let Item::App(app) = &**item {
                    Some(app.id)
                } else {
                    None
                }
            })
            .collect();
        for gone in self.apps.difference(&apps) {
            self.ctx.log.forget(*gone);
        }
        self.apps = apps;
    }
}

/// A one-off ended while no dynod looked and its folder is gone, or the machine was started anew:
/// nobody knows how it ended, and running it again could do its work twice.
async fn report_lost(ctx: Context, dyno: Id) {
    let change = DynoChange {
        dyno,
        state: noun::State::Complete,
        at_us: crate::now_us(),
        address: None,
        network: None,
        exit_code: Some(137),
        failure: Some("it ended while this node was not looked after".to_owned()),
    };
    ctx.feed.event(Event::Dyno(change)).await;
}

/// Writes orders whenever they changed, the newest only, off the path of a start.
async fn save(saved: Saved, mut orders: watch::Receiver<Vec<Want>>) {
    let saved = Arc::new(saved);
    while orders.changed().await.is_ok() {
        let wants = orders.borrow_and_update().clone();
        let saved = Arc::clone(&saved);
        let result =
            tokio::task::spawn_blocking(move || saved.store(&wants.iter().collect::<Vec<_>>()))
                .await;
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "failed to save the orders of this node"),
            Err(error) => tracing::error!(%error, "failed to save the orders of this node"),
        }
    }
}

/// Dynos in the run folder, by the note that was given at their start.
fn leftovers(folder: &Path, seats: &Seats) -> std::io::Result<BTreeMap<Id, Found>> {
    let mut found = BTreeMap::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Some(slot) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u16>().ok())
        else {
            continue;
        };
        let note = std::fs::read_to_string(entry.path().join("spec")).unwrap_or_default();
        if let Some((id, way)) = way::read_note(&note, seats) {
            found.insert(id, Found { slot, way });
        } else {
            tracing::warn!(dyno.slot = slot, "a dyno's folder does not say whose it is");
        }
    }
    Ok(found)
}

/// Stops a dyno that nobody knows, and removes it.
async fn clear(ctx: Context, id: Id, found: Found) -> Id {
    let slot = found.slot;
    let name = command::sandbox_id(slot);
    let gone = async {
        ctx.nursery
            .signal(&name, nix::sys::signal::SIGTERM as i32)
            .await?;
        if let Ok(mut pipe) = output::open(&ctx.dynos.join(slot.to_string()).join("out")) {
            let limit = Duration::from_millis(model::limits::STOP_TIMEOUT_MS);
            let mut nowhere = tokio::io::sink();
            let read_out = tokio::io::copy(&mut pipe, &mut nowhere);
            if tokio::time::timeout(limit, read_out).await.is_err() {
                tracing::info!(dyno.slot = slot, "it did not end in time and is killed");
            }
        }
        ctx.nursery.remove(&name).await
    };
    if let Err(error) = gone.await {
        tracing::error!(%error, dyno.slot = slot, "failed to clear a dyno");
    }
    drop(found.way);
    id
}
