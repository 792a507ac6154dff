//! Every line that the pusher sees, and the way it takes: to the hook, and to the build's output.

pub(crate) mod kept;
pub(crate) mod phrases;
pub(crate) mod steps;
pub(crate) mod text;

use crate::hook::talk::Word;
use journal::Output;
use std::time::{Duration, Instant};
use steps::Steps;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Lines on their way; more and the build waits for its reader.
const LINES_MAX: usize = 1_024;

/// Lines of a cause.
const CAUSE_LINES_MAX: usize = 10;

/// Speaks to the pusher. Clones speak in one voice, in order.
#[derive(Clone, Debug)]
pub(crate) struct Voice(mpsc::Sender<Said>);

#[derive(Debug)]
enum Said {
    Line(String),
    /// What comes now belongs to no step.
    StepEnds,
    /// From here on the lines are kept as a build's output, too.
    Keep(Output),
}

/// The task behind a voice; it ends when all voices are dropped.
#[derive(Debug)]
pub(crate) struct Scribe(JoinHandle<Option<OwnedWriteHalf>>);

/// What a program said, as far as it tells why it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastWords {
    /// The last lines with Heroku's mark of an error that follow each other, without it.
    errors: Vec<String>,
    /// Whether the next such line belongs to them.
    is_open: bool,
    /// The last line that is not blank.
    line: Option<String>,
}

/// Begins to speak to a hook, or to nobody but the build's output.
pub(crate) fn speak(hook: Option<OwnedWriteHalf>) -> (Voice, Scribe) {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    (Voice(sender), Scribe(tokio::spawn(write(receiver, hook))))
}

impl Voice {
    /// Says a line of ours.
    pub(crate) async fn say(&self, line: impl Into<String>) {
        self.send(Said::Line(line.into())).await;
    }

    /// Says several.
    pub(crate) async fn say_all(&self, lines: Vec<String>) {
        for line in lines {
            self.say(line).await;
        }
    }

    /// Says a line if there is room for it now; false if not.
    pub(crate) fn try_say(&self, line: String) -> bool {
        self.0.try_send(Said::Line(line)).is_ok()
    }

    /// Ends the step that runs: its time is known, and what comes now does not belong to it.
    pub(crate) async fn end_step(&self) {
        self.send(Said::StepEnds).await;
    }

    /// Keeps all further lines in a build's output, and ends it with them.
    pub(crate) async fn keep(&self, output: Output) {
        self.send(Said::Keep(output)).await;
    }

    /// Passes on what a program writes, to its end.
    pub(crate) async fn relay(
        &self,
        mut program: impl AsyncRead + Unpin,
    ) -> std::io::Result<LastWords> {
        let mut lines = text::Lines::default();
        let mut last = LastWords::default();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = program.read(&mut buffer).await?;
            let bytes = buffer.get(..count).unwrap_or_default();
            let mut whole = lines.bytes(bytes);
            if count == 0 {
                whole.extend(lines.end());
            }
            for line in whole {
                last.note(&line);
                self.say(line).await;
            }
            if count == 0 {
                return Ok(last);
            }
        }
    }

    /// As [`Voice::relay`], below a line of ours.
    pub(crate) async fn relay_indented(
        &self,
        mut program: impl AsyncRead + Unpin,
    ) -> std::io::Result<()> {
        let mut lines = text::Lines::default();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = program.read(&mut buffer).await?;
            let bytes = buffer.get(..count).unwrap_or_default();
            let mut whole = lines.bytes(bytes);
            if count == 0 {
                whole.extend(lines.end());
            }
            for line in whole {
                self.say(format!("         {line}")).await;
            }
            if count == 0 {
                return Ok(());
            }
        }
    }

    async fn send(&self, said: Said) {
        if self.0.send(said).await.is_err() {
            tracing::error!("the scribe of a push ended before its voice");
        }
    }
}

impl LastWords {
    /// Takes a further line.
    pub(crate) fn note(&mut self, line: &str) {
        let plain = line.trim();
        if plain.is_empty() {
            return;
        }
        self.line = Some(plain.to_owned());
        let Some(error) = plain.strip_prefix('!').map(str::trim) else {
            self.is_open = false;
            return;
        };
        if error.is_empty() {
            return;
        }
        if !self.is_open {
            self.errors.clear();
            self.is_open = true;
        }
        if self.errors.len() < CAUSE_LINES_MAX {
            self.errors.push(error.to_owned());
        }
    }

