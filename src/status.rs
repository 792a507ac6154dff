//! `paas status`: whether the platform runs, asked through its own loopback port.

use crate::{failure, output};
use anyhow::Context as _;
use link::config::Config;
use link::http::{Client, ClientError};
use std::path::PathBuf;
use std::process::ExitCode;

/// The loopback port of an installation whose configuration may not be read.
const USUAL_LOOPBACK_PORT: u16 = 5080;

/// `paas status`
#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    /// The data folder
    #[arg(long, value_name = "DIR", default_value = super::DEFAULT_DATA_DIR)]
    data: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// The answer of `GET /paas/status`. What else is in it is passed on by `--json`.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Status {
    /// Whether all roles run and hold their feeds.
    pub(crate) healthy: bool,
    api_url: String,
    git_url: String,
    router_url: String,
    roles: Vec<Role>,
}

#[derive(Clone, Debug, serde::Deserialize)]
struct Role {
    name: String,
    pid: i64,
    since: String,
    memory_bytes: u64,
}

/// Runs `paas status`.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    // Only root and the roles may read the configuration: it can hold credentials of mirrors.
    let port = match Config::load(&command.data) {
        Ok(config) => config.loopback_port,
        Err(link::config::ConfigError::Io { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            USUAL_LOOPBACK_PORT
        }
        Err(error) => return Err(error.into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let document = match runtime.block_on(fetch(port)) {
        Ok(document) => document,
        Err(error) => {
            let message = format!("cannot {}", failure::chain(&error));
            output::failure(
                &message,
                Some("is the platform running? as root: paas up; paas doctor"),
            );
            return Ok(ExitCode::from(failure::UNREACHABLE));
        }
    };
    if let Some(message) = document.get("message").and_then(serde_json::Value::as_str) {
        output::failure(message, Some("see which process is missing: paas doctor"));
        return Ok(ExitCode::from(failure::FAILED));
    }
    let status = read(&document)?;
    if command.json {
        output::json(&document);
    } else {
        show(&status);
    }
    Ok(ExitCode::from(u8::from(!status.healthy)))
}

/// Asks for the whole document.
pub(crate) async fn fetch(loopback_port: u16) -> Result<serde_json::Value, ClientError> {
    let client = Client::new(&format!("http://127.0.0.1:{loopback_port}"))?;
    let answer = client.ask(http::Method::GET, "/paas/status", None).await?;
    answer.json()
}

/// Understands the document.
pub(crate) fn read(document: &serde_json::Value) -> anyhow::Result<Status> {
    serde::Deserialize::deserialize(document)
        .with_context(|| format!("cannot understand the platform's answer: {document}"))
}

fn show(status: &Status) {
    let word = if status.healthy {
        "healthy"
    } else {
        "not healthy"
    };
    output::line(&format!("platform  {word}"));
    for (name, url) in [
        ("apps", &status.router_url),
        ("api", &status.api_url),
        ("git", &status.git_url),
    ] {
        output::line(&format!("{name:<9} {url}"));
    }
    output::line("");
    let rows: Vec<Vec<String>> = status
        .roles
        .iter()
        .map(|role| {
            let memory = format!("{} MB", role.memory_bytes / 1_000_000);
            vec![
                role.name.clone(),
                role.pid.to_string(),
                memory,
                role.since.clone(),
            ]
        })
        .collect();
    output::table(&["role", "pid", "memory", "since"], &rows);
}
