//! The supervisor: everything runs, in its present build and configuration, until SIGTERM.

use super::process::{Build, Process};
use super::role::{self, Role};
use super::sockets::Sockets;
use super::state::{self, Ended, Entry, State};
use super::{accounts, delegation, dynos, folders, logs, modules, start};
use anyhow::Context as _;
use link::config::Config;
use link::stop::{Stop, Trigger};
use model::limits::{ROLE_STOP_TIMEOUT_MS, STOP_TIMEOUT_MS};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};

const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// A process that lived so long is started again without a wait.
const STEADY: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_millis(ROLE_STOP_TIMEOUT_MS);
const LOGS_EVERY: Duration = Duration::from_mins(1);
/// Open files, for us and all that we start: a router holds two for each request. Ours.
const OPEN_FILES_MAX: u64 = 1 << 20;
/// Inotify instances of a user. Ours: all readers of logs and outputs at once, eight times over.
const INOTIFY_MIN: u64 = 1_024;

/// What all tasks share.
#[derive(Debug)]
struct Ctx {
    config: Config,
    sockets: Sockets,
    fingerprint: u64,
    board: Mutex<Board>,
    /// Held by who replaces an outdated process: one after the other.
    turn: tokio::sync::Mutex<()>,
    /// Who waits for processes that were replaced.
    departures: Mutex<JoinSet<()>>,
}

/// What is written to `state.json`.
#[derive(Debug)]
struct Board {
    state: State,
    /// Roles that are not known to be up to date yet.
    unsettled: usize,
}

