//! `ps:port`, `inspect`: what the node of a dyno knows of it.

use crate::app::{Choice, escape};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Ink;
use crate::{json, output};
use serde_json::Value;

#[derive(Debug, clap::Args)]
pub(crate) struct Port {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Dyno, such as web.1
    dyno: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Dyno, such as web.1
    dyno: String,
    /// What each step of its start took, in microseconds
    #[arg(long, required = true)]
    start: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows where a dyno is reached, what it listens on, and what it was refused.
pub(crate) async fn port(client: &Client, args: &Port) -> Result<(), Failure> {
    let said = ask(client, &args.app, &args.dyno, "port").await?;
    if args.json {
        output::json(&said);
        return Ok(());
    }
    head(&said);
    for (label, text) in facts(&said) {
        output::line(&format!("{label:<13}{text}"));
    }
    let refusals: Vec<Vec<String>> = list(&said, "refusals").map(refusal).collect();
    if !refusals.is_empty() {
        output::line("");
        output::table(&["refused", "error", "times"], &refusals);
    }
    Ok(())
}

fn facts(said: &Value) -> Vec<(&'static str, String)> {
    let text = |path: &str| json::text(said, path);
    let mode = text("network.mode");
    let mode = match text("network.fallback") {
        reason if reason.is_empty() => mode,
        reason => format!("{mode} ({})", output::harmless(&reason)),
    };
    let port = text("port");
    let listening: Vec<String> = list(said, "listening")
        .filter_map(Value::as_str)
        .map(output::harmless)
        .collect();
    let listening = if listening.is_empty() {
        "nothing".to_owned()
    } else {
        listening.join(", ")
    };
    vec![
        ("Mode:", mode),
        ("Address:", format!("{}:{port}", text("address"))),
        ("PORT:", port),
        ("Listens on:", listening),
        (
            "Bytes:",
            format!("{} in, {} out", text("bytes_in"), text("bytes_out")),
        ),
    ]
}

fn refusal(refusal: &Value) -> Vec<String> {
    let fields = ["what", "error", "count"];
    fields
        .map(|field| output::harmless(&json::text(refusal, field)))
        .into()
}

/// Shows what each step of a dyno's start took.
pub(crate) async fn start(client: &Client, args: &Inspect) -> Result<(), Failure> {
    let said = ask(client, &args.app, &args.dyno, "start").await?;
    if args.json {
        output::json(&said);
        return Ok(());
    }
    head(&said);
    let steps: Vec<(String, u64)> = list(&said, "steps").map(step).collect();
    let total: u64 = steps.iter().map(|(_, us)| us).sum();
    let steps = steps
        .into_iter()
        .chain([("together".to_owned(), total)])
        .map(|(name, us)| vec![name, format!("{us:>10}")]);
    output::table(&["step", "microseconds"], &steps.collect::<Vec<_>>());
    Ok(())
}

fn step(step: &Value) -> (String, u64) {
    let name = output::harmless(&json::text(step, "name"));
    (
        name,
        json::at(step, "duration_us")
            .and_then(Value::as_u64)
            .unwrap_or(0),
    )
}

fn list<'a>(said: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    json::at(said, path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn head(said: &Value) {
    let text = |path: &str| json::text(said, path);
    let title = format!(
        "=== {} of {}: {}, v{} on {}",
        text("dyno.name"),
        text("app.name"),
        text("state"),
        text("release"),
        text("node"),
    );
    output::line(&output::ink(Ink::Bold, &output::harmless(&title)));
    output::line("");
}

/// Asks about a dyno; of one that is not there the app's dynos are named.
async fn ask(client: &Client, app: &Choice, dyno: &str, what: &str) -> Result<Value, Failure> {
    let name = app.name()?;
    let path = format!("/paas/apps/{}/dynos/{}/{what}", escape(&name), escape(dyno));
    match client.get(&path).await {
        Err(failure) if failure.id == "not_found" && failure.message.contains("that dyno") => {
            let dynos = client.get(&app.path("/dynos")?).await?;
            Err(no_such(&name, dyno, &dynos, failure))
        }
        answer => answer,
    }
}

fn no_such(app: &str, dyno: &str, dynos: &Value, failure: Failure) -> Failure {
    let names: Vec<String> = json::each(dynos)
        .map(|dyno| json::text(dyno, "name"))
        .collect();
    let message = format!("no dyno named {dyno} on {app}");
    let hint = match names.len() {
        0 => format!("it has no dynos; start one: paas ps:scale web=1 -a {app}"),
        1..=10 => format!("its dynos: {}", names.join(", ")),
        _ => format!("all of them: paas ps -a {app}"),
    };
    Failure { message, ..failure }.hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_person_reads_of_a_port() {
        let mut said = json!({
            "network": {"mode": "central"},
            "address": "10.201.0.3",
            "port": 10_004,
            "listening": ["10.201.0.3:10004", "127.0.0.1:9000"],
            "bytes_in": 12,
            "bytes_out": 345,
        });
        let lines = |said: &Value| {
            let lines = facts(said).into_iter();
            let lines: Vec<_> = lines
                .map(|(label, text)| format!("{label} {text}"))
                .collect();
            lines.join("\n")
        };
        assert_eq!(
            lines(&said),
            "Mode: central\nAddress: 10.201.0.3:10004\nPORT: 10004\n\
             Listens on: 10.201.0.3:10004, 127.0.0.1:9000\nBytes: 12 in, 345 out"
        );
        said["network"] = json!({"mode": "isolated", "fallback": "no\u{1b}bpf"});
        said["listening"] = json!([]);
        let shown = lines(&said);
        assert!(
            shown.starts_with("Mode: isolated (no\u{fffd}bpf)\n"),
            "{shown}"
        );
        assert!(shown.contains("Listens on: nothing"), "{shown}");
    }

    #[test]
    fn a_dyno_that_is_not_there() {
        let hint = |dynos: Value| {
            let failure = no_such("hello", "web.9", &dynos, Failure::new("x"));
            assert_eq!(failure.message, "no dyno named web.9 on hello");
            failure.hint.unwrap()
        };
        assert_eq!(hint(json!([{"name": "web.1"}])), "its dynos: web.1");
        assert!(hint(json!([])).contains("paas ps:scale web=1 -a hello"));
        let many: Vec<Value> = (0..11)
            .map(|n| json!({"name": format!("web.{n}")}))
            .collect();
        assert_eq!(hint(json!(many)), "all of them: paas ps -a hello");
    }
}
