//! One app's route: its dynos, who of them gets a request, and waiting until one can.
//!
//! What changes often (endpoints) sits behind an `ArcSwap`, so that a scale event swaps one small
//! list; counts are atomics inside the dyno. `table` writes here, `exchange` reads. All threads
//! share a route.

use crate::balance::{self, Load, Pick};
use crate::error::Failure;
use crate::timers::now_ms;
use arc_swap::ArcSwap;
use model::route::EndpointState;
use model::{app, dyno, limits};
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// A web dyno, for as long as anything points at it.
#[derive(Debug)]
pub struct Dyno {
    /// Which.
    pub id: dyno::Id,
    /// `web.1`, for the log line.
    pub name: String,
    outstanding: AtomicU32,
    quarantined_until_ms: AtomicU64,
    has_left: AtomicBool,
    was_told: AtomicBool,
    drains: Arc<Drains>,
}

impl Dyno {
    pub(crate) fn new(id: dyno::Id, name: &dyno::Name, drains: Arc<Drains>) -> Self {
        Self {
            id,
            name: name.to_string(),
            outstanding: AtomicU32::new(0),
            quarantined_until_ms: AtomicU64::new(0),
            has_left: AtomicBool::new(false),
            was_told: AtomicBool::new(false),
            drains,
        }
    }

    /// Whether it left its route: nothing new is sent to it, idle connections to it are closed.
    pub fn has_left(&self) -> bool {
        self.has_left.load(Ordering::SeqCst)
    }

    /// Requests and tunnels under way on it.
    pub fn outstanding(&self) -> u32 {
        self.outstanding.load(Ordering::SeqCst)
    }

    /// Lets it out of the choice for a while.
    pub fn quarantine(&self, time: Duration) {
        let until = now_ms() + crate::timers::milliseconds(time);
        self.quarantined_until_ms.store(until, Ordering::Relaxed);
    }

    /// Takes it out of its route; call after it is out of the route's shape.
    pub(crate) fn leave(&self) {
        self.has_left.store(true, Ordering::SeqCst);
        self.tell_if_drained();
    }

    fn tell_if_drained(&self) {
        // SeqCst on both atomics: either the leaving sees 0 outstanding, or the last request sees
        // that the dyno has left; `Using::begin` counts first and looks second.
        if self.has_left() && self.outstanding() == 0 && !self.was_told.swap(true, Ordering::SeqCst)
        {
            self.drains.push(self.id);
        }
    }
}

/// A request or tunnel on a dyno: it counts until it is dropped.
#[derive(Debug)]
pub struct Using {
    /// Which.
    pub dyno: Arc<Dyno>,
    /// Where it listens.
    pub address: SocketAddrV4,
}

impl Using {
    /// Begins to use a dyno, unless it has left meanwhile.
    fn begin(dyno: &Arc<Dyno>, address: SocketAddrV4) -> Option<Self> {
        dyno.outstanding.fetch_add(1, Ordering::SeqCst);
        let using = Self {
            dyno: Arc::clone(dyno),
            address,
        };
        (!dyno.has_left()).then_some(using)
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        if self.dyno.outstanding.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.dyno.tell_if_drained();
        }
    }
}

/// Dynos that left and have nothing under way any more; bounded by the dynos there were.
#[derive(Debug, Default)]
pub struct Drains {
    ids: Mutex<Vec<dyno::Id>>,
    wake: Notify,
}

impl Drains {
    fn push(&self, id: dyno::Id) {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(id);
        self.wake.notify_one();
    }

    /// Waits for the next ones. Cancel-safe. One caller.
    pub async fn next(&self) -> Vec<dyno::Id> {
        loop {
            let ids = std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner));
            if !ids.is_empty() {
                return ids;
            }
            self.wake.notified().await;
        }
    }
}

/// A dyno in a route.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Which.
    pub dyno: Arc<Dyno>,
    /// Whether it can be reached.
    pub state: EndpointState,
}

/// What a route is at a moment.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The app's name, for pages.
    pub app_name: app::Name,
    /// What can answer.
    pub web: Web,
}

/// What can answer for an app.
#[derive(Clone, Debug)]
pub enum Web {
    /// Never released.
    Blank,
    /// Scaled to 0.
    None,
    /// In maintenance.
    Maintenance,
    /// Dynos.
    Dynos(Vec<Endpoint>),
}

/// An app's route.
#[derive(Debug)]
pub struct Route {
    /// Whose.
    pub app: app::Id,
    shape: ArcSwap<Shape>,
    changed: watch::Sender<()>,
    requests: AtomicUsize,
}

/// What a look at the dynos came to.
enum Choice {
    Dyno(Using),
    /// The reason why there is none becomes the failure when time is up.
    Wait {
        failure: Failure,
        until_ms: Option<u64>,
    },
    Fail(Failure),
}

