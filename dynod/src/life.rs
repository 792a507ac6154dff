//! One run of a dyno: from its start, or its adoption, to the end of its last process.

use crate::dyno::{Dyno, asked};
use crate::status::{Cursor, Report};
use crate::watch::Watched;
use crate::{attach, command, lines, output};
use model::dyno::{Purpose, State};
use model::limits::STOP_TIMEOUT_MS;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// After the last process ended its output is read out for so long at most.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);
/// SIGHUP is sent so often, so far apart, to a one-off whose connection is gone; then SIGKILL.
const HANGUPS: u8 = 4;
const HANGUP_PAUSE: Duration = Duration::from_secs(5);
/// Refusals that a boot failure names.
const REFUSALS_MAX: usize = 5;
/// What is told of a keeper that was killed itself, and all its processes with it.
const KILLED: i32 = 137;

/// How a run ended.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    /// Whether somebody asked for it.
    pub(crate) was_stopped: bool,
    /// Exit code, or 128 + signal.
    pub(crate) exit_code: Option<i32>,
    /// Why it crashed, for the person who pushed.
    pub(crate) failure: Option<String>,
    /// It did not even start, because of this.
    pub(crate) not_started: Option<String>,
    /// How long it ran, microseconds.
    pub(crate) ran_us: u64,
}

impl Ending {
    /// Asked for before it began.
    pub(crate) fn stopped() -> Self {
        Self {
            was_stopped: true,
            ..Self::default()
        }
    }

    /// The platform could not start it.
    pub(crate) fn not_started(reason: String) -> Self {
        Self {
            not_started: Some(reason),
            ..Self::default()
        }
    }
}

/// A dyno that runs, with everything that tells of it.
#[derive(Debug)]
pub(crate) struct Running {
    path: PathBuf,
    cursor: Cursor,
    watched: Watched,
    /// Ends when the last process is gone: the keeper, too, holds the FIFO open.
    output: JoinHandle<()>,
    session: Option<JoinHandle<std::io::Result<attach::End>>>,
    is_adopted: bool,
}

impl Running {
    /// Takes over what the nursery has just started.
    pub(crate) fn begin(
        dyno: &Dyno,
        session: Option<(OwnedFd, UnixStream)>,
    ) -> std::io::Result<Self> {
        let mut running = Self::adopt(dyno)?;
        running.is_adopted = false;
        running.session =
            session.map(|(terminal, stream)| tokio::spawn(attach::terminal(terminal, stream)));
        Ok(running)
    }

    /// Finds everything in the run folder.
    pub(crate) fn adopt(dyno: &Dyno) -> std::io::Result<Self> {
        let folder = dyno.folder();
        let path = folder.join("status");
        let watched = dyno.ctx.watcher.watch(&path)?;
        let pipe = output::open(&folder.join("out"))?;
        let (app, name, log) = (
            dyno.want.app,
            dyno.want.name.to_string(),
            dyno.ctx.log.clone(),
        );
        let output = tokio::spawn(output::follow(pipe, app, name, log));
        Ok(Self {
            path,
            cursor: Cursor::default(),
            watched,
            output,
            session: None,
            is_adopted: true,
        })
    }
}

/// What happens when nothing else does until then.
#[derive(Clone, Copy, Debug)]
enum Deadline {
    Boot,
    Kill,
    TimeToLive,
    Hangup(u8),
}

struct Life<'a> {
    dyno: &'a mut Dyno,
    ending: Ending,
    listeners: Vec<String>,
    has_said_unbound: bool,
    refusals: Vec<String>,
    started_us: u64,
    deadline: Option<(Instant, Deadline)>,
    is_stopping: bool,
}

/// What woke a run.
enum Wake {
    Status,
    Output,
    Stop,
    Deadline(Deadline),
    Session(Option<attach::End>),
}

