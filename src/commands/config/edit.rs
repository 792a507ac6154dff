//! `config:edit`: the config vars as lines in the person's own editor.
//!
//! `KEY=value`, or `KEY='value'` where the value has blanks, ends of lines or marks, as
//! `paas config --shell` prints it.

use super::{patch, quote};
use crate::account::environment;
use crate::app::Choice;
use crate::client::Client;
use crate::failure::Failure;
use crate::output;
use crate::output::Ink;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use time::OffsetDateTime;

#[derive(Debug, clap::Args)]
pub(crate) struct Edit {
    #[command(flatten)]
    pub(crate) app: Choice,
    /// Only this config var; its value alone is edited
    key: Option<String>,
}

/// Lets the person edit, then makes one release of all that changed.
pub(crate) async fn edit(client: &Client, args: &Edit) -> Result<(), Failure> {
    let vars = client.get(&args.app.path("/config-vars")?).await?;
    let before: BTreeMap<String, String> = vars
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let change = if let Some(key) = &args.key {
        let old = before.get(key).cloned().unwrap_or_default();
        let new = edited(&old)?;
        // Editors end the last line, which is not the value's.
        let new = new.strip_suffix('\n').unwrap_or(&new).to_owned();
        difference(&[(key.clone(), old)].into(), &[(key.clone(), new)].into())
    } else {
        let lines = before
            .iter()
            .map(|(key, value)| format!("{key}={}\n", quote(value)));
        difference(&before, &parse(&edited(&lines.collect::<String>())?)?)
    };
    if change.is_empty() {
        output::aside("No changes to config vars");
        return Ok(());
    }
    let keys: Vec<&str> = change.keys().map(String::as_str).collect();
    output::begin_aside(&format!(
        "Changing {} and restarting {}... ",
        keys.join(", "),
        output::ink_aside(Ink::App, &args.app.name()?)
    ));
    patch(client, &args.app, Value::Object(change)).await?;
    Ok(())
}

/// A PATCH of config vars: what is gone is null.
fn difference(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Map<String, Value> {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), Value::Null));
    let changed = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value));
    gone.chain(changed.map(|(key, value)| (key.clone(), Value::from(value.as_str()))))
        .collect()
}

/// What became of a text in the person's editor.
fn edited(text: &str) -> Result<String, Failure> {
    let folder = Folder::new()?;
    let file = folder.0.join("config.env");
    std::fs::write(&file, text)?;
    let editor = environment("VISUAL").or_else(|| environment("EDITOR"));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // As git does: the variable may hold arguments.
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("{editor} \"$@\""), &editor])
        .arg(&file)
        .status()?;
    if !status.success() {
        return Err(Failure::new(format!(
            "the editor {editor} ended with {status}, nothing was changed"
        ))
        .hint("choose another one: EDITOR=nano paas config:edit"));
    }
    Ok(std::fs::read_to_string(&file)?)
}

/// Readable for its owner alone, in memory where the system has such a place, and gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let places = environment("XDG_RUNTIME_DIR").map(PathBuf::from);
        let mut places = places
            .into_iter()
            .chain([PathBuf::from("/dev/shm"), std::env::temp_dir()]);
        let place = places.find(|place| place.is_dir()).unwrap_or_default();
        let folder = place.join(format!(
            "paas-config-{}-{}",
            std::process::id(),
            OffsetDateTime::now_utc().nanosecond()
        ));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            let at = self.0.display();
            drop(writeln!(
                std::io::stderr(),
                " !     {at} holds config vars and stays: {error}"
            ));
        }
    }
}

/// Lines of `KEY=value`; empty ones and comments are none.
fn parse(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut vars = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let number = text.lines().count() - rest.lines().count() + 1;
        let end = rest.find('\n').unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        if line.trim().is_empty() || line.starts_with('#') {
            rest = after.strip_prefix('\n').unwrap_or(after);
            continue;
        }
        let (key, _) = line
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| {
                Failure::usage(format!("line {number} has no `=`, nothing was changed"))
                    .hint("write KEY=value")
            })?;
        let (value, after) =
            value(rest.get(key.len() + 1..).unwrap_or_default()).ok_or_else(|| {
                Failure::usage(format!(
                    "line {number}: the quote of {key} has no end, nothing was changed"
                ))
            })?;
        vars.insert(key.to_owned(), value);
        rest = after;
    }
    Ok(vars)
}

/// A value and what comes after its line.
fn value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let at = rest.find(['\'', '\\', '\n']).unwrap_or(rest.len());
        let (plain, after) = rest.split_at(at);
        value.push_str(plain);
        let mut signs = after.chars();
        match signs.next() {
            None => return Some((value, "")),
            Some('\n') => return Some((value, signs.as_str())),
            Some('\'') => {
                let (quoted, after) = signs.as_str().split_once('\'')?;
                value.push_str(quoted);
                rest = after;
            }
            Some(_) => {
                value.extend(signs.next());
                rest = signs.as_str();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let all = vars(&[
            ("A", "plain"),
            ("B", "two words"),
            ("C", "it's\nhere"),
            ("D", ""),
            ("E", r"back\slash"),
        ]);
        let text = all
            .iter()
            .map(|(key, value)| format!("{key}={}\n", quote(value)));
        let text = format!("# a note\n\n{}", text.collect::<String>());
        assert_eq!(parse(&text).unwrap(), all);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, said) in [
            ("A=1\nB\n", "line 2"),
            ("A='x\nB=2\n", "line 1"),
            ("=x", "line 1"),
        ] {
            let failure = parse(text).unwrap_err();
            assert!(
                failure.message.contains(said),
                "{text}: {}",
                failure.message
            );
        }
    }

    #[test]
    fn only_what_changed_is_sent() {
        let before = vars(&[("A", "1"), ("B", "2"), ("C", "3")]);
        let after = vars(&[("A", "1"), ("B", "two"), ("D", "4")]);
        let change = Value::Object(difference(&before, &after));
        assert_eq!(
            change,
            serde_json::json!({ "B": "two", "C": null, "D": "4" })
        );
    }

    #[test]
    fn nobody_else_reads_the_folder() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new().unwrap();
        let path = folder.0.clone();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        drop(folder);
        assert!(!path.exists());
    }
}
