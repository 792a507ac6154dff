//! `create`.

use crate::client::Client;
use crate::commands::git;
use crate::failure::Failure;
use crate::output::Ink;
use crate::{json, output};
use http::Method;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Name: 3 to 30 lower-case letters, digits and dashes; made up when not given
    name: Option<String>,
    /// Buildpack to use; may be given several times
    #[arg(long, short)]
    buildpack: Vec<String>,
    /// Git remote to add
    #[arg(long, short, default_value = "paas")]
    remote: String,
    /// Add no git remote
    #[arg(long)]
    no_remote: bool,
    /// Print the app as JSON
    #[arg(long)]
    json: bool,
}

/// Makes an app, sets its buildpacks, and adds the git remote in a git folder.
pub(crate) async fn create(client: &Client, args: &Create) -> Result<(), Failure> {
    let shown = args.name.clone().unwrap_or_else(|| "app".to_owned());
    output::begin_aside(&format!(
        "Creating {}... ",
        output::ink_aside(Ink::App, &shown)
    ));
    let body = match &args.name {
        Some(name) => json!({ "name": name }),
        None => json!({}),
    };
    let app = client
        .ask(Method::POST, "/apps", Some(&body))
        .await
        .inspect_err(|_| output::aside("failed"))?;
    let name = json::text(&app, "name");
    output::aside(&format!("done, {}", output::ink_aside(Ink::App, &name)));
    if !args.buildpack.is_empty() {
        let updates: Vec<_> = args
            .buildpack
            .iter()
            .map(|url| json!({ "buildpack": url }))
            .collect();
        let path = format!("/apps/{name}/buildpack-installations");
        client
            .ask(Method::PUT, &path, Some(&json!({ "updates": updates })))
            .await?;
    }
    let git_url = json::text(&app, "git_url");
    if args.json {
        output::json(&app);
    } else {
        output::line(&format!("{} | {git_url}", json::text(&app, "web_url")));
    }
    if !args.no_remote && git::is_repository() && git::add_remote(&args.remote, &git_url)? {
        output::aside(&format!("set git remote {} to {git_url}", args.remote));
    }
    Ok(())
}
