//! `ps`, `ps:scale`, `ps:restart`; `ps:stop` and `ps:wait` are next door.

pub(crate) mod stop;

use crate::app::{Choice, escape};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Ink;
use crate::{json, output};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Only this process type
    process_type: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Scale {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// TYPE=N, TYPE+N, TYPE-N, each with :SIZE if that shall change; none: show
    changes: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    pub(crate) app: Choice,
    #[command(flatten)]
    target: Target,
}

/// Which dynos a command is about.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Dyno, such as web.1
    #[arg(long, short)]
    dyno_name: Option<String>,
    /// Process type
    #[arg(long, short)]
    process_type: Option<String>,
    /// Dyno or process type
    #[arg(value_name = "TARGET", conflicts_with_all = ["dyno_name", "process_type"])]
    either: Option<String>,
}

impl Target {
    /// In words and as a path below the app's; none: no dyno in particular.
    fn chosen(&self) -> Option<(String, String)> {
        let dyno = |name: &String| (format!("{name} dyno"), format!("/dynos/{}", escape(name)));
        let of_type = |process: &String| {
            (
                format!("all {process} dynos"),
                format!("/formations/{}", escape(process)),
            )
        };
        match (&self.dyno_name, &self.process_type, &self.either) {
            (Some(name), _, _) => Some(dyno(name)),
            (_, Some(process), _) => Some(of_type(process)),
            (_, _, Some(either)) if either.contains('.') => Some(dyno(either)),
            (_, _, Some(either)) => Some(of_type(either)),
            _ => None,
        }
    }
}

/// Lists dynos by process type, with Heroku's words.
pub(crate) async fn list(client: &Client, args: &Ps) -> Result<(), Failure> {
    let dynos = client.get(&args.app.path("/dynos")?).await?;
    let wanted = |dyno: &&Value| {
        args.process_type
            .as_ref()
            .is_none_or(|process| json::text(dyno, "type") == *process)
    };
    let dynos: Vec<&Value> = json::each(&dynos).filter(wanted).collect();
    if args.json {
        output::json(&json!(dynos));
        return Ok(());
    }
    if dynos.is_empty() {
        output::line(&format!(
            "No dynos on {}",
            output::ink(Ink::App, &args.app.name()?)
        ));
        return Ok(());
    }
    let fallback = fallback(&dynos);
    let mut groups: BTreeMap<(String, String, String), Vec<&Value>> = BTreeMap::new();
    for dyno in dynos {
        let key = ["type", "size", "command"].map(|field| json::text(dyno, field));
        groups.entry(key.into()).or_default().push(dyno);
    }
    for ((process, size, command), dynos) in groups {
        let count = dynos.len();
        let title = format!(
            "=== {process} ({size}): {} ({count})",
            output::harmless(&command)
        );
        output::line(&output::ink(Ink::Bold, &title));
        output::line("");
        for dyno in dynos {
            output::line(&one(dyno));
        }
        output::line("");
    }
    if let Some(fallback) = fallback {
        output::aside(&format!(" !     {fallback}"));
        output::aside("       They are served all the same; on the server: paas doctor");
    }
    Ok(())
}

/// Said once, of all dynos that run isolated where they would run central if they could.
fn fallback(dynos: &[&Value]) -> Option<String> {
    let reason = |dyno: &&&Value| !json::text(dyno, "network.fallback").is_empty();
    let those: Vec<&Value> = dynos.iter().filter(reason).copied().collect();
    let why = json::text(those.first()?, "network.fallback");
    let names: Vec<String> = those.iter().map(|dyno| json::text(dyno, "name")).collect();
    let who = match names.as_slice() {
        [one] => format!("{one} runs"),
        [first, second] => format!("{first} and {second} run"),
        _ => format!("{} dynos run", names.len()),
    };
    let why = output::harmless(&why);
    Some(format!("{who} isolated, not central: {why}"))
}

fn one(dyno: &Value) -> String {
    let state = json::text(dyno, "state");
    let ink = match state.as_str() {
        "up" => Ink::Good,
        "starting" | "created" => Ink::Wait,
        "crashed" => Ink::Bad,
        _ => Ink::Dim,
    };
    let since = OffsetDateTime::parse(&json::text(dyno, "updated_at"), &Rfc3339).ok();
    let when = since
        .map(|at| {
            format!(
                " {} (~ {} ago)",
                date(at),
                ago(OffsetDateTime::now_utc() - at)
            )
        })
        .unwrap_or_default();
    format!(
        "{}: {}{when}",
        json::text(dyno, "name"),
        output::ink(ink, &state)
    )
}