/// Follows a run to its end.
pub(crate) async fn follow(
    dyno: &mut Dyno,
    mut running: Running,
    stop: &mut watch::Receiver<bool>,
) -> Ending {
    let deadline = first_deadline(dyno);
    let mut life = Life {
        dyno,
        ending: Ending::default(),
        listeners: Vec::new(),
        has_said_unbound: false,
        refusals: Vec::new(),
        started_us: crate::now_us(),
        deadline,
        is_stopping: false,
    };
    let mut is_quiet = running.is_adopted;
    let mut is_over = false;
    loop {
        for report in running.cursor.read(&running.path).unwrap_or_default() {
            life.take(report, is_quiet).await;
        }
        is_quiet = false;
        if life.ending.exit_code.is_some() || is_over {
            break;
        }
        match life.wait(&mut running, stop).await {
            Wake::Status => {}
            Wake::Output => is_over = true,
            Wake::Stop => life.stop().await,
            Wake::Deadline(deadline) => life.expired(deadline).await,
            Wake::Session(end) => life.detached(end).await,
        }
    }
    if !is_over
        && tokio::time::timeout(OUTPUT_GRACE, &mut running.output)
            .await
            .is_err()
    {
        running.output.abort();
    }
    if let Some(session) = running.session
        && tokio::time::timeout(OUTPUT_GRACE, session).await.is_err()
    {
        tracing::debug!("the terminal of a one-off was cut");
    }
    life.end()
}

fn first_deadline(dyno: &Dyno) -> Option<(Instant, Deadline)> {
    let now = Instant::now();
    match dyno.want.purpose {
        Purpose::Formation if dyno.is_routed() => Some((
            now + Duration::from_millis(dyno.want.boot_timeout_ms),
            Deadline::Boot,
        )),
        Purpose::Formation | Purpose::Release => None,
        Purpose::Detached { time_to_live_s } | Purpose::Attached { time_to_live_s, .. } => Some((
            now + Duration::from_secs(time_to_live_s),
            Deadline::TimeToLive,
        )),
    }
}

