//! `config`, `config:set`, `config:get`, `config:unset`; `config:edit` is next door.

pub(crate) mod edit;

use crate::app::Choice;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Ink;
use crate::{json, output};
use http::Method;
use serde_json::{Map, Value};

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Print JSON
    #[arg(long, short)]
    json: bool,
    /// Print KEY=value lines for a shell
    #[arg(long, short)]
    shell: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// KEY=value
    #[arg(required = true)]
    vars: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Name of the config var
    key: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Unset {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Names of config vars
    #[arg(required = true)]
    keys: Vec<String>,
}

/// Lists all config vars.
pub(crate) async fn show(client: &Client, args: &Show) -> Result<(), Failure> {
    let vars = client.get(&args.app.path("/config-vars")?).await?;
    if args.json {
        output::json(&vars);
        return Ok(());
    }
    let pairs = vars
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key, value.as_str().unwrap_or_default()));
    if args.shell {
        for (key, value) in pairs {
            output::line(&format!("{key}={}", quote(value)));
        }
        return Ok(());
    }
    let name = args.app.name()?;
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() {
        output::line(&format!("{name} has no config vars."));
        return Ok(());
    }
    output::line(&output::ink(Ink::Bold, &format!("=== {name} Config Vars")));
    output::line("");
    let width = pairs
        .iter()
        .map(|(key, _)| key.len() + 1)
        .max()
        .unwrap_or(0);
    for (key, value) in pairs {
        let key = format!("{:<width$}", format!("{key}:"));
        output::line(&format!(
            "{} {}",
            output::ink(Ink::Good, &key),
            value
                .lines()
                .map(output::harmless)
                .collect::<Vec<_>>()
                .join("\n")
        ));
    }
    Ok(())
}

/// A value as one word of a POSIX shell.
fn quote(value: &str) -> String {
    let is_plain = !value.is_empty()
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-./:@%+,".contains(&byte));
    if is_plain {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

/// Sets config vars: one release for all of them.
pub(crate) async fn set(client: &Client, args: &Set) -> Result<(), Failure> {
    let mut change = Map::new();
    for pair in &args.vars {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| {
                Failure::usage(format!("{pair} has no `=`"))
                    .hint("write KEY=value, e.g. paas config:set GREETING=hello")
            })?;
        change.insert(key.to_owned(), Value::String(value.to_owned()));
    }
    let keys: Vec<String> = change.keys().cloned().collect();
    let name = args.app.name()?;
    output::begin_aside(&format!(
        "Setting {} and restarting {}... ",
        keys.join(", "),
        output::ink_aside(Ink::App, &name)
    ));
    let vars = patch(client, &args.app, Value::Object(change)).await?;
    let width = keys.iter().map(|key| key.len() + 1).max().unwrap_or(0);
    for key in keys {
        output::line(&format!(
            "{:<width$} {}",
            format!("{key}:"),
            output::harmless(&json::text(&vars, &key))
        ));
    }
    Ok(())
}

/// Prints one value, nothing when it is not set.
pub(crate) async fn get(client: &Client, args: &Get) -> Result<(), Failure> {
    let vars = client.get(&args.app.path("/config-vars")?).await?;
    output::line(
        vars.get(&args.key)
            .and_then(Value::as_str)
            .unwrap_or_default(),
    );
    Ok(())
}

/// Removes config vars.
pub(crate) async fn unset(client: &Client, args: &Unset) -> Result<(), Failure> {
    let change = args
        .keys
        .iter()
        .map(|key| (key.clone(), Value::Null))
        .collect();
    let name = args.app.name()?;
    output::begin_aside(&format!(
        "Unsetting {} and restarting {}... ",
        args.keys.join(", "),
        output::ink_aside(Ink::App, &name)
    ));
    patch(client, &args.app, Value::Object(change)).await?;
    Ok(())
}

async fn patch(client: &Client, app: &Choice, change: Value) -> Result<Value, Failure> {
    let vars = client
        .ask(Method::PATCH, &app.path("/config-vars")?, Some(&change))
        .await
        .inspect_err(|_| output::aside("failed"))?;
    let newest = client
        .range(&app.path("/releases")?, "version ..; order=desc,max=1")
        .await?;
    let version = json::each(&newest)
        .next()
        .map(|release| json::text(release, "version"))
        .unwrap_or_default();
    output::aside(&format!(
        "done, {}",
        output::ink_aside(Ink::Good, &format!("v{version}"))
    ));
    Ok(vars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words() {
        for (value, word) in [
            ("abc", "abc"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quote(value), word);
        }
    }
}