fn date(at: OffsetDateTime) -> String {
    format!(
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02} +0000",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// A duration in its largest unit.
pub(crate) fn ago(since: time::Duration) -> String {
    let seconds = since.whole_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Shows the formation, or changes it.
pub(crate) async fn scale(client: &Client, args: &Scale) -> Result<(), Failure> {
    let path = args.app.path("/formation")?;
    if args.changes.is_empty() {
        let formation = client.get(&path).await?;
        if args.json {
            output::json(&formation);
        } else {
            let all: Vec<String> = json::each(&formation)
                .map(|entry| words(entry, "="))
                .collect();
            output::line(&all.join(" "));
        }
        return Ok(());
    }
    let updates = args
        .changes
        .iter()
        .map(|change| update(change))
        .collect::<Result<Vec<_>, _>>()?;
    output::begin_aside("Scaling dynos... ");
    let answer = client
        .ask(Method::PATCH, &path, Some(&json!({ "updates": updates })))
        .await
        .inspect_err(|_| output::aside("failed"))?;
    let named = |entry: &&Value| {
        updates
            .iter()
            .any(|update| update.get("type") == entry.get("type"))
    };
    let now: Vec<String> = json::each(&answer)
        .filter(named)
        .map(|entry| words(entry, " at "))
        .collect();
    output::aside(&format!("done, now running {}", now.join(", ")));
    if args.json {
        output::json(&answer);
    }
    Ok(())
}

fn words(entry: &Value, between: &str) -> String {
    format!(
        "{}{between}{}:{}",
        json::text(entry, "type"),
        json::text(entry, "quantity"),
        json::text(entry, "size")
    )
}

fn update(change: &str) -> Result<Value, Failure> {
    let bad = || {
        Failure::usage(format!("{change} is no change of the formation"))
            .hint("write TYPE=N, TYPE+N or TYPE-N, e.g. web=2 or worker+1:Standard-2X")
    };
    let (change, size) = change
        .split_once(':')
        .map_or((change, None), |(left, size)| (left, Some(size)));
    // A type may hold dashes: the sign that counts is the last one.
    let at = change.rfind(['=', '+', '-']).ok_or_else(bad)?;
    let (process, quantity) = change.split_at(at);
    let quantity = quantity.trim_start_matches('=');
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if process.is_empty() || !is_number(quantity.trim_start_matches(['+', '-'])) {
        return Err(bad());
    }
    let mut update = json!({ "type": process, "quantity": quantity });
    if let (Some(size), Some(fields)) = (size, update.as_object_mut()) {
        fields.insert("size".to_owned(), json!(size));
    }
    Ok(update)
}

/// Restarts all dynos, one, or those of one type.
pub(crate) async fn restart(client: &Client, args: &Restart) -> Result<(), Failure> {
    let name = args.app.name()?;
    let chosen = args.target.chosen();
    let (what, tail) = chosen.unwrap_or_else(|| ("all dynos".to_owned(), "/dynos".to_owned()));
    output::begin_aside(&format!(
        "Restarting {what} on {}... ",
        output::ink_aside(Ink::App, &name)
    ));
    client
        .ask(Method::DELETE, &args.app.path(&tail)?, None)
        .await
        .inspect_err(|_| output::aside("failed"))?;
    output::aside("done");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes() {
        for (text, expected) in [
            ("web=2", Some(json!({"type": "web", "quantity": "2"}))),
            ("web+1", Some(json!({"type": "web", "quantity": "+1"}))),
            (
                "my-worker-1",
                Some(json!({"type": "my-worker", "quantity": "-1"})),
            ),
            (
                "web=3:standard-2x",
                Some(json!({"type": "web", "quantity": "3", "size": "standard-2x"})),
            ),
            ("web", None),
            ("=2", None),
            ("web=x", None),
            ("web=", None),
        ] {
            assert_eq!(update(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_fall_back_is_said_once() {
        let central = json!({"name": "web.1", "network": {"mode": "central"}});
        let isolated = |name| json!({"name": name, "network": {"mode": "isolated", "fallback": "bpf() is refused"}});
        let (two, three, four) = (isolated("web.2"), isolated("web.3"), isolated("web.4"));
        for (dynos, said) in [
            (vec![&central], None),
            (vec![&central, &two], Some("web.2 runs")),
            (vec![&two, &three], Some("web.2 and web.3 run")),
            (vec![&two, &three, &four], Some("3 dynos run")),
        ] {
            let expected = said.map(|who| format!("{who} isolated, not central: bpf() is refused"));
            assert_eq!(fallback(&dynos), expected);
        }
    }

    #[test]
    fn durations() {
        for (seconds, text) in [
            (-1, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7200, "2h"),
            (200_000, "2d"),
        ] {
            assert_eq!(ago(time::Duration::seconds(seconds)), text);
        }
    }
}
