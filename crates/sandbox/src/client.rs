//! The nursery as its callers see it: blocking calls over its socket.
//!
//! Called by builder and dynod (through `spawn_blocking`). One connection carries one request at a
//! time, so concurrent callers hold a client each.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use model::limits;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};

use crate::spec::{Fault, Secrets, Spec};
use crate::sys::{self, socket as packets};
use crate::wire::{Answer, Facts, Failure, Living, PortReport, Request, Usage};

/// A connection to the nursery.
#[derive(Debug)]
pub struct Client(OwnedFd);

/// A command that was started.
#[derive(Debug)]
pub struct Started {
    /// The keeper's process id on the host.
    pub pid: i32,
    /// Readable once the keeper, and so every process of the sandbox, is gone.
    pub pidfd: OwnedFd,
    /// The terminal's outer side, if the spec asked for a terminal.
    pub terminal: Option<OwnedFd>,
    /// Of a job: lines `oom`, then `exit N` or `signal N`; end of file when the sandbox is gone.
    pub exit: Option<OwnedFd>,
    /// Of a job: closing it kills the job.
    pub lifeline: Option<OwnedFd>,
    /// What each step of the start took, in microseconds, in order.
    pub steps: Vec<(String, u32)>,
}

/// A file system of bounded size that several jobs share; gone when this is dropped and the last
/// of these jobs ended.
#[derive(Debug)]
pub struct Volume {
    /// The name by which specs refer to it.
    pub id: String,
    /// Closing it unmounts the volume.
    pub lifeline: OwnedFd,
}

/// A request did not work.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The request breaks a rule; asking again cannot help.
    #[error("ask the nursery: {0}")]
    Refused(String),
    /// There is no such sandbox or volume.
    #[error("find {0} in the nursery")]
    Unknown(String),
    /// A sandbox or volume of this name is there already.
    #[error("take the name {0} in the nursery: it exists")]
    Exists(String),
    /// The machine said no; the text names the step and the reason.
    #[error("make the sandbox: {0}")]
    Failed(String),
    /// The nursery went away, or answered what was not asked; connect again.
    #[error("speak with the nursery")]
    Gone(#[source] io::Error),
}

impl From<Fault> for ClientError {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault.to_string())
    }
}

fn gone(error: impl Into<io::Error>) -> ClientError {
    ClientError::Gone(error.into())
}

