//! `paas uninstall`: no trace of the platform on this machine. Part of `make uninstall`, which
//! removes the programs, this one among them, after it.

use crate::output;
use crate::up;
use anyhow::Context as _;
use link::config::Config;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// `paas uninstall`
#[derive(Debug, clap::Args)]
pub(crate) struct Uninstall {
    /// The data folder
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_DATA_DIR)]
    data: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Ask, and do nothing else
    #[arg(long, hide = true, conflicts_with = "yes")]
    ask: bool,
}

/// Runs `paas uninstall`.
pub(crate) fn run(uninstall: &Uninstall) -> anyhow::Result<ExitCode> {
    up::only_root("paas uninstall")?;
    let config = Config::load(&uninstall.data)?;
    let apps = apps(&config.data_dir);
    if !uninstall.yes && !is_sure(&config.data_dir, apps)? {
        output::aside("       nothing was removed");
        return Ok(ExitCode::FAILURE);
    }
    if uninstall.ask {
        return Ok(ExitCode::SUCCESS);
    }
    up::down::all(&config)?;
    remove(&config.data_dir)?;
    remove(&config.stacks_dir)?;
    // One set of users serves all installations of a machine: `userdel` refuses one that is in use.
    let users = up::accounts::USERS;
    let removed = users.iter().filter(|user| is_done("userdel", user)).count();
    if removed < users.len() || !is_done("groupdel", up::accounts::GROUP) {
        output::aside("       system users are kept, another installation runs as them");
    }
    output::aside("       apps, data and stacks are removed");
    Ok(ExitCode::SUCCESS)
}

fn is_sure(data: &Path, apps: usize) -> anyhow::Result<bool> {
    anyhow::ensure!(
        std::io::stdin().is_terminal(),
        "this deletes {} for good, and there is no terminal to ask at: add --yes (make uninstall YES=1)",
        count(apps)
    );
    output::begin_aside(&format!(
        " !     This deletes {} with {} for good. Type yes: ",
        data.display(),
        count(apps)
    ));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

fn count(apps: usize) -> String {
    format!("{apps} app{}", if apps == 1 { "" } else { "s" })
}

/// Each app that was ever pushed to has a bare repository named by its id; the builder keeps an
/// empty one beside them.
fn apps(data: &Path) -> usize {
    let entries = std::fs::read_dir(data.join("git"))
        .into_iter()
        .flatten()
        .flatten();
    let is_app = |name: &str| {
        name.strip_suffix(".git")
            .is_some_and(|id| model::app::Id::parse(id).is_some())
    };
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_app))
        .count()
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn is_done(program: &str, name: &str) -> bool {
    let done = Command::new(program).arg(name).output();
    done.is_ok_and(|output| output.status.success())
}
