//! `ps:stop`, `ps:wait`.

use super::Target;
use crate::app::Choice;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Ink;
use crate::{json, output};
use http::Method;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked whether all dynos are up. Heroku's client looks every 10 s; ours stay up
/// within one.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) app: Choice,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Only this process type
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    process_type: Option<String>,
    /// Count one-off dynos, too
    #[arg(long, short = 'R')]
    with_run: bool,
    /// Seconds to wait at most
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

/// Stops a dyno or those of a type: one-off dynos end, others start anew.
pub(crate) async fn stop(client: &Client, args: &Stop) -> Result<(), Failure> {
    let Some((what, path)) = args.target.chosen() else {
        return Err(Failure::usage("nothing is named that shall stop")
            .hint("name a dyno or a process type, e.g. paas ps:stop run.1234"));
    };
    output::begin_aside(&format!(
        "Stopping {what} on {}... ",
        output::ink_aside(Ink::App, &args.app.name()?)
    ));
    let path = args.app.path(&format!("{path}/actions/stop"))?;
    client
        .ask(Method::POST, &path, None)
        .await
        .inspect_err(|_| output::aside("failed"))?;
    output::aside("done");
    Ok(())
}

/// Waits until all dynos are up and run the newest release.
pub(crate) async fn wait(client: &Client, args: &Wait) -> Result<(), Failure> {
    let path = args.app.path("/releases")?;
    let newest = client
        .range(&path, "version ..; order=desc,max=100")
        .await?;
    // A release that failed is run by nobody.
    let newest = json::each(&newest)
        .find(|release| json::text(release, "status") != "failed")
        .and_then(|release| json::at(release, "version"))
        .and_then(Value::as_u64)
        .ok_or_else(|| Failure::new("the app has no release yet"))?;
    let path = args.app.path("/dynos")?;
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let dynos = client.get(&path).await?;
        let counted: Vec<&Value> = json::each(&dynos)
            .filter(|dyno| args.counts(dyno))
            .collect();
        let ready = counted.iter().filter(|dyno| is_ready(dyno, newest)).count();
        if ready == counted.len() {
            output::aside(&format!("{ready} of {ready} dynos are up with v{newest}"));
            return Ok(());
        }
        if Instant::now() >= deadline {
            let all = counted.len();
            let said = format!("{ready} of {all} dynos are up with v{newest}, no more came");
            return Err(Failure::new(said).hint("see why: paas ps, paas logs"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Wait {
    fn counts(&self, dyno: &Value) -> bool {
        let process = json::text(dyno, "type");
        let is_wanted = self.process_type.as_ref().is_none_or(|t| *t == process);
        is_wanted && process != "release" && (self.with_run || process != "run")
    }
}

fn is_ready(dyno: &Value, newest: u64) -> bool {
    let version = json::at(dyno, "release.version").and_then(Value::as_u64);
    json::text(dyno, "state") == "up" && version >= Some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_is_waited_for() {
        let wait = |process_type: Option<&str>, with_run| Wait {
            app: Choice::named("hello"),
            process_type: process_type.map(str::to_owned),
            with_run,
            timeout: 1,
        };
        for (process, all, workers, runs) in [
            ("web", true, false, true),
            ("worker", true, true, true),
            ("release", false, false, false),
            ("run", false, false, true),
        ] {
            let dyno = json!({ "type": process });
            assert_eq!(wait(None, false).counts(&dyno), all, "{process}");
            assert_eq!(
                wait(Some("worker"), false).counts(&dyno),
                workers,
                "{process}"
            );
            assert_eq!(wait(None, true).counts(&dyno), runs, "{process}");
        }
    }

    #[test]
    fn an_older_release_is_not_ready() {
        for (state, version, expected) in
            [("up", 3, true), ("up", 2, false), ("starting", 3, false)]
        {
            let dyno = json!({ "state": state, "release": { "version": version } });
            assert_eq!(is_ready(&dyno, 3), expected);
        }
    }
}