    /// The best guess at why it failed, in one or more lines; empty if it said nothing.
    pub(crate) fn cause(self) -> Vec<String> {
        let short = |line: String| line.chars().take(300).collect();
        if self.errors.is_empty() {
            return self.line.into_iter().map(short).collect();
        }
        self.errors.into_iter().map(short).collect()
    }
}

impl Scribe {
    /// Waits until everything is said; gives the hook's socket back.
    pub(crate) async fn finish(self) -> Option<OwnedWriteHalf> {
        self.0.await.ok().flatten()
    }
}

async fn write(
    mut receiver: mpsc::Receiver<Said>,
    hook: Option<OwnedWriteHalf>,
) -> Option<OwnedWriteHalf> {
    let started = Instant::now();
    let now_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut steps = Steps::default();
    let mut out = Out {
        is_open: hook.is_some(),
        hook,
        kept: None,
    };
    loop {
        let deadline = steps
            .deadline_ms()
            .map(|ms| started + Duration::from_millis(ms));
        // Both arms are cancel-safe: a channel's recv, and a time.
        let said = match deadline {
            Some(at) => tokio::time::timeout_at(at.into(), receiver.recv()).await,
            None => Ok(receiver.recv().await),
        };
        let lines = match said {
            Err(_) => steps.release(now_ms()),
            Ok(Some(Said::Line(line))) => steps.line(line, now_ms()),
            Ok(Some(Said::StepEnds)) => steps.close(now_ms()),
            Ok(Some(Said::Keep(output))) => {
                out.kept = Some(output);
                continue;
            }
            Ok(None) => {
                out.lines(steps.close(now_ms())).await;
                return out.end();
            }
        };
        out.lines(lines).await;
    }
}

struct Out {
    hook: Option<OwnedWriteHalf>,
    is_open: bool,
    kept: Option<Output>,
}

impl Out {
    async fn lines(&mut self, lines: Vec<String>) {
        for line in lines {
            self.keep(&line);
            let Some(hook) = self.hook.as_mut().filter(|_| self.is_open) else {
                continue;
            };
            let mut message = serde_json::to_vec(&Word::Say(line)).expect("text is always JSON");
            message.push(b'\n');
            // A pusher that went away is noticed by who waits for it.
            self.is_open = hook.write_all(&message).await.is_ok();
        }
    }

    /// A line to the page cache is quicker than a thread to hand it to.
    fn keep(&mut self, line: &str) {
        let Some(output) = &mut self.kept else {
            return;
        };
        if let Err(error) = output.append(format!("{line}\n").as_bytes()) {
            tracing::warn!(%error, "a build's output is not kept");
            self.kept = None;
        }
    }

    fn end(self) -> Option<OwnedWriteHalf> {
        if let Some(Err(error)) = self.kept.map(Output::finish) {
            tracing::warn!(%error, "a build's output has no end");
        }
        self.hook
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes() {
        let check = |lines: &[&str], expected: &[&str]| {
            let mut last = LastWords::default();
            for line in lines {
                last.note(line);
            }
            assert_eq!(last.cause(), expected, "{lines:?}");
        };
        check(&[], &[]);
        check(&["", " "], &[]);
        check(&["a", "b", ""], &["b"]);
        check(
            &[" !     no such version", " !", " !     try 2", "exiting"],
            &["no such version", "try 2"],
        );
        check(
            &[" !     a warning", "-----> Next", " !     the fault"],
            &["the fault"],
        );
    }

    #[tokio::test]
    async fn what_is_said_reaches_the_hook() {
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let (_, writer) = ours.into_split();
        let (voice, scribe) = speak(Some(writer));
        voice.say("-----> One").await;
        let last = voice.relay(&b"two\n\x07 !  three"[..]).await.unwrap();
        assert_eq!(last.cause(), ["\u{fffd} !  three"]);
        drop(voice);
        drop(scribe.finish().await.unwrap());
        let (mut reader, _) = theirs.into_split();
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!(
            text,
            "{\"say\":\"-----> One\"}\n{\"say\":\"two\"}\n{\"say\":\"\u{fffd} !  three\"}\n"
        );
    }
}
