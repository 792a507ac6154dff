//! The release phase: a one-off dyno of the new release, before any of its other dynos starts. Its
//! output goes to those who wait for the deploy and into a file that stays as long as the release.

use super::{Deploy, End};
use crate::follow::{FollowError, Lines};
use journal::{Line, Output, Position, Source};
use model::dyno::{Id, Name, State};
use model::feed::DynoChange;
use std::time::Duration;

const REASON: &str = "release phase failed";
/// After its dyno ended, its last lines are waited for so long at most: the dynod writes them
/// first, but by another thread.
const LAST_LINES_WAIT: Duration = Duration::from_secs(1);

impl Deploy {
    /// Runs the release phase to its end.
    pub(super) async fn run_command(&mut self, dyno: Id) -> Result<(), End> {
        let Some(name) = self.want(dyno).map(|want| want.name.clone()) else {
            return Err(End::failed(REASON, vec!["its dyno is gone".to_owned()]));
        };
        let mut output = self.output();
        let mut log = RunLog::open(self, &name);
        let end = self.wait_for_end(dyno, &mut log, &mut output).await;
        if end.is_ok() {
            log.rest(|line| self.command_line(line, &mut output)).await;
        }
        if let Some(output) = output
            && !matches!(end, Err(End::Stopped))
            && let Err(error) = output.finish()
        {
            crate::say::failed("end the output of a release phase", &error);
        }
        let end = end?;
        match end.exit_code {
            Some(0) if end.state != State::Crashed => Ok(()),
            code => {
                let cause = end.failure.unwrap_or_else(|| match code {
                    Some(code) => format!("the release command exited with status {code}"),
                    None => "the release command ended without an exit status".to_owned(),
                });
                let lines = cause.lines().map(str::to_owned).collect();
                Err(End::failed(REASON, lines))
            }
        }
    }

    async fn wait_for_end(
        &self,
        dyno: Id,
        log: &mut RunLog,
        output: &mut Option<Output>,
    ) -> Result<DynoChange, End> {
        let limit_s = self.platform.config.limits.release_phase_s;
        let deadline = tokio::time::sleep(Duration::from_secs(limit_s));
        tokio::pin!(deadline);
        let ended = self.platform.fleet.wait_for(|view| {
            let seen = view.observed(dyno)?;
            let has_ended = matches!(seen.state, State::Complete | State::Crashed | State::Down);
            has_ended.then(|| seen.clone())
        });
        tokio::pin!(ended);
        loop {
            tokio::select! {
                end = &mut ended => return Ok(end),
                line = log.next() => self.command_line(&line, output),
                () = &mut deadline => {
                    let limit = model::span::shown(limit_s);
                    let cause = format!("the release command did not end within {limit}");
                    return Err(End::failed(REASON, vec![cause]));
                }
                () = self.running.cancelled() => return Err(End::failed("cancelled", Vec::new())),
                () = self.platform.stop.requested() => return Err(End::Stopped),
            }
        }
    }

    fn command_line(&self, line: &Line, output: &mut Option<Output>) {
        if line.source != Source::App {
            return;
        }
        let text = line.text_lossy().into_owned();
        if let Some(file) = output
            && let Err(error) = file.append(format!("{text}\n").as_bytes())
        {
            crate::say::failed("keep the output of a release phase", &error);
            *output = None;
        }
        self.running.line(text);
    }

    /// The file of the output; what an api before this one wrote is written anew, from the log.
    fn output(&self) -> Option<Output> {
        let path = self
            .platform
            .log
            .release_output(self.app, self.release.number);
        let made = match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Output::create(&path).map_err(|error| error.to_string()),
        };
        made.inspect_err(|cause| tracing::error!(cause, "failed to keep a release phase's output"))
            .ok()
    }
}

/// The lines of one run of one dyno, its own and the platform's about it.
pub(super) struct RunLog {
    lines: Option<Lines>,
    process: String,
    since_us: u64,
    queue: std::collections::VecDeque<Line>,
}

impl RunLog {
    pub(super) fn open(deploy: &Deploy, name: &Name) -> Self {
        let folder = deploy.platform.log.dynos(deploy.app);
        let lines = Lines::open(&[folder], &Position::start());
        Self {
            lines: lines.inspect_err(said).ok(),
            process: name.to_string(),
            since_us: deploy.op.began_at_us,
            queue: std::collections::VecDeque::new(),
        }
    }

    /// The next line; waits for ever when there is no log. Cancel-safe.
    pub(super) async fn next(&mut self) -> Line {
        loop {
            if let Some(line) = self.queue.pop_front() {
                return line;
            }
            let Some(lines) = &mut self.lines else {
                return std::future::pending().await;
            };
            match lines.next().await {
                Ok(batch) => {
                    let mine = batch
                        .lines
                        .into_iter()
                        .filter(|line| line.process == self.process && line.at_us >= self.since_us);
                    self.queue.extend(mine);
                }
                Err(error) => {
                    said(&error);
                    self.lines = None;
                }
            }
        }
    }

    /// Reads on until the platform's line that the dyno ended, which stands behind all its own.
    pub(super) async fn rest(&mut self, mut take: impl FnMut(&Line)) {
        let read = async {
            loop {
                let line = self.next().await;
                take(&line);
                if line.source == Source::Heroku && is_end(&line.text_lossy()) {
                    return;
                }
            }
        };
        if tokio::time::timeout(LAST_LINES_WAIT, read).await.is_err() {
            tracing::debug!("the log does not say that the dyno ended");
        }
    }
}

fn is_end(text: &str) -> bool {
    text.starts_with("State changed from ")
        && [" to complete", " to crashed", " to down"]
            .iter()
            .any(|end| text.ends_with(end))
}

fn said(error: &FollowError) {
    crate::say::failed("follow the log of a dyno", error);
}
