//! What each step is known by.

use super::Build;
use crate::build::{BuildError, platform};
use crate::image::plan::{Action, Base, Copy, From, Step};
use crate::jail::image::{Request, Selected, Selection};
use model::digest::Digest;
use std::collections::BTreeMap;

/// In front of every key's text; a new number makes all old layers miss.
const GENERATION: &str = "image-1";

impl Build {
    /// What all steps read of the context, in the order of stages and steps.
    pub(super) fn context_selections(&self) -> Vec<Selection> {
        let steps = self.plan.stages.values().flat_map(|stage| &stage.steps);
        steps.filter_map(|step| self.reads_context(step)).collect()
    }

    fn reads_context(&self, step: &Step) -> Option<Selection> {
        match &step.action {
            Action::Copy(copy) if copy.from == From::Context => Some(self.selection(copy)),
            Action::Run(run) => {
                let binds = run.mounts.binds.iter();
                let sources: Vec<String> = binds
                    .filter(|bind| bind.from == From::Context)
                    .map(|bind| bind.source.clone())
                    .collect();
                (!sources.is_empty()).then(|| Selection {
                    root: String::new(),
                    sources,
                    ignored: self.ignored.clone(),
                    excludes: Vec::new(),
                    keeps_parents: false,
                    is_context: true,
                })
            }
            _ => None,
        }
    }

    pub(super) fn selection(&self, copy: &Copy) -> Selection {
        let is_context = copy.from == From::Context;
        Selection {
            root: String::new(),
            sources: copy.sources.clone(),
            ignored: if is_context {
                self.ignored.clone()
            } else {
                String::new()
            },
            excludes: copy.excludes.clone(),
            keeps_parents: copy.keeps_parents,
            is_context,
        }
    }

    pub(super) async fn select(
        &self,
        selections: Vec<Selection>,
    ) -> Result<Vec<Selected>, BuildError> {
        if selections.is_empty() {
            return Ok(Vec::new());
        }
        let request = Request::Select { selections };
        let selected = self.jobs.ask(&request, self.jobs.context()).await?;
        selected.map_err(platform)
    }

    /// Keys of all stages, from what the context's selections hold.
    pub(super) fn all_keys(&self, selected: &[Selected]) -> BTreeMap<usize, Vec<String>> {
        let mut selected = selected.iter();
        let mut all: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (index, stage) in &self.plan.stages {
            let last = |index: usize| all.get(&index).and_then(|keys| keys.last().cloned());
            let base = match &stage.base {
                Base::Scratch => Some("scratch".to_owned()),
                Base::Stage(base) => last(*base),
                Base::Image(name) => Some(self.image_key(name)),
            };
            let mut keys = vec![base.unwrap_or_default()];
            for step in &stage.steps {
                let below = keys.last().cloned().unwrap_or_default();
                let mut text = format!("{GENERATION}\n{below}\n{}\n", action_text(&step.action));
                if self.reads_context(step).is_some()
                    && let Some(Selected::Files { digest }) = selected.next()
                {
                    text = format!("{text}context {digest}\n");
                }
                for from in froms(&step.action) {
                    let key = match from {
                        From::Stage(index) => last(*index).unwrap_or_default(),
                        From::Image(name) => self.image_key(name),
                        From::Context => continue,
                    };
                    text = format!("{text}from {key}\n");
                }
                if let Action::Run(run) = &step.action
                    && !run.mounts.caches.is_empty()
                {
                    text = format!("{text}app {}\n", self.jobs.app);
                }
                keys.push(artifact::sha256(text.as_bytes()).hex());
            }
            all.insert(*index, keys);
        }
        all
    }

    fn image_key(&self, name: &str) -> String {
        let image = self.plan.images.get(name);
        let ids = image.map(|image| image.config.rootfs.diff_ids.clone());
        let ids: Vec<String> = ids.unwrap_or_default().iter().map(Digest::hex).collect();
        ids.join(" ")
    }
}

/// Whose files an action reads, the context left out where it says so itself.
pub(super) fn froms(action: &Action) -> Vec<&From> {
    match action {
        Action::Copy(copy) => vec![&copy.from],
        Action::Run(run) => run.mounts.binds.iter().map(|bind| &bind.from).collect(),
        Action::Workdir { .. } => Vec::new(),
    }
}

fn action_text(action: &Action) -> String {
    serde_json::to_string(action).expect("an action is texts and numbers, all of it JSON")
}
