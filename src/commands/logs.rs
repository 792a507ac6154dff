//! `logs`.

use crate::app::Choice;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Ink;
use crate::{json, output};
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Go on with new lines
    #[arg(long, short)]
    tail: bool,
    /// How many lines, 1 to 1500
    #[arg(long, short, value_parser = clap::value_parser!(u16).range(1..=1500))]
    num: Option<u16>,
    /// Only this dyno or process type
    #[arg(long, short)]
    dyno: Option<String>,
    /// Only this source: app or heroku
    #[arg(long, short, value_parser = ["app", "heroku"])]
    source: Option<String>,
}

/// Prints lines as they come; ends with the stream.
pub(crate) async fn logs(client: &Client, args: &Logs) -> Result<(), Failure> {
    let body = json!({
        "tail": args.tail,
        "lines": args.num.unwrap_or(100),
        "dyno": args.dyno,
        "source": args.source,
    });
    let session = client
        .ask(Method::POST, &args.app.path("/log-sessions")?, Some(&body))
        .await?;
    let mut stream = client.stream(&json::text(&session, "logplex_url")).await?;
    let mut rest = Vec::new();
    while let Some(frame) = stream.frame().await {
        let frame = frame.map_err(|error| {
            Failure::new(format!("the log stream was cut: {error}"))
                .hint("start it again: paas logs --tail")
        })?;
        if let Ok(data) = frame.into_data() {
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if !show(String::from_utf8_lossy(&line).trim_end_matches('\n')) {
                    return Ok(());
                }
            }
        }
    }
    if !rest.is_empty() {
        show(&String::from_utf8_lossy(&rest));
    }
    Ok(())
}

/// `TIME SOURCE[DYNO]: TEXT`: the head in a colour that tells platform from app.
fn show(line: &str) -> bool {
    let line = output::harmless(line);
    match line.split_once(": ") {
        Some((head, text)) => {
            let ink = if head.contains(" heroku[") {
                Ink::Platform
            } else {
                Ink::App
            };
            output::line(&format!("{} {text}", output::ink(ink, &format!("{head}:"))))
        }
        None => output::line(&line),
    }
}
