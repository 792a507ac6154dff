//! Which stage stands on which, which one is wanted, and which are needed for it. Pure.

use super::scope::{global, word};
use super::{From, Given};
use crate::image::dockerfile::fault::{Fault, suggestion};
use crate::image::dockerfile::instruction::{Dockerfile, Instruction, Kind, Stage};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// What a stage stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// Nothing.
    Scratch,
    /// A stage before it.
    Stage(usize),
    /// An image, by its name.
    Image(String),
}

/// The stages of a file.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    /// Of each stage.
    pub bases: Vec<Base>,
    /// The one that is wanted.
    pub target: usize,
    /// Variables in front of the first FROM.
    pub scope: BTreeMap<String, String>,
}

impl Graph {
    /// Reads the FROM lines.
    pub(crate) fn new(file: &Dockerfile, given: &Given) -> Result<Self, Fault> {
        let scope = global(file, given)?;
        let mut bases = Vec::new();
        for (index, stage) in file.stages.iter().enumerate() {
            bases.push(base(file, index, stage, &scope)?);
        }
        Ok(Self {
            bases,
            target: target(file, given)?,
            scope,
        })
    }

    /// The stages that the target reaches, in order. `extra`: instructions that a stage's base
    /// brings, by stage.
    pub(crate) fn needed(
        &self,
        file: &Dockerfile,
        extra: &BTreeMap<usize, Vec<Instruction>>,
    ) -> Result<BTreeSet<usize>, Fault> {
        let mut needed = BTreeSet::new();
        let mut open = vec![self.target];
        while let Some(index) = open.pop() {
            if !needed.insert(index) {
                continue;
            }
            if let Some(Base::Stage(base)) = self.bases.get(index) {
                open.push(*base);
            }
            let Some(stage) = file.stages.get(index) else {
                continue;
            };
            let brought = extra.get(&index).into_iter().flatten();
            for instruction in brought.chain(&stage.instructions) {
                open.extend(sources(file, index, instruction)?);
            }
        }
        Ok(needed)
    }
}

/// The stages that an instruction reads.
fn sources(
    file: &Dockerfile,
    index: usize,
    instruction: &Instruction,
) -> Result<Vec<usize>, Fault> {
    let names: Vec<(&str, bool)> = match &instruction.kind {
        Kind::Copy(copy) => copy
            .from
            .as_deref()
            .map(|from| (from, true))
            .into_iter()
            .collect(),
        Kind::Run(run) => run
            .mounts
            .iter()
            .filter_map(|mount| mount.get("from"))
            .map(|from| (from.as_str(), false))
            .collect(),
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for (name, may_be_number) in names {
        if let From::Stage(stage) = source(file, index, name, may_be_number)
            .map_err(|message| Fault::new(instruction.span, message).at(name))?
        {
            found.push(stage);
        }
    }
    Ok(found)
}

/// What `--from=NAME` means in a stage.
pub(crate) fn source(
    file: &Dockerfile,
    index: usize,
    name: &str,
    may_be_number: bool,
) -> Result<From, String> {
    let lower = name.to_lowercase();
    if may_be_number && let Ok(number) = name.parse::<usize>() {
        return match number.cmp(&index) {
            Ordering::Less => Ok(From::Stage(number)),
            Ordering::Equal => Err(format!("circular dependency detected on stage: {name}")),
            Ordering::Greater => Err(format!("invalid stage index {name}")),
        };
    }
    let is_it = |stage: &Stage| stage.name.as_deref() == Some(lower.as_str());
    if let Some(found) = file.stages.iter().take(index).rposition(is_it) {
        return Ok(From::Stage(found));
    }
    match file.stages.iter().position(is_it) {
        Some(found) if found == index => {
            Err(format!("circular dependency detected on stage: {name}"))
        }
        Some(_) => Err(format!(
            "cannot copy from stage \"{name}\", it needs to be defined before current stage \"{}\"",
            label(file, index)
        )),
        None => Ok(From::Image(name.to_owned())),
    }
}

/// How a stage is called in messages.
pub(crate) fn label(file: &Dockerfile, index: usize) -> String {
    let name = file.stages.get(index).and_then(|stage| stage.name.clone());
    name.unwrap_or_else(|| format!("stage-{index}"))
}

fn base(
    file: &Dockerfile,
    index: usize,
    stage: &Stage,
    scope: &BTreeMap<String, String>,
) -> Result<Base, Fault> {
    let fault = |message: String| Fault::new(stage.span, message).at(&stage.image);
    let name = word(&stage.image, scope, file.escape).map_err(fault)?;
    if name.is_empty() {
        return Err(fault(format!(
            "base name ({}) should not be blank",
            stage.image
        )));
    }
    if let Some(platform) = &stage.platform {
        let platform = word(platform, scope, file.escape).map_err(fault)?;
        let ours = format!("linux/{}", artifact::image::config::architecture());
        let is_ours = platform.is_empty() || platform == ours || platform == "linux";
        if !is_ours && name != "scratch" {
            let message = format!("platform {platform} cannot be built here, only {ours}");
            return Err(Fault::new(stage.span, message).at("--platform"));
        }
    }
    if name == "scratch" {
        return Ok(Base::Scratch);
    }
    let lower = name.to_lowercase();
    let is_it = |stage: &Stage| stage.name.as_deref() == Some(lower.as_str());
    let before = file.stages.iter().take(index).rposition(is_it);
    Ok(before.map_or(Base::Image(name), Base::Stage))
}

fn target(file: &Dockerfile, given: &Given) -> Result<usize, Fault> {
    let last = file.stages.len().saturating_sub(1);
    let Some(target) = &given.target else {
        return Ok(last);
    };
    let lower = target.to_lowercase();
    let is_it = |stage: &Stage| stage.name.as_deref() == Some(lower.as_str());
    if let Some(found) = file.stages.iter().rposition(is_it) {
        return Ok(found);
    }
    if let Some(number) = target.parse().ok().filter(|number| *number <= last) {
        return Ok(number);
    }
    let names = file.stages.iter().filter_map(|stage| stage.name.as_deref());
    let near = suggestion(target, names);
    let message = format!("target stage \"{target}\" could not be found{near}");
    Err(Fault::new((0, 0), message))
}