/// Runs until SIGTERM, which leaves dynos running, or SIGUSR1, which ends them, too. On SIGHUP it
/// becomes the newly installed program and goes on.
pub(super) fn run(config: Config) -> anyhow::Result<()> {
    accounts::make()?;
    folders::lay_out(&config)?;
    let _lock = lock(&config)?;
    raise_open_files()?;
    raise_inotify();
    modules::load();
    delegation::prepare(&config)?;
    let before = State::read(&config.run_dir)?;
    let sockets = Sockets::open(&config, &before)?;
    let ctx = Arc::new(Ctx {
        fingerprint: state::fingerprint(&config.data_dir),
        board: Mutex::new(Board {
            state: State::default(),
            unsettled: role::ALL.len(),
        }),
        turn: tokio::sync::Mutex::default(),
        departures: Mutex::default(),
        config,
        sockets,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(supervise(ctx, before))
}

async fn supervise(ctx: Arc<Ctx>, before: State) -> anyhow::Result<()> {
    let stop = Stop::on_signals()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut down = signal(SignalKind::user_defined1())?;
    let mut roles = adopt(&ctx, before)?;
    let mut look_at_logs = tokio::time::interval(LOGS_EVERY);
    let with_dynos = loop {
        tokio::select! {
            () = stop.requested() => break false,
            _ = down.recv() => break true,
            _ = hangup.recv() => {
                let error = become_new(&ctx);
                tracing::error!(%error, "cannot become the newly installed program, going on");
            }
            _ = look_at_logs.tick() => rotate_logs(&ctx.config),
        }
    };
    tracing::info!("stopping");
    for role in role::STOPPING {
        if with_dynos && role == Role::Nursery {
            stop_dynos(&ctx.config).await;
        }
        if let Some(keeper) = roles.remove(&role) {
            keeper.trigger.stop();
            keeper.task.await.context("a keeper of a role failed")?;
        }
    }
    let departures = std::mem::take(&mut *ctx.departures());
    departures.join_all().await;
    ctx.sockets.remove_paths();
    ctx.change(|board| board.state = State::default());
    Ok(())
}

/// What could not be asked to end is killed by `paas down` all the same.
async fn stop_dynos(config: &Config) {
    let nursery = config.run_dir.join("nursery.sock");
    let time = Duration::from_millis(STOP_TIMEOUT_MS);
    let stopped = tokio::task::spawn_blocking(move || dynos::stop_all(&nursery, time)).await;
    if let Err(error) = stopped.map_err(anyhow::Error::from).flatten() {
        tracing::warn!(
            error = format!("{error:#}"),
            "dynos are killed without a warning"
        );
    }
}

/// Who keeps one role running.
struct Keeper {
    trigger: Trigger,
    task: JoinHandle<()>,
}

/// Takes over what still runs and starts a keeper for every role.
fn adopt(ctx: &Arc<Ctx>, before: State) -> anyhow::Result<HashMap<Role, Keeper>> {
    let own = super::process::Identity::of(std::process::id().try_into()?)?;
    ctx.change(|board| board.state.up = Some(own));
    for entry in before.leaving {
        if let Some(process) = Process::watch(entry.identity)? {
            ctx.change(|board| board.state.leaving.push(entry));
            ctx.departures().spawn(see_off(Arc::clone(ctx), process));
        }
    }
    let mut found = HashMap::new();
    for entry in before.roles {
        if let Some(process) = Process::watch(entry.identity)? {
            tracing::info!(
                role = entry.name.name(),
                pid = entry.identity.pid,
                "adopted"
            );
            ctx.change(|board| board.state.roles.push(entry.clone()));
            found.insert(entry.name, (process, entry.config));
        }
    }
    let mut keepers = HashMap::new();
    for role in role::ALL {
        let (stop, trigger) = Stop::by_hand();
        let task = tokio::spawn(keep(Arc::clone(ctx), role, found.remove(&role), stop));
        keepers.insert(role, Keeper { trigger, task });
    }
    Ok(keepers)
}

/// Keeps one role running until it is asked to stop it.
async fn keep(ctx: Arc<Ctx>, role: Role, adopted: Option<(Process, u64)>, stop: Stop) {
    let mut running = match adopted {
        Some((process, config)) if ctx.is_current(role, &process, config) => Some(process),
        Some((process, _)) => replace(&ctx, role, process).await,
        None => ctx.start(role),
    };
    let mut is_settled = false;
    let mut wait = BACK_OFF_FIRST;
    loop {
        if running.is_some() && !is_settled {
            is_settled = true;
            ctx.change(|board| board.unsettled -= 1);
        }
        let started = Instant::now();
        if let Some(process) = running.take() {
            tokio::select! {
                () = stop.requested() => return end(&ctx, role, &process).await,
                how = process.ended() => ctx.note_end(role, how, wait),
            }
        }
        if started.elapsed() > STEADY {
            wait = BACK_OFF_FIRST;
        }
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(BACK_OFF_MAX);
        running = ctx.start(role);
    }
}

/// Puts the present build in the place of an outdated one.
async fn replace(ctx: &Arc<Ctx>, role: Role, old: Process) -> Option<Process> {
    let _turn = ctx.turn.lock().await;
    tracing::info!(role = role.name(), pid = old.identity.pid, "replacing");
    old.signal(Signal::SIGTERM);
    let patience = role.patience().unwrap_or(STOP_TIMEOUT);
    if tokio::time::timeout(patience, old.ended()).await.is_ok() || role.patience().is_none() {
        end(ctx, role, &old).await;
        return ctx.start(role);
    }
    ctx.change(|board| {
        let (leaving, roles) = std::mem::take(&mut board.state.roles)
            .into_iter()
            .partition(|entry| entry.name == role);
        board.state.roles = roles;
        board.state.leaving.extend::<Vec<Entry>>(leaving);
    });
    ctx.departures().spawn(see_off(Arc::clone(ctx), old));
    ctx.start(role)
}

/// Stops a process that is no longer the one of its role.
async fn see_off(ctx: Arc<Ctx>, process: Process) {
    terminate(&process).await;
    ctx.change(|board| {
        let gone = process.identity;
        board.state.leaving.retain(|entry| entry.identity != gone);
    });
}

async fn end(ctx: &Ctx, role: Role, process: &Process) {
    terminate(process).await;
    ctx.change(|board| board.state.roles.retain(|entry| entry.name != role));
}

/// SIGTERM, and SIGKILL when that was not enough.
async fn terminate(process: &Process) {
    process.signal(Signal::SIGTERM);
    if tokio::time::timeout(STOP_TIMEOUT, process.ended())
        .await
        .is_err()
    {
        tracing::warn!(
            pid = process.identity.pid,
            "killed, it did not stop in time"
        );
        process.signal(Signal::SIGKILL);
        process.ended().await;
    }
}

impl Ctx {
    fn is_current(&self, role: Role, process: &Process, config: u64) -> bool {
        let installed = Build::of(&role.program(&self.config)).ok();
        config == self.fingerprint && installed.is_some() && installed == process.identity.build()
    }

    /// Starts a role; a failure is a role that has ended at once.
    fn start(&self, role: Role) -> Option<Process> {
        let started = start::start(&self.config, &self.sockets, role).and_then(|identity| {
            let process = Process::watch(identity)?;
            process
                .context("it ended at once")
                .map(|process| (identity, process))
        });
        match started {
            Ok((identity, process)) => {
                let entry = Entry {
                    name: role,
                    identity,
                    since: state::now(),
                    config: self.fingerprint,
                };
                self.change(|board| board.state.roles.push(entry));
                Some(process)
            }
            Err(error) => {
                self.note_end(role, format!("{error:#}"), BACK_OFF_FIRST);
                None
            }
        }
    }

    fn note_end(&self, role: Role, how: String, wait: Duration) {
        if wait == BACK_OFF_FIRST {
            tracing::warn!(
                role = role.name(),
                how,
                "ended, starting it again until it stays"
            );
        }
        self.change(|board| {
            board.state.roles.retain(|entry| entry.name != role);
            let ended = &mut board.state.ended;
            match ended.iter_mut().find(|ended| ended.name == role) {
                Some(ended) => {
                    ended.times += 1;
                    ended.how = how;
                }
                None => ended.push(Ended {
                    name: role,
                    times: 1,
                    how,
                }),
            }
        });
    }

    /// Changes the board and writes it down.
    fn change(&self, change: impl FnOnce(&mut Board)) {
        let mut board = self.board();
        change(&mut board);
        board.state.is_settled = board.unsettled == 0;
        if let Err(error) = board.state.write(&self.config.run_dir) {
            tracing::error!(
                error = format!("{error:#}"),
                "the next supervisor will not know all"
            );
        }
    }

    fn departures(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.departures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One supervisor a run folder; the kernel lets go of the lock with the process.
fn lock(config: &Config) -> anyhow::Result<File> {
    let path = config.run_dir.join("up.lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => anyhow::bail!("it runs already: `paas up` without --foreground renews it"),
    }
}

fn raise_open_files() -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.max(OPEN_FILES_MAX);
    // `fs.nr_open` may be below what we want; what there is has to do then.
    setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted)
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))
        .context("cannot raise the limit of open files")
}

