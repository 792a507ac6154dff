//! One push: git's receive-pack in a job, its hook's questions answered, its build.
//!
//! Everything of a push ends with its client: the client's connection holds the trigger of `gone`,
//! which kills the job, drops the build with all its jobs and gives the app's turn back.

mod deploy;

use crate::git_job::{self, Act, Service};
use crate::hook::talk::{MESSAGE_MAX_BYTES, Request, Verdict, Word};
use crate::intake::body::Incoming;
use crate::intake::client::Gone;
use crate::jobs::{self, Ended, JobError};
use crate::output::{self, Voice, phrases};
use crate::policy::{self, Fate};
use crate::repository;
use crate::site::Site;
use crate::tidy;
use deploy::Deployed;
use model::account;
use model::feed::App;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, pipe};

/// Bytes of git's own complaints that are logged.
const ERRORS_MAX_BYTES: u64 = 16 * 1024;

/// Who pushes to what.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    /// The app.
    pub app: App,
    /// Whether it was made for this push.
    pub is_new: bool,
    /// Who pushes.
    pub account: account::Id,
    /// When the request came.
    pub arrived: Instant,
}

/// A push under way: git's answer, and what has to be driven for it to come.
#[derive(Debug)]
pub(crate) struct Receiving {
    /// What git says to its client.
    pub answer: pipe::Receiver,
    job: jobs::Running,
    input: pipe::Sender,
    errors: pipe::Receiver,
    hook: UnixStream,
}

/// Starts receive-pack.
pub(crate) async fn begin(
    site: &Site,
    push: &Push,
    protocol: Option<&str>,
) -> Result<Receiving, JobError> {
    let (input, stdin) = jobs::input_pipe()?;
    let (answer, stdout) = jobs::output_pipe()?;
    let (errors, stderr) = jobs::output_pipe()?;
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let folder = repository::folder(push.app.id);
    let what = (Service::ReceivePack, Act::Exchange);
    let (spec, secrets) = git_job::git(site, what, &folder, protocol);
    let files = vec![stdin, stdout, stderr, OwnedFd::from(theirs)];
    Ok(Receiving {
        answer,
        job: site.jobs.start(spec, secrets, files).await?,
        input,
        errors,
        hook: UnixStream::from_std(ours)?,
    })
}

/// Everything of a push but git's answer.
#[derive(Debug)]
pub(crate) struct Driven {
    job: jobs::Running,
    input: pipe::Sender,
    errors: pipe::Receiver,
    hook: UnixStream,
}

impl Receiving {
    /// Takes git's answer apart from the rest.
    pub(crate) fn split(self) -> (pipe::Receiver, Driven) {
        let Self {
            answer,
            job,
            input,
            errors,
            hook,
        } = self;
        let driven = Driven {
            job,
            input,
            errors,
            hook,
        };
        (answer, driven)
    }
}

/// Drives a push to its end.
pub(crate) async fn drive(site: Arc<Site>, push: Push, driven: Driven, body: Incoming, gone: Gone) {
    let Driven {
        job,
        input,
        errors,
        hook,
    } = driven;
    let app = push.app.clone();
    let work = async {
        let (sent, errors, ended) = tokio::join!(
            body.pump(input),
            jobs::read_bounded(errors, ERRORS_MAX_BYTES),
            job.ended()
        );
        if let Err(error) = sent {
            tracing::debug!(app.name = %app.name, %error, "a push's body was cut");
        }
        let errors = String::from_utf8_lossy(&errors.unwrap_or_default()).into_owned();
        if !errors.trim().is_empty() {
            tracing::info!(app.name = %app.name, errors = errors.trim(), "git complained");
        }
        ended
    };
    // When the client is gone, dropping `work` kills the job; the hook dies with it.
    let work = async {
        tokio::select! {
            ended = work => ended.unwrap_or(Ended::Killed),
            () = gone.wait() => Ended::Killed,
        }
    };
    let (ended, deployed) = tokio::join!(work, converse(&site, &push, hook, &gone));
    tracing::info!(app.name = %app.name, %ended, "push ended");
    let was_refused = deployed.is_none();
    if let Some(deployed) = deployed {
        deployed.settle(&site, &app).await;
    }
    tidy::repository(&site, app.id, was_refused).await;
}

/// Answers the hook, if git comes to run it.
async fn converse(
    site: &Arc<Site>,
    push: &Push,
    hook: UnixStream,
    gone: &Gone,
) -> Option<Deployed> {
    let (reader, writer) = hook.into_split();
    let request = match hear(reader).await {
        Ok(Some(request)) => request,
        Ok(None) => return None,
        Err(error) => {
            tracing::error!(app.name = %push.app.name, %error, "the hook cannot be understood");
            return None;
        }
    };
    let (voice, scribe) = output::speak(Some(writer));
    if push.is_new {
        let url = site.config.app_url(&push.app.name);
        voice.say_all(phrases::created(&push.app.name, &url)).await;
    }
    let (verdicts, deployed) = judge(site, push, &request, &voice, gone).await;
    drop(voice);
    let writer = scribe.finish().await?;
    if let Err(error) = conclude(writer, verdicts).await {
        tracing::info!(app.name = %push.app.name, %error, "the hook is gone");
    }
    deployed
}

async fn hear(reader: OwnedReadHalf) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    let mut bounded = BufReader::new(reader.take(MESSAGE_MAX_BYTES));
    if bounded.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}

async fn judge(
    site: &Arc<Site>,
    push: &Push,
    request: &Request,
    voice: &Voice,
    gone: &Gone,
) -> (Vec<Verdict>, Option<Deployed>) {
    let mut verdicts = Vec::new();
    let mut deployed = None;
    for (update, fate) in request.updates.iter().zip(policy::decide(&request.updates)) {
        verdicts.push(match fate {
            Fate::Store => {
                if !update.is_deletion() {
                    voice.say(phrases::not_built()).await;
                }
                Verdict::Move
            }
            Fate::Refuse { reason, lines } => {
                let lines = lines.iter().map(|line| phrases::mark(line)).collect();
                voice.say_all(lines).await;
                Verdict::Refuse(reason)
            }
            Fate::Build => match deploy::deploy(site, push, update, voice, gone).await {
                Ok(done) => {
                    deployed = Some(done);
                    Verdict::Move
                }
                Err(reason) => Verdict::Refuse(reason),
            },
        });
    }
    (verdicts, deployed)
}

async fn conclude(mut hook: OwnedWriteHalf, verdicts: Vec<Verdict>) -> std::io::Result<()> {
    let mut message = serde_json::to_vec(&Word::Verdicts(verdicts))?;
    message.push(b'\n');
    hook.write_all(&message).await?;
    hook.shutdown().await
}
