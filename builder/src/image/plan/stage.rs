//! One stage: its instructions in order, each seeing what those before it set. Pure.

use super::graph::{Base, label, source};
use super::health::health;
use super::path::{absolute, is_remote};
use super::scope::{text, word};
use super::{Action, Copy, DEFAULT_PATH, From, Given, Graph, Mounts, Run, Stage, Step, expose};
use crate::image::dockerfile::expand;
use crate::image::dockerfile::fault::Fault;
use crate::image::dockerfile::instruction::{self, Command, Dockerfile, Instruction, Kind};
use artifact::image::Settings;
use serde_json::Map;
use std::collections::BTreeMap;

/// What a stage inherits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parent {
    /// The config.
    pub settings: Settings,
    /// Of MAINTAINER.
    pub author: Option<String>,
    /// ARGs of the stage below.
    pub arguments: BTreeMap<String, String>,
}

/// Goes through a stage. `triggers` are those of its base, run first.
pub(crate) fn stage(
    file: &Dockerfile,
    index: usize,
    (graph, given): (&Graph, &Given),
    parent: Parent,
    (triggers, warnings): (&[Instruction], &mut Vec<String>),
) -> Result<Stage, Fault> {
    let read = file.stages.get(index);
    let read = read.ok_or_else(|| Fault::new((0, 0), "there is no such stage"))?;
    let mut settings = parent.settings;
    settings.on_build.clear();
    if settings.working_dir.is_empty() {
        "/".clone_into(&mut settings.working_dir);
    }
    let mut scope: BTreeMap<String, String> = parent.arguments.clone();
    for variable in &settings.env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        scope.insert(name.to_owned(), value.to_owned());
    }
    let mut planner = Planner {
        file,
        index,
        graph,
        given,
        warnings,
        scope,
        has_command: false,
        stage: Stage {
            label: if file.stages.len() > 1 {
                label(file, index)
            } else {
                String::new()
            },
            base: graph.bases.get(index).cloned().unwrap_or(Base::Scratch),
            steps: Vec::new(),
            settings,
            author: parent.author,
            history: Vec::new(),
            arguments: parent.arguments,
        },
    };
    if !planner.scope.contains_key("PATH") {
        planner.set_env("PATH", DEFAULT_PATH);
    }
    for instruction in triggers.iter().chain(&read.instructions) {
        planner.instruction(instruction)?;
    }
    Ok(planner.stage)
}

struct Planner<'a> {
    file: &'a Dockerfile,
    index: usize,
    graph: &'a Graph,
    given: &'a Given,
    warnings: &'a mut Vec<String>,
    /// ENV and ARG together: the later line wins.
    scope: BTreeMap<String, String>,
    /// Whether CMD stood in this stage.
    has_command: bool,
    stage: Stage,
}

