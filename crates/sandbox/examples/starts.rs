//! Starts one program many times, by a nursery that runs or by `crun run`, and tells when it came
//! to its first instruction, when it listened, and when it was known to be up. For `bench/start`.
//!
//! ```text
//! starts COUNT TOGETHER paas SOCKET STACK central|isolated|none
//! starts COUNT TOGETHER crun BUNDLES [GLOBAL FLAGS…]
//! starts clean INSTANCE RUN             what a killed nursery left is taken away
//! ```
//! TOGETHER threads do COUNT starts between them, one slot each; one alone pauses between them, so
//! that each start finds the machine as its last one left it. The program is `/probe`, which
//! writes two times of `CLOCK_MONOTONIC` and one of `CLOCK_REALTIME` in nanoseconds, as one line:
//! first instruction, before and after `listen(2)`; then it waits to be killed, or for the end of
//! its input. Output: one JSON object per start, times in nanoseconds, and last the time of all.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Barrier, Mutex};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::time::{ClockId, clock_gettime};
use sandbox::{Base, Client, Kind, Limits, Network, Place, Secrets, Spec, Upper};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Longest wait for the program or for `up`.
const PATIENCE_MS: u16 = 20_000;
/// Between two starts that come one after the other: what the kernel cleans up is done by then.
const PAUSE_MS: u16 = 25;
const PORT: u16 = 5000;
const FIRST_CENTRAL_PORT: u16 = 10_000;

/// One start, in nanoseconds.
#[derive(serde::Serialize)]
struct Sample {
    /// From the spec, or the command line, to the program's first instruction.
    first: u64,
    /// From there until it listened.
    listen: u64,
    /// From `listen(2)` to the line `up`.
    up: Option<i64>,
    /// Until the client had its answer.
    answered: u64,
    /// From the kill until everything is gone and told so.
    stop: u64,
    steps: Vec<(String, u32)>,
}

/// What the program wrote, in nanoseconds.
struct Told {
    first: u64,
    listening: u64,
    listening_unix: u64,
}

/// A client, and what it watches a status file with. To close an inotify instance takes as long as
/// ten starts.
struct Caller {
    client: Client,
    changes: Inotify,
}

/// Who starts.
enum Peer {
    Paas {
        socket: PathBuf,
        stack: String,
        network: String,
    },
    Crun {
        bundles: PathBuf,
        flags: Vec<String>,
    },
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let usage = "starts COUNT TOGETHER paas SOCKET STACK NETWORK | crun BUNDLES [FLAGS…]";
    let (count, together, peer) = match words.as_slice() {
        [count, together, "paas", socket, stack, network] => {
            let (socket, stack) = (PathBuf::from(socket), (*stack).to_owned());
            let network = (*network).to_owned();
            let peer = Peer::Paas {
                socket,
                stack,
                network,
            };
            (count, together, peer)
        }
        [count, together, "crun", bundles, flags @ ..] => {
            let flags = flags.iter().map(|f| (*f).to_owned()).collect();
            let bundles = PathBuf::from(bundles);
            (count, together, Peer::Crun { bundles, flags })
        }
        ["clean", instance, run] => {
            let name = model::instance::Name::parse(instance)?;
            return Ok(sandbox::tear_down(&name, Path::new(run))?);
        }
        _ => return Err(usage.into()),
    };
    run_all(&peer, count.parse()?, together.parse()?)
}

