//! `domains`, `domains:add`, `domains:remove`, `domains:clear`.

use crate::app::{Choice, escape};
use crate::client::Client;
use crate::failure::Failure;
use crate::json;
use crate::output::{self, Ink, begin_aside};
use http::Method;
use serde_json::Value;

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Host name: `www.example.com`, or `*.example.com` for all below it
    hostname: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Clear {
    #[command(flatten)]
    pub(crate) app: Choice,
}

/// Lists the host names of an app.
pub(crate) async fn show(client: &Client, args: &Show) -> Result<(), Failure> {
    let domains = client.get(&args.app.path("/domains")?).await?;
    if args.json {
        output::json(&domains);
        return Ok(());
    }
    let name = args.app.name()?;
    let (own, given): (Vec<&Value>, Vec<&Value>) =
        json::each(&domains).partition(|domain| is_own(domain));
    output::line(&output::ink(Ink::Bold, &format!("=== {name} Domain")));
    output::line("");
    for domain in given {
        output::line(&json::text(domain, "hostname"));
    }
    if own.is_empty() {
        return Ok(());
    }
    output::line("");
    output::line(&output::ink(
        Ink::Bold,
        &format!("=== {name} Custom Domains"),
    ));
    output::line("");
    let row = |domain: &Value| {
        let field = |name| json::text(domain, name);
        vec![
            field("hostname"),
            "ALIAS or CNAME".to_owned(),
            field("cname"),
        ]
    };
    let rows: Vec<Vec<String>> = own.into_iter().map(row).collect();
    output::table(&["Domain Name", "DNS Record Type", "DNS Target"], &rows);
    Ok(())
}

/// Adds a host name, and says which DNS record it needs.
pub(crate) async fn add(client: &Client, args: &Named) -> Result<(), Failure> {
    let body = serde_json::json!({ "hostname": args.hostname, "sni_endpoint": null });
    let path = args.app.path("/domains")?;
    let ask = client.ask(Method::POST, &path, Some(&body));
    let domain = step("Adding", &args.hostname, &args.app, ask).await?;
    output::aside(&format!(
        "Point {} to {} in its DNS: an ALIAS or CNAME record.",
        json::text(&domain, "hostname"),
        json::text(&domain, "cname")
    ));
    Ok(())
}

/// Removes a host name.
pub(crate) async fn remove(client: &Client, args: &Named) -> Result<(), Failure> {
    let path = args
        .app
        .path(&format!("/domains/{}", escape(&args.hostname)))?;
    let ask = client.ask(Method::DELETE, &path, None);
    step("Removing", &args.hostname, &args.app, ask)
        .await
        .map(drop)
}

/// Removes all host names that were added.
pub(crate) async fn clear(client: &Client, args: &Clear) -> Result<(), Failure> {
    let domains = client.get(&args.app.path("/domains")?).await?;
    for domain in json::each(&domains).filter(|domain| is_own(domain)) {
        let hostname = json::text(domain, "hostname");
        let path = args.app.path(&format!("/domains/{}", escape(&hostname)))?;
        let ask = client.ask(Method::DELETE, &path, None);
        step("Removing", &hostname, &args.app, ask).await?;
    }
    Ok(())
}

fn is_own(domain: &Value) -> bool {
    json::text(domain, "kind") == "custom"
}

/// `Adding www.example.com to hello... done`
async fn step(
    doing: &str,
    hostname: &str,
    app: &Choice,
    ask: impl Future<Output = Result<Value, Failure>>,
) -> Result<Value, Failure> {
    let app = output::ink_aside(Ink::App, &app.name()?);
    let word = if doing == "Adding" { "to" } else { "from" };
    begin_aside(&format!("{doing} {hostname} {word} {app}... "));
    let answer = ask.await.inspect_err(|_| output::aside("failed"))?;
    output::aside("done");
    Ok(answer)
}