impl Planner<'_> {
    fn instruction(&mut self, read: &Instruction) -> Result<(), Fault> {
        let fault = |message: String| Fault::new(read.span, message);
        match &read.kind {
            Kind::Arg(arguments) => self.arguments(arguments, read)?,
            Kind::Env(pairs) => {
                let pairs = self.pairs(pairs, read)?;
                for (name, value) in &pairs {
                    self.set_env(name, value);
                }
                self.note(format!("ENV {}", told(&pairs)), false);
            }
            Kind::Label(pairs) => {
                let pairs = self.pairs(pairs, read)?;
                self.note(format!("LABEL {}", told(&pairs)), false);
                self.stage.settings.labels.extend(pairs);
            }
            Kind::Run(run) => self.run(run, read)?,
            Kind::Copy(copy) => self.copy(copy, read)?,
            Kind::Workdir(path) => self.workdir(path, read)?,
            Kind::User(user) => {
                let user = self.word(user, read)?;
                self.note(format!("USER {user}"), false);
                self.stage.settings.user = user;
            }
            Kind::Cmd(command) => {
                let words = self.command(command);
                self.note(format!("CMD {words:?}"), false);
                self.stage.settings.cmd = Some(words);
                self.has_command = true;
            }
            Kind::Entrypoint(command) => {
                let words = self.command(command);
                self.note(format!("ENTRYPOINT {words:?}"), false);
                self.stage.settings.entrypoint = Some(words).filter(|words| !words.is_empty());
                if !self.has_command {
                    self.stage.settings.cmd = None;
                }
            }
            Kind::Shell(words) => {
                self.note(format!("SHELL [{}]", words.join(" ")), false);
                self.stage.settings.shell = Some(words.clone());
            }
            Kind::Expose(words) => self.expose(words, read)?,
            Kind::Volume(paths) => {
                let paths = self.words(paths, read)?;
                self.note(format!("VOLUME [{}]", paths.join(" ")), false);
                let entries = paths.into_iter().map(|path| (path, Map::new()));
                self.stage.settings.volumes.extend(entries);
            }
            Kind::StopSignal(text) => {
                let text = self.word(text, read)?;
                super::super::signal::number(&text)
                    .ok_or_else(|| fault(format!("Invalid signal: {text}")).at(&text))?;
                self.note(format!("STOPSIGNAL {text}"), false);
                self.stage.settings.stop_signal = text;
            }
            Kind::Maintainer(name) => {
                self.note(format!("MAINTAINER {name}"), false);
                self.stage.author = Some(name.clone());
            }
            Kind::HealthCheck(check) => {
                self.note(format!("HEALTHCHECK {:?}", check.test), false);
                self.stage.settings.healthcheck = Some(health(check));
                let line = read.span.0;
                self.warnings.push(format!(
                    "line {line}: HEALTHCHECK is kept in the image; dynos do not run it yet"
                ));
            }
            Kind::OnBuild(text) => self.stage.settings.on_build.push(text.clone()),
        }
        Ok(())
    }

    fn note(&mut self, text: String, makes_layer: bool) {
        self.stage.history.push((text, makes_layer));
    }

    fn word(&self, text: &str, read: &Instruction) -> Result<String, Fault> {
        word(text, &self.scope, self.file.escape)
            .map_err(|message| Fault::new(read.span, message).at(text))
    }

    fn words(&self, words: &[String], read: &Instruction) -> Result<Vec<String>, Fault> {
        words.iter().map(|text| self.word(text, read)).collect()
    }

    fn optional(&self, text: Option<&String>, read: &Instruction) -> Result<Option<String>, Fault> {
        text.map(|text| self.word(text, read)).transpose()
    }

    fn pairs(
        &mut self,
        pairs: &[(String, String)],
        read: &Instruction,
    ) -> Result<Vec<(String, String)>, Fault> {
        for (_, value) in pairs {
            let lookup = |name: &str| self.scope.get(name).cloned();
            for name in expand::undefined(value, &lookup, self.file.escape) {
                let line = read.span.0;
                self.warnings.push(format!(
                    "line {line}: Usage of undefined variable '${name}'"
                ));
            }
        }
        let both = |(name, value): &(String, String)| {
            Ok((self.word(name, read)?, self.word(value, read)?))
        };
        pairs.iter().map(both).collect()
    }

    fn set_env(&mut self, name: &str, value: &str) {
        let line = format!("{name}={value}");
        let prefix = format!("{name}=");
        let env = &mut self.stage.settings.env;
        match env.iter_mut().find(|known| known.starts_with(&prefix)) {
            Some(known) => *known = line,
            None => env.push(line),
        }
        self.scope.insert(name.to_owned(), value.to_owned());
    }

    fn arguments(
        &mut self,
        arguments: &[(String, Option<String>)],
        read: &Instruction,
    ) -> Result<(), Fault> {
        let mut shown = Vec::new();
        for (name, default) in arguments {
            let value = match (self.given.arguments.get(name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(text)) => Some(self.word(text, read)?),
                (None, None) => self.graph.scope.get(name).cloned(),
            };
            shown.push(match &value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            if let Some(value) = value {
                self.scope.insert(name.clone(), value.clone());
                self.stage.arguments.insert(name.clone(), value);
            }
        }
        self.note(format!("ARG {}", shown.join(" ")), false);
        Ok(())
    }

    fn shell(&self) -> Vec<String> {
        let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
        self.stage.settings.shell.clone().unwrap_or_else(default)
    }

    fn command(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(text) => {
                let mut words = self.shell();
                words.push(text.clone());
                words
            }
        }
    }

    fn run(&mut self, run: &instruction::Run, read: &Instruction) -> Result<(), Fault> {
        let argv = match &run.script {
            Some((name, _)) => vec![format!("/dev/pipes/{name}")],
            None => self.command(&run.command),
        };
        if argv.is_empty() {
            return Err(Fault::new(read.span, "RUN requires at least one argument"));
        }
        let cwd = self.stage.settings.working_dir.clone();
        let mut mounts = Mounts::default();
        for keys in &run.mounts {
            let mut expanded = BTreeMap::new();
            for (key, value) in keys {
                expanded.insert(key.clone(), self.word(value, read)?);
            }
            let find = |name: &str| source(self.file, self.index, name, false);
            let fault = |message: String| Fault::new(read.span, message).at("--mount");
            mounts.add(&expanded, &cwd, find).map_err(fault)?;
        }
        let declared: Vec<String> = self
            .stage
            .arguments
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let counted = match declared.len() {
            0 => String::new(),
            count => format!("|{count} {} ", declared.join(" ")),
        };
        self.note(format!("RUN {counted}{}", argv.join(" ")), true);
        let action = Action::Run(Box::new(Run {
            argv,
            env: self.scope.clone(),
            cwd,
            user: self.stage.settings.user.clone(),
            script: run.script.clone(),
            mounts,
            has_network: run.has_network,
        }));
        self.step(read, action);
        Ok(())
    }

    fn copy(&mut self, copy: &instruction::Copy, read: &Instruction) -> Result<(), Fault> {
        let fault = |message: &str| Fault::new(read.span, message);
        let sources = self.words(&copy.sources, read)?;
        if copy.is_add
            && let Some(remote) = sources.iter().find(|source| is_remote(source))
        {
            return Err(fault("ADD of a URL or of git is not supported yet").at(remote));
        }
        if copy.checksum.is_some() {
            return Err(fault("checksum requires HTTP(S) or Git sources").at("--checksum"));
        }
        let from = match &copy.from {
            None => From::Context,
            Some(name) if name == "scratch" => {
                return Err(fault("there are no files in scratch").at(name));
            }
            Some(name) => source(self.file, self.index, name, true)
                .map_err(|message| fault(&message).at(name))?,
        };
        let mut files = Vec::new();
        for heredoc in &copy.heredocs {
            let content = if heredoc.expands {
                text(&heredoc.content, &self.scope, self.file.escape)
                    .map_err(|message| fault(&message))?
            } else {
                heredoc.content.clone()
            };
            files.push((heredoc.name.clone(), content));
        }
        let dest = self.word(&copy.dest, read)?;
        let is_folder =
            dest.is_empty() || dest.ends_with('/') || dest.ends_with("/.") || dest == ".";
        let mut place = absolute(&self.stage.settings.working_dir, &dest);
        if is_folder && place != "/" {
            place.push('/');
        }
        self.note(read.source.clone(), true);
        let action = Action::Copy(Box::new(Copy {
            from,
            sources,
            files,
            dest: place,
            chown: self.optional(copy.chown.as_ref(), read)?,
            chmod: self.optional(copy.chmod.as_ref(), read)?,
            excludes: copy.excludes.clone(),
            keeps_parents: copy.keeps_parents,
            unpacks: copy.is_add && copy.unpack != Some(false),
        }));
        self.step(read, action);
        Ok(())
    }

    fn workdir(&mut self, path: &str, read: &Instruction) -> Result<(), Fault> {
        let path = self.word(path, read)?;
        let path = absolute(&self.stage.settings.working_dir, &path);
        self.stage.settings.working_dir.clone_from(&path);
        let makes_layer = path != "/";
        self.note(format!("WORKDIR {path}"), makes_layer);
        if makes_layer {
            let user = self.stage.settings.user.clone();
            self.step(read, Action::Workdir { path, user });
        }
        Ok(())
    }

    fn expose(&mut self, words: &[String], read: &Instruction) -> Result<(), Fault> {
        let mut all = Vec::new();
        for text in words {
            for port in self.word(text, read)?.split_whitespace() {
                let ports = expose::ports(port);
                all.extend(ports.map_err(|message| Fault::new(read.span, message).at(text))?);
            }
        }
        self.note(format!("EXPOSE [{}]", all.join(" ")), false);
        let entries = all.into_iter().map(|port| (port, Map::new()));
        self.stage.settings.exposed_ports.extend(entries);
        Ok(())
    }

    fn step(&mut self, read: &Instruction, action: Action) {
        self.stage.steps.push(Step {
            span: read.span,
            source: read.source.clone(),
            action,
        });
    }
}

fn told(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(" ")
}
