//! One task owns one dyno, from the order until nothing is left of it.

use crate::context::{Context, Run};
use crate::crash::History;
use crate::life::{Ending, Running};
use crate::way::Way;
use crate::{answers, command, life, lines, piped};
use model::dyno::{Id, Mode, Network, Purpose, State, Want};
use model::feed::{DynoChange, Event};
use model::network::ISOLATED_PORT;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::watch;

/// How a task begins.
#[derive(Debug)]
pub(crate) enum Begin {
    /// There is nothing yet.
    Start,
    /// It was started by an earlier dynod, in this way; it may have ended since.
    Adopt(Way),
}

/// A dyno and what is known of it.
#[derive(Debug)]
pub(crate) struct Dyno {
    pub(crate) ctx: Context,
    pub(crate) want: Want,
    pub(crate) slot: u16,
    pub(crate) state: State,
    /// In which way it is on the network, from the beginning of a run to its end.
    pub(crate) way: Option<Way>,
    history: History,
}

/// What comes after an ending.
enum Next {
    Gone,
    StartAfter(Duration),
}

/// Runs a dyno until it is stopped or, unless it belongs to a formation, has ended.
pub(crate) async fn run(
    ctx: Context,
    want: Want,
    slot: u16,
    begin: Begin,
    mut stop: watch::Receiver<bool>,
) -> Id {
    let id = want.dyno;
    let mut dyno = Dyno {
        ctx,
        want,
        slot,
        state: State::Created,
        way: None,
        history: History::default(),
    };
    let mut begin = begin;
    loop {
        let ending = dyno.live(begin, &mut stop).await;
        begin = Begin::Start;
        match dyno.after(&ending).await {
            Next::Gone => break,
            Next::StartAfter(pause) => {
                if asked_within(pause, &mut stop).await {
                    dyno.set(State::Down, None, None).await;
                    break;
                }
            }
        }
    }
    dyno.ctx.forget_run(id);
    id
}