/// Readers of logs wait with an inotify instance each, and the kernel gives a user 128 by default
/// (inotify(7)). It is a setting of the machine: raised where it is too low, never lowered.
fn raise_inotify() {
    let path = "/proc/sys/fs/inotify/max_user_instances";
    let now = std::fs::read_to_string(path).unwrap_or_default();
    if now.trim().parse().is_ok_and(|now: u64| now < INOTIFY_MIN)
        && let Err(error) = std::fs::write(path, INOTIFY_MIN.to_string())
    {
        tracing::warn!(%error, "{path} stays at {}: few can read logs at a time", now.trim());
    }
}

/// The same process goes on as another program: its children stay its children.
fn become_new(ctx: &Ctx) -> std::io::Error {
    if let Err(error) = ctx.sockets.keep_across_execute() {
        return error.into();
    }
    Command::new(ctx.config.program_dir.join("paas"))
        .args(["up", "--foreground", "--data"])
        .arg(&ctx.config.data_dir)
        .exec()
}

fn rotate_logs(config: &Config) {
    for name in role::ALL.map(Role::name).into_iter().chain(["up"]) {
        if let Err(error) = logs::rotate(&config.data_dir, name) {
            tracing::warn!(%error, name, "cannot keep a log within its bound");
        }
    }
}
