//! The threads that serve: started, stopped, joined.

use crate::access::{Log, LogWriter, Message, WriterStartError};
use crate::client::Door;
use crate::listen;
use crate::table::Table;
use crate::timers::Timers;
use crate::worker::{Platform, Shared, Worker};
use link::stop::Stop;
use model::limits;
use std::net::TcpListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

/// What a router serves with.
#[derive(Debug)]
pub struct Server {
    /// Where apps and the platform's hosts are reached.
    pub http: Vec<TcpListener>,
    /// Where only the platform is reached.
    pub loopback: Vec<TcpListener>,
    /// The routes; kept up to date by the caller.
    pub table: Arc<Table>,
    /// Where the platform's hosts are served.
    pub platform: Platform,
    /// The router's own folder of log lines, which exists.
    pub journal: PathBuf,
    /// Count of threads; 0: one a core.
    pub threads: usize,
    /// The waits.
    pub timers: Timers,
    /// Ends it.
    pub stop: Stop,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The thread of the log.
    #[error(transparent)]
    Log(#[from] WriterStartError),
    /// The system refused a thread or a copy of a listener.
    #[error("start a thread")]
    Io(#[from] std::io::Error),
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    threads: Vec<JoinHandle<()>>,
    log: LogWriter,
    stop: Stop,
}

impl Server {
    /// Starts the threads; they accept when this returns, or very soon after.
    pub fn start(self) -> Result<Running, ServerError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = if self.threads == 0 {
            cores
        } else {
            self.threads
        };
        let log = LogWriter::start(self.journal)?;
        let shared = Arc::new(Shared {
            table: self.table,
            timers: self.timers,
            platform: self.platform,
            held: AtomicUsize::new(0),
            connections: Arc::new(Semaphore::new(connections_max())),
            stop: self.stop.clone(),
            is_forced: AtomicBool::new(false),
        });
        let mut threads = Vec::new();
        for number in 0..count {
            let mut doors = Vec::new();
            for (listeners, door) in [(&self.http, Door::Public), (&self.loopback, Door::Loopback)]
            {
                for listener in listeners {
                    // A copy of the descriptor: all threads accept from one backlog.
                    let listener = listener.try_clone()?;
                    listener.set_nonblocking(true)?;
                    doors.push((listener, door));
                }
            }
            let (shared, sender) = (Arc::clone(&shared), log.sender());
            let thread = std::thread::Builder::new()
                .name(format!("router-{number}"))
                .spawn(move || work(shared, sender, doors))?;
            threads.push(thread);
        }
        Ok(Running {
            threads,
            log,
            stop: self.stop,
        })
    }
}

impl Running {
    pub(crate) fn log(&self) -> SyncSender<Message> {
        self.log.sender()
    }

    /// Waits for the request to stop.
    pub async fn stopped(&self) {
        self.stop.requested().await;
    }

    /// Waits until all connections ended or were cut, and all log lines are written.
    pub async fn join(self) {
        let joined = tokio::task::spawn_blocking(move || {
            for thread in self.threads {
                if thread.join().is_err() {
                    tracing::error!("a thread of the router panicked");
                }
            }
            self.log.finish();
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "the router did not end in order");
        }
    }
}

/// One thread, to its end.
fn work(shared: Arc<Shared>, sender: SyncSender<Message>, doors: Vec<(TcpListener, Door)>) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "a thread of the router has no runtime");
            return;
        }
    };
    let worker = Rc::new(Worker::new(shared, Log::new(sender)));
    LocalSet::new().block_on(&runtime, async {
        let mut accepting = tokio::task::JoinSet::new();
        for (listener, door) in doors {
            accepting.spawn_local(listen::run(Rc::clone(&worker), listener, door));
        }
        tokio::select! {
            () = async { while accepting.join_next().await.is_some() {} } => {}
            () = keep_house(&worker) => {}
        }
    });
    worker.log.flush();
}

/// What a thread does beside its connections: log lines leave, stale connections close.
async fn keep_house(worker: &Worker) {
    let mut generation = worker.shared.table.generation();
    let mut tick = tokio::time::interval(Duration::from_millis(limits::ACCESS_FLUSH_MS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => worker.log.flush(),
            changed = generation.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
        }
        worker.pool.sweep(worker.shared.timers.dyno_keep_alive);
    }
}

/// Clients that may be connected: each can need a second descriptor for its dyno.
fn connections_max() -> usize {
    const SPARE: usize = 128;
    let descriptors = std::fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|limits| {
            let line = limits
                .lines()
                .find(|line| line.starts_with("Max open files"))?;
            line.split_whitespace().nth(3)?.parse::<usize>().ok()
        })
        .unwrap_or(1024);
    (descriptors.saturating_sub(SPARE) / 2).clamp(64, limits::CLIENT_CONNECTIONS_MAX)
}
