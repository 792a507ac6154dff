//! `paas up` for people: the supervisor goes to the background, or is renewed there, and the
//! command comes back when the platform is healthy, or says what keeps it from being so.

use super::process::{Build, Identity};
use super::state::{self, Ended, State};
use super::{logs, role};
use crate::{output, status};
use anyhow::{Context as _, bail};
use link::config::Config;
use model::limits::UP_TIMEOUT_MS;
use nix::sys::signal::Signal;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A role that ended so often in one start is not going to stay.
const ENDED_MAX: u32 = 4;
/// How long the supervisor may take until it has written its state: it makes users and folders,
/// and loads modules; a busy small machine needs its time for that.
const SUPERVISOR_TIMEOUT: Duration = Duration::from_secs(30);
/// How often we look: a person does not notice less.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Lines of a failing role's log that are shown.
const LOG_LINES: usize = 12;

/// Runs `paas up` without `--foreground`.
pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let before = State::read(&config.run_dir)?;
    let living = before.up.and_then(|up| Some((up, up.open()?)));
    let done = match living {
        Some((up, _)) if is_current(config, up)? => "runs",
        Some((_, handle)) => {
            handle.signal(Signal::SIGHUP as i32)?;
            "runs its new build and configuration"
        }
        None => {
            launch(config)?;
            STARTED
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(wait_until_healthy(config, &before, done == STARTED))?;
    let seconds = started.elapsed().as_secs_f64();
    output::aside(&format!(
        "       {} {done} ({seconds:.1} s)",
        config.instance
    ));
    Ok(ExitCode::SUCCESS)
}

/// What is said of a supervisor that was not there before.
const STARTED: &str = "started";

fn launch(config: &Config) -> anyhow::Result<()> {
    if has_unit(config) {
        systemctl("start", config)
    } else {
        detach(config)
    }
}

/// Whether systemd holds the supervisor of this installation.
pub(super) fn has_unit(config: &Config) -> bool {
    let unit = format!("/etc/systemd/system/{}.service", config.instance);
    Path::new("/run/systemd/system").is_dir() && Path::new(&unit).exists()
}

/// Asks systemd for something about our unit.
pub(super) fn systemctl(verb: &str, config: &Config) -> anyhow::Result<()> {
    let unit = format!("{}.service", config.instance);
    let status = Command::new("systemctl").args([verb, &unit]).status()?;
    if !status.success() {
        bail!("systemctl {verb} {unit} failed: journalctl -u {unit}");
    }
    Ok(())
}

fn detach(config: &Config) -> anyhow::Result<()> {
    let program = config.program_dir.join("paas");
    let data = &config.data_dir;
    std::fs::create_dir_all(data.join("log"))?;
    let log = logs::append(data, "up")?;
    Command::new(&program)
        .args(["up", "--foreground", "--detached", "--data"])
        .arg(data)
        .current_dir("/")
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map(drop)
        .with_context(|| format!("cannot run {}", program.display()))
}

/// Whether supervisor and roles are of the installed build and the present configuration.
fn is_current(config: &Config, up: Identity) -> anyhow::Result<bool> {
    let state = State::read(&config.run_dir)?;
    let fingerprint = state::fingerprint(&config.data_dir);
    let installed = |program: &Path| Build::of(program).ok();
    let all_current = state.roles.iter().all(|entry| {
        entry.config == fingerprint
            && entry.identity.build() == installed(&entry.name.program(config))
    });
    let own = up.build() == installed(&config.program_dir.join("paas"));
    Ok(own && all_current && state.roles.len() == role::ALL.len() && state.is_settled)
}

async fn wait_until_healthy(
    config: &Config,
    before: &State,
    mut is_launched: bool,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut last = String::from("it did not start");
    loop {
        look.tick().await;
        let state = State::read(&config.run_dir)?;
        let is_up = state.up.and_then(Identity::open).is_some();
        if let Some(ended) = state
            .ended
            .iter()
            .find(|now| is_up && has_failed(now, before))
        {
            return Err(explain(config, ended.name.name(), &ended.to_string()));
        }
        if !is_up && !is_launched {
            // It was dying while we spoke to it: whoever kills it may be as quick as we are.
            launch(config)?;
            is_launched = true;
        }
        if !is_up && started.elapsed() > SUPERVISOR_TIMEOUT {
            return Err(explain(config, "up", "the supervisor does not stay"));
        }
        match state.up {
            Some(up) if is_up && is_current(config, up)? => match health(config).await {
                Ok(()) => return Ok(()),
                Err(error) => last = format!("{error:#}"),
            },
            _ => {}
        }
        if started.elapsed() > Duration::from_millis(UP_TIMEOUT_MS) {
            return Err(explain(config, "api", &last));
        }
    }
}

/// Whether a role ended too often since we look. A new supervisor counts from zero again.
fn has_failed(now: &Ended, before: &State) -> bool {
    let then = before.ended.iter().find(|ended| ended.name == now.name);
    let then = then.map_or(0, |ended| ended.times);
    now.times.checked_sub(then).unwrap_or(now.times) >= ENDED_MAX
}

async fn health(config: &Config) -> anyhow::Result<()> {
    let asked = status::fetch(config.loopback_port);
    let document = tokio::time::timeout(Duration::from_secs(2), asked)
        .await
        .context("the platform does not answer")??;
    if status::read(&document)?.healthy {
        return Ok(());
    }
    bail!("the platform is not healthy: {document}")
}

fn explain(config: &Config, name: &str, what: &str) -> anyhow::Error {
    let mut lines = vec![what.to_owned()];
    if has_unit(config) {
        lines.push(format!("see journalctl -u {}.service", config.instance));
    } else {
        lines.push(format!(
            "the end of {}:",
            logs::path(&config.data_dir, name).display()
        ));
        lines.extend(logs::tail(&config.data_dir, name, LOG_LINES));
    }
    lines.push("see what is missing: paas doctor".to_owned());
    anyhow::anyhow!(lines.join("\n"))
}
