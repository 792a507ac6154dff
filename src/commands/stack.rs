//! `stack`, `stack:set`.

use crate::app::Choice;
use crate::client::Client;
use crate::failure::Failure;
use crate::{json, output};
use http::Method;
use serde_json::json;

/// What can be chosen.
const STACKS: [&str; 2] = ["debian-13", "container"];

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) app: Choice,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// "debian-13" for slugs, "container" for images
    stack: String,
}

/// Lists the stacks and marks the app's.
pub(crate) async fn show(client: &Client, args: &Show) -> Result<(), Failure> {
    let app = client.get(&args.app.path("")?).await?;
    let current = json::text(&app, "build_stack.name");
    for stack in STACKS {
        let mark = if stack == current { "*" } else { " " };
        output::line(&format!("{mark} {stack}"));
    }
    Ok(())
}

/// Says what the next push is built to.
pub(crate) async fn set(client: &Client, args: &Set) -> Result<(), Failure> {
    let body = json!({ "build_stack": args.stack });
    let path = args.app.path("")?;
    let app = client.ask(Method::PATCH, &path, Some(&body)).await?;
    let (name, stack) = (args.app.name()?, json::text(&app, "build_stack.name"));
    output::line(&format!("The next push to {name} is built on {stack}."));
    Ok(())
}
