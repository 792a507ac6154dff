//! `git:remote`, and the credential helper that hands git the token.

use crate::account::Account;
use crate::app::Choice;
use crate::client::Client;
use crate::failure::Failure;
use crate::{json, output};
use std::io::Read as _;
use std::process::{Command, ExitCode};

#[derive(Debug, clap::Args)]
pub(crate) struct Remote {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Name of the remote
    #[arg(long, default_value = "paas")]
    name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Credentials {
    /// What git wants: get, store or erase
    operation: String,
}

/// Points the remote `paas` of this folder at the app.
pub(crate) async fn remote(client: &Client, args: &Remote) -> Result<(), Failure> {
    let url = json::text(&client.get(&args.app.path("")?).await?, "git_url");
    if !is_repository() {
        return Err(Failure::usage("this folder is no git repository")
            .hint("make it one: git init -b main"));
    }
    add_remote(&args.name, &url)?;
    output::aside(&format!("set git remote {} to {url}", args.name));
    Ok(())
}

/// Answers git's credential protocol: reads what it knows, prints user and token.
pub(crate) fn credentials(args: &Credentials) -> Result<ExitCode, Failure> {
    let mut asked = String::new();
    std::io::stdin()
        .take(64 * 1024)
        .read_to_string(&mut asked)?;
    if args.operation == "get" {
        let account = Account::load()?;
        output::line(&format!("username=paas\npassword={}", account.token));
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells git, for all folders of this user, to ask us for the token of the platform's git host.
pub(crate) fn keep_credentials(account: &Account) -> Result<(), Failure> {
    let program = std::env::current_exe()?;
    let program = if program.starts_with("/usr/local/lib") {
        "paas".to_owned()
    } else {
        program.display().to_string()
    };
    set(&helper_key(account), &format!("!{program} git:credentials"))
}

/// Takes that back, also for domains that the platform had before.
pub(crate) fn forget_credentials() -> Result<(), Failure> {
    let pattern = r"^credential\..*\.helper$";
    let listed = Command::new("git")
        .args(["config", "--global", "--get-regexp", pattern])
        .output()?;
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        if let Some((key, helper)) = line.split_once(' ')
            && helper.ends_with("paas git:credentials")
        {
            let unset = ["config", "--global", "--unset-all", key];
            if !Command::new("git").args(unset).status()?.success() {
                return Err(Failure::new(format!("git config keeps {key}")));
            }
        }
    }
    Ok(())
}

/// The git host stands beside the API's host: `api.HOST` and `git.HOST`.
fn helper_key(account: &Account) -> String {
    let host = account.api_url.replacen("://api.", "://git.", 1);
    format!("credential.{host}.helper")
}

fn set(key: &str, value: &str) -> Result<(), Failure> {
    let status = Command::new("git")
        .args(["config", "--global", "--replace-all", key, value])
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::new(format!("git config refused {key}"))),
        Err(error) => Err(Failure::new(format!("git cannot be run: {error}"))
            .hint("install it: apt-get install git")),
    }
}

/// Whether this folder is a git work tree.
pub(crate) fn is_repository() -> bool {
    let output = Command::new("git")
        .args(["rev-parse", "--git-dir"])
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// The remotes of this folder with this URL; none outside of a git folder.
pub(crate) fn remotes_to(url: &str) -> Result<Vec<String>, Failure> {
    let output = Command::new("git")
        .args(["config", "--get-regexp", r"^remote\..*\.url$"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let name = |key: &str| {
        key.strip_prefix("remote.")?
            .strip_suffix(".url")
            .map(str::to_owned)
    };
    Ok(lines
        .filter(|(_, there)| *there == url)
        .filter_map(|(key, _)| name(key))
        .collect())
}

/// Adds a remote or changes its URL. False when it was so already.
pub(crate) fn add_remote(name: &str, url: &str) -> Result<bool, Failure> {
    let current = Command::new("git")
        .args(["config", "--get", &format!("remote.{name}.url")])
        .output()?;
    let current = String::from_utf8_lossy(&current.stdout).trim().to_owned();
    if current == url {
        return Ok(false);
    }
    let verb = if current.is_empty() { "add" } else { "set-url" };
    let status = Command::new("git")
        .args(["remote", verb, name, url])
        .status()?;
    if status.success() {
        Ok(true)
    } else {
        Err(Failure::new(format!("git remote {verb} {name} failed")))
    }
}
