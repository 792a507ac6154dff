//! `paas doctor`: looks at everything the platform stands on, one line each, with the next step.
//!
//! It changes nothing; with `--fix` it makes what is missing (users, folders) and removes what a
//! stopped platform left behind. Exit code 1 when something keeps the platform from running.

mod install;
mod kernel;
mod running;

use crate::output::{self, Ink};
use crate::up;
use link::config::Config;
use std::path::PathBuf;
use std::process::ExitCode;

/// `paas doctor`
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// The data folder
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_DATA_DIR)]
    data: PathBuf,
    /// Make what is missing, remove what was left behind
    #[arg(long)]
    fix: bool,
}

/// How it is with one thing.
#[derive(Debug)]
struct Finding {
    what: &'static str,
    state: Health,
}

#[derive(Debug)]
enum Health {
    /// With what was seen.
    Well(String),
    /// Something works less well than it could; the next step is in the text.
    Poor(String),
    /// The platform cannot run; the next step is in the text.
    Broken(String),
}

/// Runs `paas doctor`.
pub(crate) fn run(doctor: &Doctor) -> anyhow::Result<ExitCode> {
    up::only_root("paas doctor")?;
    let config = Config::load(&doctor.data)?;
    if doctor.fix {
        fix(&config)?;
    }
    let is_running = running::is_running(&config);
    let mut findings = kernel::look();
    findings.extend(install::look(&config));
    findings.extend(running::look(&config, is_running));
    for finding in &findings {
        show(finding);
    }
    let is_broken = findings
        .iter()
        .any(|f| matches!(f.state, Health::Broken(_)));
    Ok(ExitCode::from(u8::from(is_broken)))
}

fn fix(config: &Config) -> anyhow::Result<()> {
    up::accounts::make()?;
    up::folders::lay_out(config)?;
    if running::is_running(config) {
        return Ok(());
    }
    up::down::all(config)
}

fn show(finding: &Finding) {
    let (ink, word, text) = match &finding.state {
        Health::Well(text) => (Ink::Good, "ok  ", text),
        Health::Poor(text) => (Ink::Wait, "warn", text),
        Health::Broken(text) => (Ink::Bad, "fail", text),
    };
    output::line(&format!(
        "{}  {:<14} {text}",
        output::ink(ink, word),
        finding.what
    ));
}

impl Finding {
    fn well(what: &'static str, text: impl Into<String>) -> Self {
        let state = Health::Well(text.into());
        Self { what, state }
    }

    fn poor(what: &'static str, text: impl Into<String>) -> Self {
        let state = Health::Poor(text.into());
        Self { what, state }
    }

    fn broken(what: &'static str, text: impl Into<String>) -> Self {
        let state = Health::Broken(text.into());
        Self { what, state }
    }
}