fn run_all(peer: &Peer, count: u32, together: u16) -> Outcome<()> {
    let begin = Barrier::new(usize::from(together) + 1);
    let (begin, samples) = (&begin, Mutex::new(Vec::new()));
    let all = &samples;
    let each = count / u32::from(together);
    // One after the other, slots take turns, as they do when dynos come and go.
    let slot = |thread: u16, n: u32| if together == 1 { n % 8 } else { thread.into() };
    let run = |thread: u16| {
        let mut caller = peer.connect();
        begin.wait();
        for n in 0..each {
            if together == 1 {
                poll(&mut [], PAUSE_MS)?;
            }
            let sample = peer.start(&mut caller, u16::try_from(slot(thread, n))?, n)?;
            all.lock().map_err(|e| e.to_string())?.push(sample);
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    };
    let run = &run;
    let wall = std::thread::scope(|scope| {
        let threads = (0..together).map(|thread| scope.spawn(move || run(thread)));
        let threads: Vec<_> = threads.collect();
        begin.wait();
        let since = Instant::now();
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(since.elapsed().as_nanos())
    })?;
    let mut out = io::stdout().lock();
    for sample in samples.into_inner().map_err(|e| e.to_string())? {
        writeln!(out, "{}", serde_json::to_string(&sample)?)?;
    }
    writeln!(out, "{}", serde_json::json!({ "wall": wall }))?;
    Ok(())
}

impl Peer {
    fn connect(&self) -> Option<Caller> {
        match self {
            Self::Paas { socket, .. } => Some(Caller {
                client: Client::connect(socket).ok()?,
                changes: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?,
            }),
            Self::Crun { .. } => None,
        }
    }

    fn start(&self, caller: &mut Option<Caller>, slot: u16, n: u32) -> Outcome<Sample> {
        match self {
            Self::Paas {
                socket,
                stack,
                network,
            } => {
                let caller = caller.as_mut().ok_or("no nursery answers")?;
                let run = socket.parent().ok_or("the socket is in the run folder")?;
                start_dyno(caller, run, &spec(slot, stack, network)?)
            }
            Self::Crun { bundles, flags } => start_container(
                &bundles.join(slot.to_string()),
                flags,
                &format!("{slot}-{n}"),
            ),
        }
    }
}

fn spec(slot: u16, stack: &str, network: &str) -> Outcome<Spec> {
    let (network, port) = match network {
        "central" => {
            let (host, port) = (u8::try_from(slot + 3)?, FIRST_CENTRAL_PORT + slot);
            let net = 0;
            (Network::Central { net, host, port }, port)
        }
        "isolated" => (Network::Isolated { port: PORT }, PORT),
        _ => (Network::None, PORT),
    };
    Ok(Spec {
        id: format!("dyno-{slot}"),
        kind: Kind::Dyno { slot },
        hostname: "web.1".to_owned(),
        lowers: vec![Place {
            base: Base::Stack,
            path: stack.to_owned(),
        }],
        upper: Upper::Memory {
            max_bytes: 16 << 20,
        },
        mounts: Vec::new(),
        argv: vec!["/probe".to_owned(), port.to_string()],
        cwd: "/".to_owned(),
        uid: 1000,
        gid: 1000,
        limits: Limits {
            memory_max_bytes: 64 << 20,
            pids_max: 32,
            cpu_weight: 100,
        },
        network,
        terminal: None,
        watch_port: Some(port),
        note: String::new(),
    })
}

fn start_dyno(caller: &mut Caller, run: &Path, spec: &Spec) -> Outcome<Sample> {
    let Caller { client, changes } = caller;
    let sent = now(ClockId::CLOCK_MONOTONIC)?;
    let started = client.start(spec, &Secrets::default(), &[])?;
    let answered = now(ClockId::CLOCK_MONOTONIC)? - sent;
    let Kind::Dyno { slot } = spec.kind else {
        return Err("a dyno has a slot".into());
    };
    let folder = run.join(format!("dynos/{slot}"));
    let out = File::options().read(true).open(folder.join("out"))?;
    let told = Told::read(out)?;
    let up = wait_for_up(&folder.join("status"), changes)?;
    let stopping = now(ClockId::CLOCK_MONOTONIC)?;
    client.remove(&spec.id)?;
    let stop = now(ClockId::CLOCK_MONOTONIC)? - stopping;
    Ok(Sample {
        up: Some(i64::try_from(up * 1000)? - i64::try_from(told.listening_unix)?),
        answered,
        stop,
        steps: started.steps,
        ..told.since(sent)
    })
}

/// The time of the line `up`, in Unix microseconds.
fn wait_for_up(status: &Path, changes: &Inotify) -> Outcome<u64> {
    changes.add_watch(status, AddWatchFlags::IN_MODIFY)?;
    loop {
        let text = fs::read_to_string(status)?;
        if let Some(us) = text.lines().find_map(|line| line.strip_prefix("up ")) {
            return Ok(us.parse()?);
        }
        let mut fds = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(PATIENCE_MS))? == 0 {
            return Err(format!("never up: {text}").into());
        }
        match changes.read_events() {
            Ok(_) | Err(nix::errno::Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn start_container(bundle: &Path, flags: &[String], id: &str) -> Outcome<Sample> {
    let name = format!("ptbench-{id}");
    let sent = now(ClockId::CLOCK_MONOTONIC)?;
    let mut child = Command::new("crun")
        .args(flags)
        .args(["run", "--bundle"])
        .args([bundle.as_os_str(), name.as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let told = Told::read(child.stdout.take().ok_or("a pipe was asked for")?);
    let stopping = now(ClockId::CLOCK_MONOTONIC)?;
    // The program ends with its input, and `run` then removes what it made. Not by `crun kill`: on
    // a busy machine it comes before `run` has noted what runs, fails, and nobody ends.
    drop(child.stdin.take());
    let ended = child.wait()?;
    if !ended.success() {
        return Err(format!("crun run {name}: {ended}").into());
    }
    Ok(Sample {
        stop: now(ClockId::CLOCK_MONOTONIC)? - stopping,
        ..told?.since(sent)
    })
}

impl Told {
    fn read(from: impl io::Read) -> Outcome<Self> {
        let mut line = String::new();
        BufReader::new(from).read_line(&mut line)?;
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        match numbers.as_slice() {
            [first, listening, listening_unix] => Ok(Self {
                first: *first,
                listening: *listening,
                listening_unix: *listening_unix,
            }),
            _ => Err(format!("the program says {line:?}").into()),
        }
    }

    fn since(&self, sent: u64) -> Sample {
        Sample {
            first: self.first.saturating_sub(sent),
            listen: self.listening.saturating_sub(self.first),
            up: None,
            answered: 0,
            stop: 0,
            steps: Vec::new(),
        }
    }
}

/// Nanoseconds.
fn now(clock: ClockId) -> Outcome<u64> {
    let time = clock_gettime(clock)?;
    Ok(u64::try_from(time.tv_sec())? * 1_000_000_000 + u64::try_from(time.tv_nsec())?)
}
