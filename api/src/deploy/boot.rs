//! The new web dynos boot: all of them must be up before the route is switched.

use super::command::RunLog;
use super::{Deploy, End};
use crate::fleet::View;
use crate::records::{Phase, Want};
use journal::Source;
use model::dyno::State;
use model::feed::DynoChange;
use model::limits::BOOT_TIMEOUT_MS;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

const REASON: &str = "dynos did not boot";
/// What a node may take besides: unpacking the slug, and telling us.
const SLACK_MS: u64 = 60_000;
/// How many of a failed dyno's last lines the pusher sees.
const LINES_SHOWN: usize = 10;

/// How the boot stands.
enum Boot {
    Up,
    Failed(Arc<Want>, DynoChange),
}

impl Deploy {
    /// Waits until every new web dyno is up, or the first one fails.
    pub(super) async fn wait_for_boot(&mut self) -> Result<(), End> {
        let Phase::Boot { began_at_us } = self.op.phase else {
            return Err(End::failed(REASON, Vec::new()));
        };
        let passed_ms = crate::clock::now_us().saturating_sub(began_at_us) / 1000;
        let left_ms = (BOOT_TIMEOUT_MS + SLACK_MS).saturating_sub(passed_ms);
        let settled = self.platform.fleet.wait_for(|view| self.boot(view));
        tokio::select! {
            boot = settled => match boot {
                Boot::Up => Ok(()),
                Boot::Failed(want, seen) => Err(self.failure(&want, seen).await),
            },
            () = tokio::time::sleep(Duration::from_millis(left_ms)) => Err(self.silence()),
            () = self.running.cancelled() => Err(End::failed("cancelled", Vec::new())),
            () = self.platform.stop.requested() => Err(End::Stopped),
        }
    }

    fn boot(&self, view: &View) -> Option<Boot> {
        let booting = view.booting(self.app, self.release.number);
        for want in &booting {
            let ended = view
                .observed(want.dyno)
                .filter(|seen| seen.state == State::Complete);
            if let Some(seen) = view.crash(want.dyno).or(ended) {
                return Some(Boot::Failed(Arc::clone(want), seen.clone()));
            }
        }
        let is_up = |want: &Arc<Want>| view.state(want.dyno) == State::Up;
        booting.iter().all(is_up).then_some(Boot::Up)
    }

    /// What the pusher is told of a dyno that failed: its last lines, then the cause.
    async fn failure(&self, want: &Want, seen: DynoChange) -> End {
        let mut last = VecDeque::new();
        RunLog::open(self, &want.name)
            .rest(|line| {
                if line.source == Source::App {
                    last.push_back(line.text_lossy().into_owned());
                    if last.len() > LINES_SHOWN {
                        last.pop_front();
                    }
                }
            })
            .await;
        let mut lines = Vec::new();
        if !last.is_empty() {
            lines.push(format!("last lines of {}:", want.name));
            lines.extend(last.into_iter().map(|line| format!("  {line}")));
        }
        let cause = seen.failure.unwrap_or_else(|| match seen.exit_code {
            Some(code) => format!("it exited with status {code} before it listened on its PORT"),
            None => "it ended before it listened on its PORT".to_owned(),
        });
        let mut causes = cause.lines();
        lines.push(format!(
            "{}: {}",
            want.name,
            causes.next().unwrap_or_default()
        ));
        lines.extend(causes.map(str::to_owned));
        End::failed(REASON, lines)
    }

    fn silence(&self) -> End {
        let late = self.platform.fleet.look(|view| {
            let booting = view.booting(self.app, self.release.number);
            let late = booting
                .iter()
                .filter(|want| view.state(want.dyno) != State::Up);
            late.map(|want| format!("{} is {}", want.name, view.state(want.dyno)))
                .collect::<Vec<_>>()
        });
        let seconds = (BOOT_TIMEOUT_MS + SLACK_MS) / 1000;
        let mut lines = late;
        lines.push(format!(
            "no word of it after {seconds} s: is dynod running? paas status"
        ));
        End::failed(REASON, lines)
    }
}