impl Life<'_> {
    async fn wait(&self, running: &mut Running, stop: &mut watch::Receiver<bool>) -> Wake {
        let deadline = self.deadline;
        let expiry = async {
            match deadline {
                Some((at, _)) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let session = async {
            match running.session.as_mut() {
                Some(session) => session.await,
                None => std::future::pending().await,
            }
        };
        // Every arm may be dropped and asked again: notifications are kept, handles stay.
        let wake = tokio::select! {
            () = running.watched.changed() => Wake::Status,
            _ = &mut running.output => Wake::Output,
            () = asked(stop), if !self.is_stopping => Wake::Stop,
            () = expiry => Wake::Deadline(deadline.map_or(Deadline::Kill, |(_, what)| what)),
            end = session => Wake::Session(end.ok().and_then(Result::ok)),
        };
        if matches!(wake, Wake::Session(_)) {
            running.session = None;
        }
        wake
    }

    async fn take(&mut self, report: Report, is_quiet: bool) {
        match report {
            Report::Started(at_us) => {
                self.started_us = at_us;
                if !self.dyno.is_routed() {
                    self.up(is_quiet).await;
                } else if is_quiet {
                    let waited_ms = crate::now_us().saturating_sub(at_us) / 1000;
                    let left_ms = self.dyno.want.boot_timeout_ms.saturating_sub(waited_ms);
                    self.deadline = Some((
                        Instant::now() + Duration::from_millis(left_ms),
                        Deadline::Boot,
                    ));
                    self.dyno.report(State::Starting, None, None).await;
                }
            }
            Report::Up(_) if self.dyno.is_routed() => self.up(is_quiet).await,
            // Any other dyno is up once it runs.
            Report::Up(_) => {}
            Report::Listening(listeners) => self.listen(listeners, is_quiet),
            Report::Refused(what) => self.refused(what, is_quiet),
            Report::OutOfMemory => {
                self.dyno.say_out_of_memory();
                let mib = self.dyno.want.size.facts().memory_mib;
                self.ending.failure = Some(format!("it used more than its {mib} MB of memory"));
            }
            Report::Failed(why) => {
                let name = &self.dyno.want.name;
                tracing::error!(dyno.name = %name, why, "the keeper of a dyno failed");
                self.ending.failure = Some(format!("the process that keeps it failed: {why}"));
            }
            Report::Dropped(count) => self.dyno.say(lines::output_dropped(count)),
            Report::Exited { code, at_us } => {
                self.ending.exit_code = Some(code);
                self.ending.ran_us = at_us.saturating_sub(self.started_us);
            }
        }
    }

    fn listen(&mut self, listeners: Vec<String>, is_quiet: bool) {
        self.listeners = listeners;
        let mode = self.dyno.mode();
        let mut unbound = self.listeners.iter();
        if let Some(one) = unbound.find(|one| lines::is_unbound(mode, one))
            && !std::mem::replace(&mut self.has_said_unbound, true)
            && !is_quiet
        {
            self.dyno.say(lines::unbound(one));
        }
    }

    /// What is read at an adoption was logged before, or came while nobody looked.
    fn refused(&mut self, what: String, is_quiet: bool) {
        if !is_quiet {
            self.dyno.say(lines::refused(&what));
        }
        if self.refusals.len() < REFUSALS_MAX {
            self.refusals.push(what);
        }
    }

    async fn up(&mut self, is_quiet: bool) {
        if matches!(self.deadline, Some((_, Deadline::Boot))) {
            self.deadline = None;
        }
        if is_quiet {
            self.dyno.report(State::Up, None, None).await;
        } else {
            self.dyno.set(State::Up, None, None).await;
        }
    }

    async fn stop(&mut self) {
        self.is_stopping = true;
        self.ending.was_stopped = true;
        self.dyno.say(lines::stopping());
        let image = self.dyno.want.slug.image.as_ref();
        let signal = image.map_or(nix::libc::SIGTERM, |image| image.stop_signal);
        self.signal(signal).await;
        self.deadline = Some((
            Instant::now() + Duration::from_millis(STOP_TIMEOUT_MS),
            Deadline::Kill,
        ));
    }

    async fn expired(&mut self, deadline: Deadline) {
        self.deadline = None;
        match deadline {
            Deadline::Boot => {
                let seconds = self.dyno.want.boot_timeout_ms / 1000;
                self.dyno.say(lines::boot_timeout(seconds));
                self.ending.failure = Some(self.boot_failure(seconds));
                self.kill().await;
            }
            Deadline::Kill => {
                self.dyno.say(lines::exit_timeout(STOP_TIMEOUT_MS / 1000));
                self.kill().await;
            }
            Deadline::TimeToLive => self.stop().await,
            Deadline::Hangup(HANGUPS) => {
                self.dyno.say("Error R16 (Detached) -> An attached process is not responding to SIGHUP after its connection was closed".to_owned());
                self.kill().await;
            }
            Deadline::Hangup(count) => self.hang_up(count + 1).await,
        }
    }

    fn boot_failure(&self, seconds: u64) -> String {
        let (mode, port) = (self.dyno.mode(), self.dyno.port());
        let why = lines::not_listening(mode, port, &self.listeners);
        self.with_refusals(format!("{} ({why})", lines::boot_timeout(seconds)))
    }

    /// What a program is refused is often why it does not come up.
    fn with_refusals(&self, what: String) -> String {
        if self.refusals.is_empty() {
            return what;
        }
        format!("{what}\nit was refused: {}", self.refusals.join(", "))
    }

    async fn detached(&mut self, end: Option<attach::End>) {
        if end != Some(attach::End::Output) && !self.is_stopping {
            self.hang_up(1).await;
        }
    }

    async fn hang_up(&mut self, count: u8) {
        self.signal(nix::libc::SIGHUP).await;
        self.deadline = Some((Instant::now() + HANGUP_PAUSE, Deadline::Hangup(count)));
    }

    async fn kill(&mut self) {
        self.dyno.say(lines::killing());
        self.signal(nix::libc::SIGKILL).await;
    }

    async fn signal(&self, signal: i32) {
        let id = command::sandbox_id(self.dyno.slot);
        if let Err(error) = self.dyno.ctx.nursery.signal(&id, signal).await {
            tracing::error!(%error, dyno.name = %self.dyno.want.name, "failed to signal a dyno");
        }
    }

    fn end(mut self) -> Ending {
        let code = *self.ending.exit_code.get_or_insert(KILLED);
        if self.dyno.state == State::Starting && self.ending.failure.is_none() {
            let what = if self.dyno.is_routed() {
                " before it listened on $PORT"
            } else {
                ""
            };
            let what = format!("its process exited with status {code}{what}");
            self.ending.failure = Some(self.with_refusals(what));
        }
        self.ending
    }
}
