//! `maintenance`, `maintenance:on`, `maintenance:off`.

use crate::app::Choice;
use crate::client::Client;
use crate::failure::Failure;
use crate::json;
use crate::output::{self, Ink};
use http::Method;

#[derive(Debug, clap::Args)]
pub(crate) struct Maintenance {
    #[command(flatten)]
    pub(crate) app: Choice,
}

/// Says whether the router shows the maintenance page in place of the app.
pub(crate) async fn show(client: &Client, args: &Maintenance) -> Result<(), Failure> {
    let app = client.get(&args.app.path("")?).await?;
    let is_on = json::text(&app, "maintenance") == "true";
    output::line(if is_on { "on" } else { "off" });
    Ok(())
}

/// Switches it; the dynos go on.
pub(crate) async fn switch(client: &Client, args: &Maintenance, on: bool) -> Result<(), Failure> {
    let app = output::ink_aside(Ink::App, &args.app.name()?);
    let word = if on { "Enabling" } else { "Disabling" };
    output::begin_aside(&format!("{word} maintenance mode for {app}... "));
    let body = serde_json::json!({ "maintenance": on });
    client
        .ask(Method::PATCH, &args.app.path("")?, Some(&body))
        .await
        .inspect_err(|_| output::aside("failed"))?;
    output::aside("done");
    Ok(())
}
