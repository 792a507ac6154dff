//! RUN, with its mounts.

use crate::image::dockerfile::fault::{Fault, suggestion};
use crate::image::dockerfile::flags::{Flags, Shape};
use crate::image::dockerfile::heredoc;
use crate::image::dockerfile::instruction::{Command, Run};
use crate::image::dockerfile::lines::Line;
use std::collections::BTreeMap;

const FLAGS: [(&str, Shape); 3] = [
    ("mount", Shape::Texts),
    ("network", Shape::Text),
    ("security", Shape::Text),
];

/// Keys of a mount and the types that have them; aliases first, then the name they stand for.
const KEYS: [(&str, &str); 19] = [
    ("type", "type"),
    ("target", "target"),
    ("dst", "target"),
    ("destination", "target"),
    ("source", "source"),
    ("src", "source"),
    ("from", "from"),
    ("rw", "rw"),
    ("readwrite", "rw"),
    ("ro", "ro"),
    ("readonly", "ro"),
    ("id", "id"),
    ("sharing", "sharing"),
    ("mode", "mode"),
    ("uid", "uid"),
    ("gid", "gid"),
    ("size", "size"),
    ("env", "env"),
    ("required", "required"),
];

/// Types of mounts, with the keys that each has beside `type` and `target`.
const TYPES: [(&str, &[&str]); 5] = [
    ("bind", &["source", "from", "rw", "ro"]),
    (
        "cache",
        &[
            "id", "sharing", "from", "source", "mode", "uid", "gid", "ro", "rw",
        ],
    ),
    ("tmpfs", &["size"]),
    ("secret", &["id", "env", "required", "mode", "uid", "gid"]),
    ("ssh", &["id", "required", "mode", "uid", "gid"]),
];

/// Parses one.
pub(super) fn parse(line: &Line, escape: char) -> Result<Run, Fault> {
    let (flags, rest) = Flags::take(&line.rest, escape, line.span, &FLAGS)?;
    let fault = |message: String| Fault::new(line.span, message);
    let network = flags.text("network");
    let has_network = match network.as_deref() {
        None | Some("default") => true,
        Some("none") => false,
        Some("host") => {
            let message = "entitlement network.host is not allowed".to_owned();
            return Err(fault(message).at("--network"));
        }
        Some(other) => {
            return Err(fault(format!("invalid network mode \"{other}\"")).at("--network"));
        }
    };
    match flags.text("security").as_deref() {
        None | Some("sandbox") => {}
        Some("insecure") => {
            let message = "entitlement security.insecure is not allowed".to_owned();
            return Err(fault(message).at("--security"));
        }
        Some(other) => {
            return Err(fault(format!("invalid security mode \"{other}\"")).at("--security"));
        }
    }
    let mounts = flags
        .texts("mount")
        .iter()
        .map(|text| mount(text).map_err(|message| fault(message).at(text)))
        .collect::<Result<Vec<_>, _>>()?;
    if rest.is_empty() {
        return Err(fault("RUN requires at least one argument".to_owned()));
    }
    let (command, script) = command(rest, line, escape)?;
    Ok(Run {
        command,
        script,
        mounts,
        has_network,
    })
}

/// The command, and the script of a lone heredoc that names its own interpreter.
fn command(
    rest: &str,
    line: &Line,
    escape: char,
) -> Result<(Command, Option<(String, String)>), Fault> {
    if line.heredocs.is_empty() {
        return Ok((super::command(rest, line.span)?, None));
    }
    if let [only] = line.heredocs.as_slice()
        && heredoc::opening(rest, escape).is_some()
    {
        if only.content.starts_with("#!") {
            let path = format!("/dev/pipes/{}", only.name);
            let script = (only.name.clone(), only.content.clone());
            return Ok((Command::Shell(path), Some(script)));
        }
        return Ok((Command::Shell(only.content.clone()), None));
    }
    let mut text = rest.to_owned();
    for heredoc in &line.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    Ok((Command::Shell(text), None))
}

/// The keys of a mount under their own names.
fn mount(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut keys = BTreeMap::new();
    for field in text.split(',').filter(|field| !field.is_empty()) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), value),
            None => (field.to_lowercase(), "true"),
        };
        let Some((_, name)) = KEYS.iter().find(|(known, _)| *known == key) else {
            let near = suggestion(&key, KEYS.iter().map(|(known, _)| *known));
            return Err(format!("unexpected key '{key}' in '{field}'{near}"));
        };
        keys.insert((*name).to_owned(), value.to_owned());
    }
    let kind = keys.entry("type".to_owned()).or_insert("bind".to_owned());
    let Some((kind, allowed)) = TYPES.iter().find(|(known, _)| known == kind) else {
        let near = suggestion(kind, TYPES.iter().map(|(known, _)| *known));
        return Err(format!("unsupported mount type \"{kind}\"{near}"));
    };
    let always = ["type", "target"];
    let stray = keys
        .keys()
        .find(|key| !always.contains(&key.as_str()) && !allowed.contains(&key.as_str()));
    if let Some(key) = stray {
        return Err(format!("{key} not allowed for \"{kind}\" type mounts"));
    }
    if keys.get("from").is_some_and(|from| from.contains('$')) {
        return Err("'from' doesn't support variable expansion, define alias stage instead".into());
    }
    let may_lack_target = ["secret", "ssh"].contains(kind);
    match keys.get("target").map(String::as_str) {
        None | Some("") if !may_lack_target => Err("invalid mount target \"\"".to_owned()),
        Some("/") => Err("invalid mount target \"/\"".to_owned()),
        _ => Ok(keys),
    }
}
