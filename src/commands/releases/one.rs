//! `releases:info`, `releases:output`.

use crate::app::{Choice, escape};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Ink;
use crate::{json, output};
use serde_json::Value;

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Release, such as v3; none: the newest
    release: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows a release.
pub(crate) async fn info(client: &Client, args: &One) -> Result<(), Failure> {
    let release = find(client, args).await?;
    if args.json {
        output::json(&release);
        return Ok(());
    }
    let version = json::text(&release, "version");
    output::line(&output::ink(Ink::Bold, &format!("=== Release v{version}")));
    output::line("");
    let current = match json::at(&release, "current") {
        Some(Value::Bool(true)) => "yes",
        _ => "no",
    };
    let rows = [
        ("By", json::text(&release, "user.email")),
        ("Change", json::text(&release, "description")),
        ("Current", current.to_owned()),
        ("Slug", json::text(&release, "slug.id")),
        ("Status", json::text(&release, "status")),
        ("When", json::text(&release, "created_at")),
    ];
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let label = format!("{name}:");
        output::line(&format!("{label:<9}{}", output::harmless(value)));
    }
    Ok(())
}

/// Prints what the release command says, from its first line to its end.
pub(crate) async fn show_output(client: &Client, args: &One) -> Result<(), Failure> {
    let release = find(client, args).await?;
    let url = json::text(&release, "output_stream_url");
    if url.is_empty() {
        let version = json::text(&release, "version");
        return Err(Failure::new(format!("v{version} has no release command"))
            .hint("a `release:` line in the Procfile names one"));
    }
    output::stream(client.stream(&url).await?)
        .await
        .map_err(|error| Failure::new(format!("the output was cut: {error}")))
}

async fn find(client: &Client, args: &One) -> Result<Value, Failure> {
    if let Some(release) = &args.release {
        let path = format!("/releases/{}", escape(release));
        return client.get(&args.app.path(&path)?).await;
    }
    let path = args.app.path("/releases")?;
    let newest = client.range(&path, "version ..; order=desc,max=1").await?;
    let newest = json::each(&newest).next().cloned();
    newest.ok_or_else(|| Failure::new("the app has no release yet"))
}
