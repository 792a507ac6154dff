//! `apps`, `info`, `rename`, `destroy`, `open`.

use crate::app::Choice;
use crate::client::Client;
use crate::commands::git;
use crate::failure::Failure;
use crate::output::Ink;
use crate::{json, output};
use http::Method;
use std::io::IsTerminal as _;

#[derive(Debug, clap::Args)]
pub(crate) struct Apps {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Info {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rename {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// The new name
    name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Destroy {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// The app's name, to say that you mean it
    #[arg(long, short)]
    confirm: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Open {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Path within the app
    path: Option<String>,
}

/// Lists the apps of the account.
pub(crate) async fn list(client: &Client, args: &Apps) -> Result<(), Failure> {
    let apps = client.get("/users/~/apps").await?;
    if args.json {
        output::json(&apps);
        return Ok(());
    }
    let email = json::text(&client.get("/account").await?, "email");
    if json::each(&apps).next().is_none() {
        output::line("You have no apps.");
        output::aside("make one: paas create NAME");
        return Ok(());
    }
    output::line(&output::ink(Ink::Bold, &format!("=== {email} Apps")));
    output::line("");
    for app in json::each(&apps) {
        output::line(&output::ink(Ink::App, &json::text(app, "name")));
    }
    Ok(())
}

/// Shows what the platform knows of an app.
pub(crate) async fn info(client: &Client, args: &Info) -> Result<(), Failure> {
    let app = client.get(&args.app.path("")?).await?;
    let dynos = client.get(&args.app.path("/dynos")?).await?;
    if args.json {
        output::json(&serde_json::json!({ "app": app, "dynos": dynos }));
        return Ok(());
    }
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    for dyno in json::each(&dynos) {
        *counts.entry(json::text(dyno, "type")).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(process, count)| format!("{process}: {count}"))
        .collect();
    output::line(&output::ink(
        Ink::Bold,
        &format!("=== {}", json::text(&app, "name")),
    ));
    output::line("");
    let size = json::at(&app, "slug_size")
        .and_then(serde_json::Value::as_u64)
        .map(megabytes)
        .unwrap_or_default();
    let fields = [
        ("Dynos", counts.join(", ")),
        ("Git URL", json::text(&app, "git_url")),
        ("Owner", json::text(&app, "owner.email")),
        ("Region", json::text(&app, "region.name")),
        ("Slug Size", size),
        ("Stack", json::text(&app, "stack.name")),
        ("Web URL", json::text(&app, "web_url")),
    ];
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        output::line(&format!("{:<11}{value}", format!("{name}:")));
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a size for people, rounded anyway"
)]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1_000_000.0)
}

/// Gives an app another name, and the git remotes of this folder that push to it another URL.
pub(crate) async fn rename(client: &Client, args: &Rename) -> Result<(), Failure> {
    let old = client.get(&args.app.path("")?).await?;
    output::begin_aside(&format!(
        "Renaming {} to {}... ",
        output::ink_aside(Ink::App, &json::text(&old, "name")),
        output::ink_aside(Ink::App, &args.name)
    ));
    let body = serde_json::json!({ "name": args.name });
    let app = client
        .ask(Method::PATCH, &args.app.path("")?, Some(&body))
        .await
        .inspect_err(|_| output::aside("failed"))?;
    output::aside("done");
    let git_url = json::text(&app, "git_url");
    output::line(&format!("{} | {git_url}", json::text(&app, "web_url")));
    for remote in git::remotes_to(&json::text(&old, "git_url"))? {
        git::add_remote(&remote, &git_url)?;
        output::aside(&format!("set git remote {remote} to {git_url}"));
    }
    Ok(())
}

/// Destroys an app after its name was typed.
pub(crate) async fn destroy(client: &Client, args: &Destroy) -> Result<(), Failure> {
    let name = args.app.name()?;
    client.get(&args.app.path("")?).await?;
    let confirmed = match &args.confirm {
        Some(confirm) => confirm.clone(),
        None if std::io::stdin().is_terminal() => {
            output::aside(&format!(
                " {}     This destroys {} with its releases, config vars and git repository.",
                output::ink_aside(Ink::Bad, "!"),
                output::ink_aside(Ink::App, &name)
            ));
            output::begin_aside(&format!("       To go on, type {name}: "));
            let mut typed = String::new();
            std::io::stdin().read_line(&mut typed)?;
            typed.trim().to_owned()
        }
        None => String::new(),
    };
    if confirmed != name {
        return Err(Failure::usage(format!(
            "the confirmation is not {name}; nothing was changed"
        ))
        .hint(format!("paas destroy -a {name} --confirm {name}")));
    }
    output::begin_aside(&format!(
        "Destroying {}... ",
        output::ink_aside(Ink::App, &name)
    ));
    client
        .ask(Method::DELETE, &args.app.path("")?, None)
        .await
        .inspect_err(|_| output::aside("failed"))?;
    output::aside("done");
    Ok(())
}

/// Opens the app with the desktop's browser; without a desktop prints the address.
pub(crate) async fn open(client: &Client, args: &Open) -> Result<(), Failure> {
    let app = client.get(&args.app.path("")?).await?;
    let tail = args
        .path
        .as_deref()
        .unwrap_or("")
        .trim_start_matches('/')
        .to_owned();
    let url = format!("{}{tail}", json::text(&app, "web_url"));
    output::line(&url);
    let has_desktop = crate::account::environment("DISPLAY")
        .or_else(|| crate::account::environment("WAYLAND_DISPLAY"))
        .is_some();
    if has_desktop {
        let opened = std::process::Command::new("xdg-open").arg(&url).status();
        if !opened.is_ok_and(|status| status.success()) {
            output::aside("no browser could be opened");
        }
    }
    Ok(())
}