impl Route {
    pub(crate) fn new(app: app::Id, shape: Shape) -> Self {
        Self {
            app,
            shape: ArcSwap::from_pointee(shape),
            changed: watch::Sender::new(()),
            requests: AtomicUsize::new(0),
        }
    }

    /// What it is now.
    pub fn shape(&self) -> Arc<Shape> {
        self.shape.load_full()
    }

    /// Puts another shape in place and wakes who waits.
    pub(crate) fn reshape(&self, shape: Shape) {
        self.shape.store(Arc::new(shape));
        self.changed.send_replace(());
    }

    /// How many dynos it has, in whatever state.
    pub fn dynos(&self) -> usize {
        match &self.shape.load().web {
            Web::Dynos(endpoints) => endpoints.len(),
            Web::Blank | Web::None | Web::Maintenance => 0,
        }
    }

    /// Counts a request of the app, or refuses it with H11.
    pub fn enter(self: &Arc<Self>) -> Result<Entered, Failure> {
        let bound = limits::REQUESTS_PER_DYNO_MAX * self.dynos().max(1);
        let entered = Entered(Arc::clone(self));
        if self.requests.fetch_add(1, Ordering::Relaxed) < bound {
            Ok(entered)
        } else {
            Err(Failure::Backlog)
        }
    }

    /// Waits for a dyno that can be asked, until the deadline. Cancel-safe.
    ///
    /// Every look takes a number from `random`, which breaks ties.
    pub async fn dyno(
        &self,
        deadline: Instant,
        held: &AtomicUsize,
        mut random: impl FnMut() -> u64,
    ) -> Result<Using, Failure> {
        match self.choose(random()) {
            Choice::Dyno(using) => return Ok(using),
            Choice::Fail(failure) => return Err(failure),
            Choice::Wait { .. } => {}
        }
        let _place = Held::take(held)?;
        loop {
            // Subscribed before looking, so that no change falls between.
            let mut changed = self.changed.subscribe();
            let (failure, until_ms) = match self.choose(random()) {
                Choice::Dyno(using) => return Ok(using),
                Choice::Fail(failure) => return Err(failure),
                Choice::Wait { failure, until_ms } => (failure, until_ms),
            };
            let pause = until_ms.map(|until| {
                Duration::from_millis(until.saturating_sub(now_ms()).saturating_add(1))
            });
            let wake = match pause {
                Some(pause) => deadline.min(Instant::now() + pause),
                None => deadline,
            };
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            if Instant::now() >= deadline {
                return Err(failure);
            }
        }
    }

    fn choose(&self, random: u64) -> Choice {
        loop {
            let shape = self.shape.load();
            let endpoints = match &shape.web {
                Web::Blank => return Choice::Fail(Failure::Blank),
                Web::None => return Choice::Fail(Failure::NoWeb),
                Web::Maintenance => return Choice::Fail(Failure::Maintenance),
                Web::Dynos(endpoints) => endpoints,
            };
            let loads = ups(endpoints).map(|(dyno, _)| Load {
                outstanding: dyno.outstanding(),
                quarantined_until_ms: dyno.quarantined_until_ms.load(Ordering::Relaxed),
            });
            match balance::pick(loads, now_ms(), random) {
                Pick::Dyno(place) => {
                    let chosen = ups(endpoints).nth(place);
                    if let Some(using) = chosen.and_then(|(dyno, at)| Using::begin(dyno, at)) {
                        return Choice::Dyno(using);
                    }
                    // It left between the two looks; the shape without it is in place already.
                }
                Pick::Quarantined { until_ms } => {
                    return Choice::Wait {
                        failure: Failure::Platform,
                        until_ms: Some(until_ms),
                    };
                }
                Pick::Nobody => return without_up(endpoints),
            }
        }
    }
}

fn ups(endpoints: &[Endpoint]) -> impl Iterator<Item = (&Arc<Dyno>, SocketAddrV4)> {
    endpoints
        .iter()
        .filter_map(|endpoint| match endpoint.state {
            EndpointState::Up { address } => Some((&endpoint.dyno, address)),
            EndpointState::Starting | EndpointState::Crashed => None,
        })
}

/// No dyno is up: H10 only if none of them is on its way.
fn without_up(endpoints: &[Endpoint]) -> Choice {
    let starting = |endpoint: &Endpoint| endpoint.state == EndpointState::Starting;
    if endpoints.is_empty() || endpoints.iter().any(starting) {
        return Choice::Wait {
            failure: Failure::BootTimeout,
            until_ms: None,
        };
    }
    Choice::Fail(Failure::Crashed)
}

/// A request of an app, counted until it is dropped.
#[derive(Debug)]
pub struct Entered(Arc<Route>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of the requests of all apps that wait for a dyno.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn take(count: &'a AtomicUsize) -> Result<Self, Failure> {
        let held = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) < limits::REQUESTS_HELD_MAX {
            Ok(held)
        } else {
            Err(Failure::Backlog)
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
