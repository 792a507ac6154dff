//! Jobs of the nursery as the builder uses them: started off the async threads, waited for without
//! a thread, killed by dropping them.

use crate::jail;
use sandbox::{Base, Client, Kind, Limits, Mount, Network, Place, Secrets, Spec, Upper, Volume};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe;

/// Bytes of a job's output that are held in memory.
const HELD_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of a job's errors that are held in memory; the rest is read and dropped.
pub(crate) const ERRORS_MAX_BYTES: u64 = 64 * 1024;
/// Memory of jobs that do not run the app's own build, bytes; ours: git's index-pack on 2 GiB.
const MEMORY_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// Processes of such a job; ours.
const PIDS_MAX: u32 = 64;

/// Why a job did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// The nursery could not start it.
    #[error("start a job")]
    Start(#[from] sandbox::Error),
    /// A pipe to or from it broke.
    #[error("speak with a job")]
    Io(#[from] io::Error),
    /// It said why.
    #[error("{0}")]
    Said(String),
    /// It ended in another way than by itself.
    #[error("{0}")]
    Ended(Ended),
    /// What it reported is no report.
    #[error("read a job's report")]
    Report(#[from] serde_json::Error),
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this code.
    Exit(i32),
    /// Killed by this signal.
    Signal(i32),
    /// Killed for want of memory.
    Memory,
    /// Killed with its keeper: the nursery or the machine took it.
    Killed,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "it ended with status {code}"),
            Self::Signal(signal) => write!(f, "it was killed by signal {signal}"),
            Self::Memory => f.write_str("it needed more memory than a build may use (2.5 GB)"),
            Self::Killed => f.write_str("it was stopped"),
        }
    }
}

/// Reads the lines of an exit pipe.
fn ended(text: &str) -> Ended {
    if text.lines().any(|line| line == "oom") {
        return Ended::Memory;
    }
    let words = text
        .lines()
        .next_back()
        .and_then(|line| line.split_once(' '));
    match words.map(|(word, number)| (word, number.parse())) {
        Some(("exit", Ok(code))) => Ended::Exit(code),
        Some(("signal", Ok(signal))) => Ended::Signal(signal),
        _ => Ended::Killed,
    }
}

/// Where jobs are started.
#[derive(Clone, Debug)]
pub(crate) struct Jobs {
    socket: Arc<PathBuf>,
    count: Arc<AtomicU64>,
    life: Arc<str>,
}

/// A job that runs; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    exit: pipe::Receiver,
    _lifeline: OwnedFd,
}

/// What a job that ended left.
#[derive(Debug)]
pub(crate) struct Done {
    /// How it ended.
    pub ended: Ended,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: String,
}

impl Jobs {
    /// Jobs of the nursery behind this socket.
    pub(crate) fn new(socket: &Path) -> Self {
        let life = uuid::Uuid::new_v4().simple().to_string();
        Self {
            socket: Arc::new(socket.to_owned()),
            count: Arc::new(AtomicU64::new(0)),
            life: life.chars().take(10).collect::<String>().into(),
        }
    }

    /// A name that no other job or volume has.
    pub(crate) fn name(&self, what: &str) -> String {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{what}-{}-{n}", self.life)
    }

    /// Starts a job with these files as its 0, 1, 2 and so on.
    pub(crate) async fn start(
        &self,
        spec: Spec,
        secrets: Secrets,
        fds: Vec<OwnedFd>,
    ) -> Result<Running, JobError> {
        let socket = Arc::clone(&self.socket);
        let started = tokio::task::spawn_blocking(move || {
            let borrowed: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
            let started = Client::connect(&socket)?.start(&spec, &secrets, &borrowed)?;
            tracing::debug!(job = spec.id, steps = ?started.steps, "job started");
            Ok::<_, sandbox::Error>(started)
        })
        .await
        .map_err(io::Error::other)??;
        let missing = || io::Error::other("the nursery gave no lifeline");
        Ok(Running {
            exit: pipe::Receiver::from_owned_fd(started.exit.ok_or_else(missing)?)?,
            _lifeline: started.lifeline.ok_or_else(missing)?,
        })
    }

    /// Makes a volume; it goes when it is dropped and its last job ended.
    pub(crate) async fn volume(&self, name: String, size_bytes: u64) -> Result<Volume, JobError> {
        let socket = Arc::clone(&self.socket);
        let volume = tokio::task::spawn_blocking(move || {
            Client::connect(&socket)?.volume(&name, size_bytes)
        });
        Ok(volume.await.map_err(io::Error::other)??)
    }

    /// Runs a job without input to its end and holds what it says.
    pub(crate) async fn collect(&self, spec: Spec, secrets: Secrets) -> Result<Done, JobError> {
        let null = OwnedFd::from(File::open("/dev/null")?);
        self.collect_from(null, spec, secrets).await
    }