/// Waits for the wish to stop. A node that is gone wishes nothing: when dynod ends its dynos go on.
pub(crate) async fn asked(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn asked_within(pause: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(pause, asked(stop)).await.is_ok()
}

impl Dyno {
    async fn live(&mut self, begin: Begin, stop: &mut watch::Receiver<bool>) -> Ending {
        let mut stream = None;
        let is_adopted = match begin {
            Begin::Adopt(way) => {
                self.begin_run(way);
                true
            }
            Begin::Start if *stop.borrow() => return Ending::stopped(),
            Begin::Start => {
                self.set(State::Starting, None, None).await;
                match self.prepare(stop).await {
                    Ok(attached) => stream = attached,
                    Err(ending) => return ending,
                }
                false
            }
        };
        if command::is_job(&self.want)
            && let Some(stream) = stream
        {
            return piped::live(self, stream, stop).await;
        }
        let running = if is_adopted {
            Running::adopt(self).map_err(|error| error.to_string())
        } else {
            self.launch(stream).await
        };
        let ending = match running {
            Ok(running) => life::follow(self, running, stop).await,
            Err(reason) => Ending::not_started(reason),
        };
        self.end_run().await;
        ending
    }

    /// Chooses the way, and waits until somebody is there to see what a one-off prints: only then
    /// does it start.
    async fn prepare(
        &mut self,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Option<UnixStream>, Ending> {
        let way = self.choose().await.map_err(Ending::not_started)?;
        self.begin_run(way);
        self.say(lines::starting(&command::shown(
            &self.want.command,
            self.port(),
        )));
        if matches!(self.want.purpose, Purpose::Attached { .. }) {
            return self.attached(stop).await.map(Some);
        }
        Ok(None)
    }

    async fn choose(&self) -> Result<Way, String> {
        // Images are alone by choice, not for want of anything.
        if command::is_job(&self.want) || self.want.slug.image.is_some() {
            return Ok(Way::Isolated { fallback: None });
        }
        let facts = self.ctx.nursery.facts().await;
        let facts = facts.map_err(|error| chain(&error))?;
        let mode = self.ctx.config.dynod.slug_network;
        Ok(Way::choose(mode, &facts, &self.ctx.seats, self.want.owner))
    }

    fn begin_run(&mut self, way: Way) {
        let network = way.network();
        let slot = self.slot;
        self.way = Some(way);
        self.ctx
            .note_run(self.want.dyno, Run::Known { slot, network });
    }

    /// Removes what is left of a run, and gives its place away. What there was to tell of it is
    /// kept for a dyno that comes back; of a one-off nobody can ask any more.
    async fn end_run(&mut self) {
        if self.want.purpose == Purpose::Formation
            && let Some(run) = answers::last_words(&self.ctx, self.want.dyno).await
        {
            self.ctx.note_run(self.want.dyno, run);
        }
        let id = command::sandbox_id(self.slot);
        if let Err(error) = self.ctx.nursery.remove(&id).await {
            tracing::error!(%error, dyno.name = %self.want.name, dyno.slot = self.slot, "failed to remove what is left of a dyno");
        }
        self.way = None;
    }

    /// Waits until somebody is there to see what a one-off prints: only then does it start.
    async fn attached(&self, stop: &mut watch::Receiver<bool>) -> Result<UnixStream, Ending> {
        tokio::select! {
            stream = link::feed::stream(&self.ctx.config, self.want.dyno) => {
                stream.map_err(|error| Ending::not_started(chain(&error)))
            }
            () = asked(stop) => Err(Ending::stopped()),
        }
    }

    async fn launch(&mut self, stream: Option<UnixStream>) -> Result<Running, String> {
        let site = self
            .ctx
            .slugs
            .site(self.slot, &self.want.slug)
            .await
            .map_err(|error| chain(&error))?;
        let way = self.way.as_ref().ok_or("no way was chosen")?;
        let spec = command::spec(&self.want, &site, way);
        let secrets = command::secrets(&self.want, self.port());
        let started = self
            .ctx
            .nursery
            .start(spec, secrets, Vec::new())
            .await
            .map_err(|error| chain(&error))?;
        tracing::info!(app.name = %self.want.app_name, dyno.name = %self.want.name, dyno.slot = self.slot, pid = started.pid, steps = ?started.steps, "started a dyno");
        let session = started.terminal.zip(stream);
        Running::begin(self, session).map_err(|error| error.to_string())
    }

    /// Decides what an ending means and tells everybody.
    async fn after(&mut self, ending: &Ending) -> Next {
        if let Some(reason) = &ending.not_started {
            tracing::warn!(reason, app.name = %self.want.app_name, dyno.name = %self.want.name, "failed to start a dyno");
            self.say(format!(
                "Error R99 (Platform error) -> Failed to start the dyno: {reason}"
            ));
        }
        if let Some(code) = ending.exit_code {
            self.say(lines::exited(code));
        }
        if ending.was_stopped {
            self.set(State::Down, ending.exit_code, None).await;
            return Next::Gone;
        }
        if self.want.purpose != Purpose::Formation {
            self.set(
                State::Complete,
                ending.exit_code.or(Some(1)),
                ending
                    .failure
                    .clone()
                    .or_else(|| ending.not_started.clone()),
            )
            .await;
            return Next::Gone;
        }
        let pause_ms = self.history.crashed(self.ctx.policy, ending.ran_us);
        let failure = ending
            .failure
            .clone()
            .or_else(|| ending.not_started.clone());
        self.set(State::Crashed, ending.exit_code, failure).await;
        Next::StartAfter(Duration::from_millis(pause_ms))
    }

    /// Logs a line of the platform about this dyno.
    pub(crate) fn say(&self, text: String) {
        self.ctx
            .log
            .platform(self.want.app, &self.want.name.to_string(), text);
    }

    /// Logs that the kernel killed it for its memory.
    pub(crate) fn say_out_of_memory(&self) {
        for line in lines::memory_exceeded(self.want.size.facts().memory_mib) {
            self.say(line);
        }
    }

    /// Moves to a state: a log line, and a word to the api.
    pub(crate) async fn set(
        &mut self,
        state: State,
        exit_code: Option<i32>,
        failure: Option<String>,
    ) {
        if self.state == state {
            return;
        }
        if self.state != State::Created || state != State::Down {
            let from = if self.state == State::Created {
                State::Down
            } else {
                self.state
            };
            if from != State::Down || state != State::Starting {
                self.say(lines::state_changed(from, state));
            }
        }
        self.report(state, exit_code, failure).await;
    }

    /// Tells the api without a log line: what an adopted dyno already is.
    pub(crate) async fn report(
        &mut self,
        state: State,
        exit_code: Option<i32>,
        failure: Option<String>,
    ) {
        self.state = state;
        let change = DynoChange {
            dyno: self.want.dyno,
            state,
            at_us: crate::now_us(),
            address: self.address_when(state),
            network: self.network_when(state),
            exit_code,
            failure,
        };
        let ended = matches!(state, State::Down | State::Complete);
        self.ctx.remember(&change, ended);
        self.ctx.feed.event(Event::Dyno(change)).await;
    }

    /// Whether the router sends it requests.
    pub(crate) fn is_routed(&self) -> bool {
        self.want.purpose == Purpose::Formation && self.want.name.process_type.is_web()
    }

    /// PORT of this run.
    pub(crate) fn port(&self) -> u16 {
        let way = self.way.as_ref();
        way.map_or(ISOLATED_PORT, |way| way.port(self.slot))
    }

    /// The mode of this run.
    pub(crate) fn mode(&self) -> Mode {
        match &self.way {
            Some(way) if way.is_central() => Mode::Central,
            _ => Mode::Isolated,
        }
    }

    fn address_when(&self, state: State) -> Option<SocketAddrV4> {
        let way = self.way.as_ref()?;
        let is_reached = state == State::Up && self.is_routed();
        is_reached.then(|| way.address(self.ctx.range, self.slot))
    }

    fn network_when(&self, state: State) -> Option<Network> {
        let runs = matches!(state, State::Starting | State::Up);
        self.way.as_ref().filter(|_| runs).map(Way::network)
    }

    /// Its run folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.ctx.dynos.join(self.slot.to_string())
    }
}

/// The whole chain of an error in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
