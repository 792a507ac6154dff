//! A Dockerfile -> a sealed image. What it will do is planned purely (`dockerfile`, `plan`), then
//! done in jobs (`execute`), from the cache where it can be.

pub(crate) mod dockerfile;
pub(crate) mod plan;
pub(crate) mod signal;

mod bases;
mod cache;
mod execute;
pub(crate) mod import;
mod jobs;
mod publish;
mod seal;
mod show;

use crate::build::workshop::Workshop;
use crate::build::{BuildError, Built};
use crate::jail::checkout::{self, Report};
use crate::output::Voice;
use bases::Bases;
use dockerfile::fault::Fault;
use model::procfile::Procfile;
use plan::{Base, Given, Graph, Parent, Stage};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;

/// A Dockerfile with its name, for messages.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    name: &'a str,
    text: &'a str,
}

impl Source<'_> {
    /// A fault as the pusher reads it.
    fn fault(&self, fault: &Fault) -> BuildError {
        BuildError::Image {
            what: format!("its {} cannot be used", self.name),
            cause: fault.told(self.name, self.text),
        }
    }
}

/// What is to be built.
#[derive(Debug)]
struct Plan {
    graph: Graph,
    /// By number; only those that are needed.
    stages: BTreeMap<usize, Stage>,
    /// Images that stages stand on or copy from, by name.
    images: BTreeMap<String, artifact::image::Loaded>,
    warnings: Vec<String>,
}

/// Builds.
pub(crate) async fn build(
    workshop: &Workshop,
    tree: &Report,
    voice: &Voice,
) -> Result<Built, BuildError> {
    let checkout::Image {
        dockerfile: name,
        text,
        ignored,
        procfile,
    } = tree.image.as_ref().ok_or_else(no_dockerfile)?;
    let source = Source { name, text };
    voice
        .say(format!("-----> Building an image from {name}"))
        .await;
    let declared = match procfile {
        Some(bytes) => model::procfile::parse(bytes)?,
        None => Procfile::default(),
    };
    let planned = plan(workshop, source, voice).await?;
    for warning in &declared.warnings {
        voice.say(format!("       {warning}")).await;
    }
    for warning in &planned.warnings {
        voice.say(format!("       {name}: {warning}")).await;
    }
    let plan = std::sync::Arc::new(planned);
    let work = execute::Build::new(workshop, std::sync::Arc::clone(&plan), ignored, voice).await?;
    let files = work.files(plan.graph.target).await;
    let files = files.map_err(|error| error.told(source))?;
    voice.end_step().await;

    let started = Instant::now();
    voice.say("-----> Sealing layers").await;
    let built = publish::publish(&work, &files, declared.types, voice).await?;
    let pack_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Built { pack_ms, ..built })
}

fn no_dockerfile() -> BuildError {
    BuildError::Image {
        what: "it has no Dockerfile".to_owned(),
        cause: vec![
            "The stack of this app is container: a push needs a file Dockerfile in its root."
                .to_owned(),
            "To build it with buildpacks: paas stack:set debian-13".to_owned(),
        ],
    }
}

async fn plan(workshop: &Workshop, source: Source<'_>, voice: &Voice) -> Result<Plan, BuildError> {
    let fault = |fault: Fault| source.fault(&fault);
    let file = dockerfile::parse(source.text.as_bytes()).map_err(fault)?;
    let given = Given::default();
    let graph = Graph::new(&file, &given).map_err(fault)?;
    let bases = Bases::new(workshop, voice);
    let mut images = BTreeMap::new();
    let mut triggers = BTreeMap::new();
    // What a base brings may need further stages, so look again until nothing is new.
    let needed = loop {
        let needed = graph.needed(&file, &triggers).map_err(fault)?;
        let mut is_new = false;
        for index in &needed {
            let Some(Base::Image(name)) = graph.bases.get(*index) else {
                continue;
            };
            let span = file.stages.get(*index).map_or((0, 0), |stage| stage.span);
            if !images.contains_key(name) {
                let found = bases.find(name).await;
                let found = found.map_err(|error| error.told(source, span, name))?;
                images.insert(name.clone(), found);
            }
            if !triggers.contains_key(index) {
                let texts = images
                    .get(name)
                    .map(|image| image.config.config.on_build.clone());
                let parsed: Result<Vec<_>, Fault> = texts
                    .unwrap_or_default()
                    .iter()
                    .map(|text| dockerfile::trigger(text, file.escape, span))
                    .collect();
                triggers.insert(*index, parsed.map_err(fault)?);
                is_new = true;
            }
        }
        if !is_new {
            break needed;
        }
    };
    let mut stages: BTreeMap<usize, Stage> = BTreeMap::new();
    let mut warnings = file.warnings.clone();
    for index in needed {
        let base = graph.bases.get(index).unwrap_or(&Base::Scratch);
        let (parent, own) = parent(base, &images, &stages);
        let own: Result<Vec<_>, Fault> = own
            .iter()
            .map(|text| dockerfile::trigger(text, file.escape, (0, 0)))
            .collect();
        let brought = match base {
            Base::Stage(_) => own.map_err(fault)?,
            _ => triggers.remove(&index).unwrap_or_default(),
        };
        let context = (&graph, &given);
        let done = plan::stage(&file, index, context, parent, (&brought, &mut warnings));
        stages.insert(index, done.map_err(fault)?);
    }
    let copied = stages.values().flat_map(|stage| &stage.steps);
    for (span, name) in copied.flat_map(named_images) {
        if let Entry::Vacant(place) = images.entry(name) {
            let found = bases.find(place.key()).await;
            let found = found.map_err(|error| error.told(source, span, place.key()))?;
            place.insert(found);
        }
    }
    Ok(Plan {
        graph,
        stages,
        images,
        warnings,
    })
}

/// What a stage inherits, and the ONBUILD of a stage below.
fn parent(
    base: &Base,
    images: &BTreeMap<String, artifact::image::Loaded>,
    stages: &BTreeMap<usize, Stage>,
) -> (Parent, Vec<String>) {
    match base {
        Base::Scratch => (Parent::default(), Vec::new()),
        Base::Image(name) => {
            let config = images.get(name).map(|image| image.config.clone());
            let parent = config.map(|config| Parent {
                settings: config.config,
                author: config.author,
                arguments: BTreeMap::new(),
            });
            (parent.unwrap_or_default(), Vec::new())
        }
        Base::Stage(index) => {
            let Some(stage) = stages.get(index) else {
                return (Parent::default(), Vec::new());
            };
            let parent = Parent {
                settings: stage.settings.clone(),
                author: stage.author.clone(),
                arguments: stage.arguments.clone(),
            };
            (parent, stage.settings.on_build.clone())
        }
    }
}

/// Images that a step reads files of.
fn named_images(step: &plan::Step) -> Vec<((usize, usize), String)> {
    let froms: Vec<&plan::From> = match &step.action {
        plan::Action::Copy(copy) => vec![&copy.from],
        plan::Action::Run(run) => run.mounts.binds.iter().map(|bind| &bind.from).collect(),
        plan::Action::Workdir { .. } => Vec::new(),
    };
    let named = froms.into_iter().filter_map(|from| match from {
        plan::From::Image(name) => Some((step.span, name.clone())),
        _ => None,
    });
    named.collect()
}