impl Client {
    /// Connects to the nursery's socket. Every later answer comes within
    /// [`limits::NURSERY_ANSWER_TIMEOUT_S`], or the call fails with [`ClientError::Gone`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let fd = socket::socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .map_err(gone)?;
        let timeout = nix::sys::time::TimeVal::new(limits::NURSERY_ANSWER_TIMEOUT_S, 0);
        socket::setsockopt(&fd, socket::sockopt::ReceiveTimeout, &timeout).map_err(gone)?;
        let address = UnixAddr::new(path).map_err(gone)?;
        socket::connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &address).map_err(gone)?;
        Ok(Self(fd))
    }

    /// Starts a command and waits until it runs: the answer comes after its `execve` worked.
    ///
    /// A job takes three files or more, its 0, 1, 2 and so on; a dyno, and whatever has a
    /// terminal, takes none.
    pub fn start(
        &mut self,
        spec: &Spec,
        secrets: &Secrets,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Started, ClientError> {
        spec.check()?;
        secrets.check()?;
        let sealed = sys::memory_file(&serde_json::to_vec(secrets).map_err(gone)?).map_err(gone)?;
        let mut sent = vec![sealed.as_fd()];
        sent.extend_from_slice(fds);
        let request = Request::Start(Box::new(spec.clone()));
        let (answer, files) = self.ask(&request, &sent, &spec.id)?;
        let Answer::Started {
            pid,
            terminal,
            job,
            steps,
        } = answer
        else {
            return Err(unexpected());
        };
        let mut files = files.into_iter();
        let mut next = || files.next().ok_or_else(unexpected);
        Ok(Started {
            pid,
            pidfd: next()?,
            terminal: if terminal { Some(next()?) } else { None },
            exit: if job { Some(next()?) } else { None },
            lifeline: if job { Some(next()?) } else { None },
            steps,
        })
    }

    /// Sends a signal to every process of a sandbox but its keeper. SIGKILL leaves none.
    pub fn signal(&mut self, id: &str, signal: i32) -> Result<(), ClientError> {
        let request = Request::Signal {
            id: id.to_owned(),
            signal,
        };
        self.ask_done(&request, id)
    }

    /// Removes what is left of a dyno or job: processes, cgroup, network, folder. Safe to repeat.
    pub fn remove(&mut self, id: &str) -> Result<(), ClientError> {
        self.ask_done(&Request::Remove { id: id.to_owned() }, id)
    }

    /// Tells what a sandbox uses now; of a dyno that ended, too, until it is removed.
    pub fn usage(&mut self, id: &str) -> Result<Usage, ClientError> {
        match self.ask(&Request::Usage { id: id.to_owned() }, &[], id)? {
            (Answer::Usage(usage), _) => Ok(usage),
            _ => Err(unexpected()),
        }
    }

    /// Lists the dynos that live, by rising slot.
    pub fn list(&mut self) -> Result<Vec<Living>, ClientError> {
        let mut all: Vec<Living> = Vec::new();
        loop {
            let after = all.last().map_or(0, |last| last.slot + 1);
            match self.ask(&Request::List { after }, &[], "")? {
                (Answer::Living { dynos, more }, _) => {
                    let end = !more || dynos.is_empty();
                    all.extend(dynos);
                    if end {
                        return Ok(all);
                    }
                }
                _ => return Err(unexpected()),
            }
        }
    }

    /// Makes a volume: a sparse ext4 file system whose root folder belongs to 1000:1000.
    pub fn volume(&mut self, id: &str, size_bytes: u64) -> Result<Volume, ClientError> {
        let request = Request::Volume {
            id: id.to_owned(),
            size_bytes,
        };
        match self.ask(&request, &[], id)? {
            (Answer::Volume, files) => Ok(Volume {
                id: id.to_owned(),
                lifeline: files.into_iter().next().ok_or_else(unexpected)?,
            }),
            _ => Err(unexpected()),
        }
    }

    /// Tells what can be had on this machine.
    pub fn facts(&mut self) -> Result<Facts, ClientError> {
        match self.ask(&Request::Facts, &[], "")? {
            (Answer::Facts(facts), _) => Ok(facts),
            _ => Err(unexpected()),
        }
    }

    /// Tells what the network of a dyno lets in, and what it refused; of a dyno that ended, too,
    /// until it is removed. [`ClientError::Refused`] when it has no PORT.
    pub fn port(&mut self, id: &str) -> Result<PortReport, ClientError> {
        match self.ask(&Request::Port { id: id.to_owned() }, &[], id)? {
            (Answer::Port(report), _) => Ok(report),
            _ => Err(unexpected()),
        }
    }

    /// Tells what each step of a dyno's start took, in microseconds, in order; of any dyno that was
    /// not removed yet. The last, `boot`, is the app's own: until it listened on its PORT.
    pub fn start_steps(&mut self, id: &str) -> Result<Vec<(String, u32)>, ClientError> {
        match self.ask(&Request::StartSteps { id: id.to_owned() }, &[], id)? {
            (Answer::StartSteps(steps), _) => Ok(steps),
            _ => Err(unexpected()),
        }
    }

    fn ask_done(&mut self, request: &Request, id: &str) -> Result<(), ClientError> {
        match self.ask(request, &[], id)? {
            (Answer::Done, _) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    fn ask(
        &mut self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
        id: &str,
    ) -> Result<(Answer, Vec<OwnedFd>), ClientError> {
        let message = serde_json::to_vec(request).map_err(gone)?;
        if message.len() > limits::SANDBOX_MESSAGE_MAX_BYTES {
            return Err(ClientError::Refused("the spec is too long".into()));
        }
        if fds.len() > limits::SANDBOX_FDS_MAX {
            return Err(ClientError::Refused(
                "too many files are handed over".into(),
            ));
        }
        packets::send(self.0.as_fd(), &message, fds).map_err(gone)?;
        let packet = packets::receive(self.0.as_fd()).map_err(gone)?;
        if packet.message.is_empty() {
            return Err(gone(io::ErrorKind::UnexpectedEof));
        }
        match serde_json::from_slice(&packet.message).map_err(gone)? {
            Answer::Failed { failure, reason } => Err(match failure {
                Failure::Refused => ClientError::Refused(reason),
                Failure::Unknown => ClientError::Unknown(id.to_owned()),
                Failure::Exists => ClientError::Exists(id.to_owned()),
                Failure::Failed => ClientError::Failed(reason),
            }),
            answer => Ok((answer, packet.fds)),
        }
    }
}

fn unexpected() -> ClientError {
    gone(io::Error::new(
        io::ErrorKind::InvalidData,
        "the nursery answered another question",
    ))
}