    /// As [`Jobs::collect`], with input.
    pub(crate) async fn collect_from(
        &self,
        input: OwnedFd,
        spec: Spec,
        secrets: Secrets,
    ) -> Result<Done, JobError> {
        let (stdout, out) = output_pipe()?;
        let (stderr, err) = output_pipe()?;
        let running = self.start(spec, secrets, vec![input, out, err]).await?;
        let (stdout, stderr, ended) = tokio::join!(
            read_bounded(stdout, HELD_MAX_BYTES),
            read_bounded(stderr, ERRORS_MAX_BYTES),
            running.ended(),
        );
        Ok(Done {
            ended: ended?,
            stdout: stdout?,
            stderr: String::from_utf8_lossy(&stderr?).into_owned(),
        })
    }
}

impl Running {
    /// Waits for the end.
    pub(crate) async fn ended(mut self) -> Result<Ended, JobError> {
        let mut text = String::new();
        (&mut self.exit)
            .take(4096)
            .read_to_string(&mut text)
            .await?;
        Ok(ended(&text))
    }
}

impl Done {
    /// Its report, if it ended well; else why not.
    pub(crate) fn report<T: serde::de::DeserializeOwned>(&self) -> Result<T, JobError> {
        self.check()?;
        Ok(serde_json::from_slice(&self.stdout)?)
    }

    /// Whether it ended well.
    pub(crate) fn check(&self) -> Result<(), JobError> {
        match self.ended {
            Ended::Exit(0) => Ok(()),
            ended if self.stderr.trim().is_empty() => Err(JobError::Ended(ended)),
            _ => Err(JobError::Said(self.stderr.trim().to_owned())),
        }
    }
}

/// A pipe that a job writes and we read.
pub(crate) fn output_pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((pipe::Receiver::from_owned_fd(reader.into())?, writer.into()))
}

/// A pipe that we write and a job reads.
pub(crate) fn input_pipe() -> io::Result<(pipe::Sender, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((pipe::Sender::from_owned_fd(writer.into())?, reader.into()))
}

/// Reads to the end, keeps the beginning.
pub(crate) async fn read_bounded(
    mut stream: impl AsyncRead + Unpin,
    max_bytes: u64,
) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    (&mut stream).take(max_bytes).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(kept)
}

/// The spec of a job that sees a stack and this program, as nobody, without network. What it may
/// see and write is added by the caller.
pub(crate) fn spec(id: String, lowers: Vec<Place>, argv: &[&str]) -> Spec {
    Spec {
        id,
        kind: Kind::Job,
        hostname: "build".to_owned(),
        lowers,
        upper: Upper::ReadOnly,
        mounts: vec![bind(program("paas"), jail::PROGRAM)],
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        cwd: "/".to_owned(),
        uid: DYNO_ID,
        gid: DYNO_ID,
        limits: Limits {
            memory_max_bytes: MEMORY_MAX_BYTES,
            pids_max: PIDS_MAX,
            cpu_weight: 100,
        },
        network: Network::None,
        terminal: None,
        watch_port: None,
        note: String::new(),
    }
}

/// The user that apps and their builds run as, inside.
pub(crate) const DYNO_ID: u32 = 1000;

/// The run variant of a stack.
pub(crate) fn run_stack(stack: &str) -> Vec<Place> {
    vec![place(Base::Stack, format!("{stack}/run"))]
}

/// The build variant of a stack: a layer over the run variant.
pub(crate) fn build_stack(stack: &str) -> Vec<Place> {
    vec![
        place(Base::Stack, format!("{stack}/build")),
        place(Base::Stack, format!("{stack}/run")),
    ]
}

/// A place by its parts.
pub(crate) fn place(base: Base, path: String) -> Place {
    Place { base, path }
}

/// Below the data folder.
pub(crate) fn data(path: String) -> Place {
    place(Base::Data, path)
}

/// Below the folder of programs.
pub(crate) fn program(path: &str) -> Place {
    place(Base::Program, path.to_owned())
}

/// Something shown read-only.
pub(crate) fn bind(from: Place, to: &str) -> Mount {
    Mount::Bind {
        from,
        to: to.to_owned(),
        write: false,
    }
}

/// Something shown writable.
pub(crate) fn bind_writable(from: Place, to: &str) -> Mount {
    Mount::Bind {
        from,
        to: to.to_owned(),
        write: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        for (text, expected) in [
            ("exit 0\n", Ended::Exit(0)),
            ("exit 7", Ended::Exit(7)),
            ("signal 9\n", Ended::Signal(9)),
            ("oom\nsignal 9\n", Ended::Memory),
            ("", Ended::Killed),
            ("nonsense", Ended::Killed),
        ] {
            assert_eq!(ended(text), expected, "{text:?}");
        }
    }
}
