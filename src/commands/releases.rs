//! `releases`, `rollback`; what is about one release is next door.

pub(crate) mod one;

use crate::app::Choice;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Ink;
use crate::{json, output};
use http::Method;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(crate) struct Releases {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// How many, newest first
    #[arg(long, short, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    num: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Release to go back to, such as v3; none: the one before the current
    release: Option<String>,
}

/// Lists releases, newest first.
pub(crate) async fn list(client: &Client, args: &Releases) -> Result<(), Failure> {
    let range = format!("version ..; order=desc,max={}", args.num);
    let releases = client.range(&args.app.path("/releases")?, &range).await?;
    if args.json {
        output::json(&releases);
        return Ok(());
    }
    let name = args.app.name()?;
    let current = json::each(&releases)
        .find(|release| json::at(release, "current") == Some(&Value::Bool(true)));
    let title = match current {
        Some(release) => format!(
            "=== {name} Releases - Current: v{}",
            json::text(release, "version")
        ),
        None => format!("=== {name} Releases"),
    };
    output::line(&output::ink(Ink::Bold, &title));
    output::line("");
    let rows: Vec<Vec<String>> = json::each(&releases)
        .map(|release| {
            let status = json::text(release, "status");
            vec![
                format!("v{}", json::text(release, "version")),
                output::harmless(&json::text(release, "description")),
                if status == "succeeded" {
                    String::new()
                } else {
                    status
                },
                json::text(release, "user.email"),
                json::text(release, "created_at"),
            ]
        })
        .collect();
    output::table(&["v", "description", "status", "by", "at"], &rows);
    Ok(())
}

/// Makes a new release of an old slug, config and process types.
pub(crate) async fn rollback(client: &Client, args: &Rollback) -> Result<(), Failure> {
    let name = args.app.name()?;
    let target = match &args.release {
        Some(release) => release.trim_start_matches('v').to_owned(),
        None => before_the_current(client, &args.app).await?,
    };
    output::begin_aside(&format!(
        "Rolling back {} to v{target}... ",
        output::ink_aside(Ink::App, &name)
    ));
    let body = json!({ "release": target });
    let release = client
        .ask(Method::POST, &args.app.path("/releases")?, Some(&body))
        .await
        .inspect_err(|_| output::aside("failed"))?;
    output::aside(&format!(
        "done, {}",
        output::ink_aside(Ink::Good, &format!("v{}", json::text(&release, "version")))
    ));
    output::aside("       Rollback affects code and config vars; it does not add or remove data.");
    Ok(())
}

async fn before_the_current(client: &Client, app: &Choice) -> Result<String, Failure> {
    let newest = client
        .range(&app.path("/releases")?, "version ..; order=desc,max=10")
        .await?;
    let eligible =
        |release: &&Value| json::at(release, "eligible_for_rollback") == Some(&Value::Bool(true));
    json::each(&newest)
        .filter(eligible)
        .nth(1)
        .map(|release| json::text(release, "version"))
        .ok_or_else(|| {
            Failure::new("there is no earlier release to go back to")
                .hint("all releases: paas releases")
        })
}
