//! `builds`, `builds:create`, `builds:info`, `builds:output`, `builds:cancel`.

mod upload;

pub(super) use upload::Archive;

use crate::app::Choice;
use crate::client::Client;
use crate::failure::{FAILED, Failure};
use crate::output::Ink;
use crate::{json, output};
use http::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Builds {
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
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Folder to build; of a git folder what git does not ignore
    #[arg(long, value_name = "DIR", group = "source", default_value = ".")]
    source_dir: PathBuf,
    /// Archive to build: a tar, alone or in gzip or zstd
    #[arg(long, value_name = "FILE", group = "source")]
    source_tar: Option<PathBuf>,
    /// Address of an archive to build
    #[arg(long, value_name = "URL", group = "source")]
    source_url: Option<String>,
    /// Build what the app's newest good build was made of once more
    #[arg(long, group = "source")]
    again: bool,
    /// What to call it, such as a commit
    #[arg(long, conflicts_with = "again")]
    version: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Build; none: the newest
    build: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists builds, newest first.
pub(crate) async fn list(client: &Client, args: &Builds) -> Result<(), Failure> {
    let builds = newest(client, &args.app, args.num).await?;
    if args.json {
        output::json(&builds);
        return Ok(());
    }
    let title = format!("=== {} Builds", args.app.name()?);
    output::line(&output::ink(Ink::Bold, &title));
    output::line("");
    let rows: Vec<Vec<String>> = json::each(&builds)
        .map(|build| {
            let version = json::text(build, "source_blob.version");
            vec![
                json::text(build, "id"),
                json::text(build, "status"),
                output::harmless(&version).chars().take(40).collect(),
                json::text(build, "user.email"),
                json::text(build, "created_at"),
            ]
        })
        .collect();
    output::table(&["id", "status", "version", "by", "at"], &rows);
    Ok(())
}

/// Asks for a build and follows it to its end.
pub(crate) async fn create(client: &Client, args: &Create) -> Result<(), Failure> {
    let source = source(client, args).await?;
    order(client, &args.app, &args.app.path("/builds")?, &source).await
}

/// Asks for a build at a path of the API and follows it to its end.
pub(super) async fn order(
    client: &Client,
    app: &Choice,
    path: &str,
    source: &Value,
) -> Result<(), Failure> {
    let body = json!({ "source_blob": source });
    let build = client.ask(Method::POST, path, Some(&body)).await?;
    follow(client, &build).await?;
    let path = app.path(&format!("/builds/{}", json::text(&build, "id")))?;
    let build = client.get(&path).await?;
    match json::text(&build, "status").as_str() {
        "succeeded" => Ok(()),
        status => Err(Failure {
            exit: FAILED,
            id: "build_failed".to_owned(),
            message: format!("the build {} is {status}", json::text(&build, "id")),
            hint: None,
        }),
    }
}

async fn source(client: &Client, args: &Create) -> Result<Value, Failure> {
    if args.again {
        let builds = newest(client, &args.app, 1000).await?;
        let good = json::each(&builds).find(|build| json::text(build, "status") == "succeeded");
        let blob = good.and_then(|build| json::at(build, "source_blob"));
        return blob.cloned().ok_or_else(|| {
            Failure::new("nothing of this app was built yet").hint("push it: git push paas main")
        });
    }
    if let Some(url) = &args.source_url {
        return Ok(json!({ "url": url, "version": args.version }));
    }
    let archive = match &args.source_tar {
        Some(file) => Archive::file(file)?,
        None => Archive::folder(&args.source_dir)?,
    };
    upload(
        client,
        &args.app,
        archive,
        ("source", args.version.as_deref()),
    )
    .await
}

/// Uploads an archive; returns what a build calls its source.
pub(super) async fn upload(
    client: &Client,
    app: &Choice,
    archive: Archive,
    (what, version): (&str, Option<&str>),
) -> Result<Value, Failure> {
    let path = app.path("/sources")?;
    let source = client.ask(Method::POST, &path, None).await?;
    output::begin_aside(&format!("Uploading {what}... "));
    let checksum = archive
        .send(client, &json::text(&source, "source_blob.put_url"))
        .await
        .inspect_err(|_| output::aside("failed"))?;
    output::aside("done");
    Ok(json!({
        "url": json::text(&source, "source_blob.get_url"),
        "checksum": checksum,
        "version": version,
    }))
}

/// Shows a build.
pub(crate) async fn info(client: &Client, args: &One) -> Result<(), Failure> {
    let build = find(client, args).await?;
    if args.json {
        output::json(&build);
        return Ok(());
    }
    let id = json::text(&build, "id");
    output::line(&output::ink(Ink::Bold, &format!("=== Build {id}")));
    output::line("");
    let rows = [
        ("Buildpacks", packs(&build)),
        ("By", json::text(&build, "user.email")),
        ("Created", json::text(&build, "created_at")),
        ("Release", json::text(&build, "release.id")),
        ("Slug", json::text(&build, "slug.id")),
        ("Source", json::text(&build, "source_blob.url")),
        ("Stack", json::text(&build, "stack")),
        ("Status", json::text(&build, "status")),
        ("Version", json::text(&build, "source_blob.version")),
    ];
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let label = format!("{name}:");
        output::line(&format!("{label:<12}{}", output::harmless(value)));
    }
    Ok(())
}

fn packs(build: &Value) -> String {
    let list = json::at(build, "buildpacks").unwrap_or(&Value::Null);
    let names: Vec<String> = json::each(list)
        .map(|one| json::text(one, "name"))
        .collect();
    names.join(", ")
}

/// Prints what a build says, from its first line to its end.
pub(crate) async fn show_output(client: &Client, args: &One) -> Result<(), Failure> {
    let build = find(client, args).await?;
    follow(client, &build).await
}

/// Cancels a build that runs.
pub(crate) async fn cancel(client: &Client, args: &One) -> Result<(), Failure> {
    let build = find(client, args).await?;
    let id = json::text(&build, "id");
    output::begin_aside(&format!("Stopping build {id}... "));
    let path = args.app.path(&format!("/builds/{id}"))?;
    let build = client
        .ask(Method::DELETE, &path, None)
        .await
        .inspect_err(|_| output::aside("failed"))?;
    output::aside("done");
    if args.json {
        output::json(&build);
    }
    Ok(())
}

async fn find(client: &Client, args: &One) -> Result<Value, Failure> {
    if let Some(id) = &args.build {
        let path = format!("/builds/{}", crate::app::escape(id));
        return client.get(&args.app.path(&path)?).await;
    }
    let builds = newest(client, &args.app, 1).await?;
    json::each(&builds)
        .next()
        .cloned()
        .ok_or_else(|| Failure::new("nothing of this app was built yet"))
}

async fn newest(client: &Client, app: &Choice, num: u16) -> Result<Value, Failure> {
    let range = format!("created_at ..; order=desc,max={num}");
    client.range(&app.path("/builds")?, &range).await
}

async fn follow(client: &Client, build: &Value) -> Result<(), Failure> {
    let url = json::text(build, "output_stream_url");
    let stream = client.stream(&url).await?;
    output::stream(stream).await.map_err(|error| {
        Failure::new(format!("the build's output was cut: {error}"))
            .hint("it goes on; see it: paas builds:output")
    })
}
