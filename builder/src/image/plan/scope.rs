//! Which variables a line sees, and their values. Pure.

use super::Given;
use crate::image::dockerfile::expand::{self, Quotes};
use crate::image::dockerfile::fault::Fault;
use crate::image::dockerfile::instruction::{Dockerfile, Kind};
use std::collections::BTreeMap;

/// The variables in front of the first FROM: for FROM lines, and for ARGs without a value.
pub(crate) fn global(file: &Dockerfile, given: &Given) -> Result<BTreeMap<String, String>, Fault> {
    let mut scope = platform(file, given);
    for instruction in &file.arguments {
        let Kind::Arg(arguments) = &instruction.kind else {
            continue;
        };
        for (name, default) in arguments {
            let value = match (given.arguments.get(name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(text)) => Some(
                    word(text, &scope, file.escape)
                        .map_err(|message| Fault::new(instruction.span, message).at(text))?,
                ),
                (None, None) => None,
            };
            if let Some(value) = value {
                scope.insert(name.clone(), value);
            }
        }
    }
    Ok(scope)
}

/// The variables that are always there.
fn platform(file: &Dockerfile, given: &Given) -> BTreeMap<String, String> {
    let arch = artifact::image::config::architecture();
    let last = file.stages.last().and_then(|stage| stage.name.clone());
    let stage = given.target.clone().or(last);
    let mut scope = BTreeMap::new();
    for side in ["BUILD", "TARGET"] {
        for (name, value) in [
            ("PLATFORM", format!("linux/{arch}")),
            ("OS", "linux".to_owned()),
            ("ARCH", arch.to_owned()),
            ("VARIANT", String::new()),
            ("OSVERSION", String::new()),
        ] {
            scope.insert(format!("{side}{name}"), value);
        }
    }
    scope.insert(
        "TARGETSTAGE".to_owned(),
        stage.unwrap_or("default".to_owned()),
    );
    for (name, value) in &mut scope {
        if let Some(given) = given.arguments.get(name) {
            value.clone_from(given);
        }
    }
    scope
}

/// Expands a word with these variables.
pub(crate) fn word(
    text: &str,
    scope: &BTreeMap<String, String>,
    escape: char,
) -> Result<String, String> {
    let lookup = |name: &str| scope.get(name).cloned();
    expand::word(text, &lookup, escape, Quotes::Removed)
}

/// Expands the text of a heredoc.
pub(crate) fn text(
    text: &str,
    scope: &BTreeMap<String, String>,
    escape: char,
) -> Result<String, String> {
    let lookup = |name: &str| scope.get(name).cloned();
    expand::word(text, &lookup, escape, Quotes::Text)
}
