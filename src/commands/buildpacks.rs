//! `buildpacks`, `buildpacks:set/add/remove/clear`.

use crate::app::Choice;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Ink;
use crate::{json, output};
use http::Method;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Built-in name (python, nodejs, static, procfile), ./FOLDER of the app, git URL with #ref, or
    /// URL of a .tgz
    buildpack: String,
    /// Place in the list, from 1
    #[arg(long, short, value_parser = clap::value_parser!(u16).range(1..=32))]
    index: Option<u16>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// The buildpack as `paas buildpacks` shows it
    #[arg(required_unless_present = "index")]
    buildpack: Option<String>,
    /// Place in the list, from 1
    #[arg(long, short, value_parser = clap::value_parser!(u16).range(1..=32))]
    index: Option<u16>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Clear {
    #[command(flatten)]
    pub(crate) app: Choice,
}

/// Lists the buildpacks in the order in which they run.
pub(crate) async fn show(client: &Client, args: &Show) -> Result<(), Failure> {
    if args.json {
        output::json(
            &client
                .get(&args.app.path("/buildpack-installations")?)
                .await?,
        );
        return Ok(());
    }
    let list = current(client, &args.app).await?;
    let name = args.app.name()?;
    if list.is_empty() {
        output::line(&format!(
            "{name} has no buildpacks: they are detected at each push."
        ));
        return Ok(());
    }
    output::line(&output::ink(
        Ink::Bold,
        &format!(
            "=== {name} Buildpack{}",
            if list.len() == 1 { "" } else { "s" }
        ),
    ));
    output::line("");
    numbered(&list);
    Ok(())
}

fn numbered(list: &[String]) {
    for (index, buildpack) in list.iter().enumerate() {
        let text = output::harmless(buildpack);
        output::line(&if list.len() == 1 {
            text
        } else {
            format!("{}. {text}", index + 1)
        });
    }
}

/// Replaces one buildpack, or the first.
pub(crate) async fn set(client: &Client, args: &Place) -> Result<(), Failure> {
    let mut list = current(client, &args.app).await?;
    let index = usize::from(args.index.unwrap_or(1)) - 1;
    match list.get_mut(index) {
        Some(place) => place.clone_from(&args.buildpack),
        None => list.push(args.buildpack.clone()),
    }
    replace(client, &args.app, list).await
}

/// Adds one at a place, or at the end.
pub(crate) async fn add(client: &Client, args: &Place) -> Result<(), Failure> {
    let mut list = current(client, &args.app).await?;
    if list.contains(&args.buildpack) {
        return Err(Failure::new(format!(
            "the buildpack {} is set already",
            args.buildpack
        )));
    }
    let index = args
        .index
        .map_or(list.len(), |index| usize::from(index) - 1)
        .min(list.len());
    list.insert(index, args.buildpack.clone());
    replace(client, &args.app, list).await
}

/// Removes one by its place or name.
pub(crate) async fn remove(client: &Client, args: &Remove) -> Result<(), Failure> {
    let mut list = current(client, &args.app).await?;
    let place = match (&args.index, &args.buildpack) {
        (Some(index), _) => Some(usize::from(*index) - 1).filter(|index| *index < list.len()),
        (None, Some(buildpack)) => list.iter().position(|other| other == buildpack),
        (None, None) => None,
    };
    let place = place.ok_or_else(|| {
        Failure::new("there is no such buildpack in the list").hint("see the list: paas buildpacks")
    })?;
    list.remove(place);
    replace(client, &args.app, list).await
}

/// Removes all: the next push detects.
pub(crate) async fn clear(client: &Client, args: &Clear) -> Result<(), Failure> {
    replace(client, &args.app, Vec::new()).await
}

async fn current(client: &Client, app: &Choice) -> Result<Vec<String>, Failure> {
    let list = client.get(&app.path("/buildpack-installations")?).await?;
    Ok(json::each(&list)
        .map(|one| json::text(one, "buildpack.name"))
        .collect())
}

async fn replace(client: &Client, app: &Choice, list: Vec<String>) -> Result<(), Failure> {
    let updates: Vec<_> = list
        .iter()
        .map(|buildpack| json!({ "buildpack": buildpack }))
        .collect();
    client
        .ask(
            Method::PUT,
            &app.path("/buildpack-installations")?,
            Some(&json!({ "updates": updates })),
        )
        .await?;
    let name = app.name()?;
    if list.is_empty() {
        output::aside(&format!(
            "Buildpacks cleared. The next push to {name} detects them."
        ));
    } else {
        output::aside(&format!(
            "Buildpacks set. The next release of {name} will use:"
        ));
        for buildpack in &list {
            output::aside(&format!("  {}", output::harmless(buildpack)));
        }
    }
    output::aside("Run git push paas main to make a new release with them.");
    Ok(())
}
