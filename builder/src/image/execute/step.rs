//! One step: a job that writes into the layer's folder.

use super::{Build, Files, StepError, ended, environment};
use crate::build::platform;
use crate::image::dockerfile::fault::Fault;
use crate::image::jobs::limits;
use crate::image::plan::{Action, Bind, Copy, From, Run, Step};
use crate::jail;
use crate::jail::image::user::User;
use crate::jail::image::{CopyOrder, Done, Request, Selection};
use crate::jobs::{self, Ended, bind, data, output_pipe};
use sandbox::{Mount, Network, Place, Secrets, Spec, Upper};
use std::collections::BTreeMap;
use std::fs::File;

/// Where a RUN finds the host's certificates.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Makes a layer in a new folder of the volume.
pub(super) async fn make(
    build: &Build,
    step: &Step,
    files: &Files,
    folder: &str,
) -> Result<(), StepError> {
    let lowers = build.lowers(files).await?;
    match &step.action {
        Action::Run(run) => self::run(build, step, run, lowers, folder).await,
        Action::Copy(copy) => self::copy(build, step, copy, lowers, folder).await,
        Action::Workdir { path, user } => {
            let request = Request::Workdir {
                path: path.clone(),
                user: user.clone(),
            };
            let dest = layer(build, lowers, folder);
            ask::<Done>(build, step, &request, vec![dest]).await?;
            Ok(())
        }
    }
}

/// The root of the stage, whose changes become the layer.
fn layer(build: &Build, lowers: Vec<Place>, folder: &str) -> Mount {
    Mount::Overlay {
        lowers,
        upper: build.jobs.in_volume(folder),
        to: jail::DEST.to_owned(),
    }
}

/// What a job says against a step is the fault of its line.
async fn ask<T: serde::de::DeserializeOwned>(
    build: &Build,
    step: &Step,
    request: &Request,
    mounts: Vec<Mount>,
) -> Result<T, StepError> {
    let answer = build.jobs.ask(request, mounts).await?;
    answer.map_err(|why| StepError::Fault(Fault::new(step.span, why)))
}

async fn copy(
    build: &Build,
    step: &Step,
    copy: &Copy,
    lowers: Vec<Place>,
    folder: &str,
) -> Result<(), StepError> {
    let mut mounts = match &copy.from {
        From::Context => build.jobs.context(),
        From::Stage(index) => {
            let source = build.lowers(&build.files(*index).await?).await?;
            vec![build.jobs.scrap(source, jail::SRC)]
        }
        From::Image(name) => {
            let source = build.lowers(&build.image_files(name)).await?;
            vec![build.jobs.scrap(source, jail::SRC)]
        }
    };
    mounts.push(layer(build, lowers, folder));
    let order = CopyOrder {
        selection: build.selection(copy),
        files: copy.files.clone(),
        dest: copy.dest.clone(),
        chown: copy.chown.clone(),
        chmod: copy.chmod.clone(),
        unpacks: copy.unpacks,
        epoch_s: None,
    };
    let request = Request::Copy(Box::new(order));
    match ask::<Done>(build, step, &request, mounts).await {
        Err(StepError::Fault(fault)) => Err(StepError::Fault(explained(build, copy, fault))),
        other => other.map(|_| ()),
    }
}

/// Says so when a file is only missing because `.dockerignore` hides it.
fn explained(build: &Build, copy: &Copy, fault: Fault) -> Fault {
    use crate::image::dockerfile::ignore::{Ignored, clean};
    if copy.from != From::Context {
        return fault;
    }
    let ignored = Ignored::parse(&build.ignored).unwrap_or_default();
    let hidden = copy.sources.iter().find(|source| {
        let path = clean(&format!("/{source}"));
        fault.message.contains(&format!("\"{source}\": not found")) && ignored.excludes(&path)
    });
    match hidden {
        Some(source) => Fault {
            message: format!("{}; it is excluded by .dockerignore", fault.message),
            ..fault
        }
        .at(source),
        None => fault,
    }
}

async fn run(
    build: &Build,
    step: &Step,
    run: &Run,
    lowers: Vec<Place>,
    folder: &str,
) -> Result<(), StepError> {
    let request = Request::User {
        user: run.user.clone(),
    };
    let seen = build.jobs.scrap(lowers.clone(), jail::DEST);
    let user: User = ask(build, step, &request, vec![seen]).await?;
    let mounts = mounts(build, step, run).await?;
    let site = &build.jobs.site;
    let mut files = BTreeMap::new();
    if let Some((name, text)) = &run.script {
        files.insert(name.clone(), text.clone().into_bytes());
    }
    let argv = match &run.script {
        // The folder of scripts is no place to run from: the interpreter is named instead.
        Some((name, text)) => interpreter(name, text),
        None => run.argv.clone(),
    };
    let spec = Spec {
        id: site.jobs.name("run"),
        kind: sandbox::Kind::Job,
        hostname: "build".to_owned(),
        lowers,
        upper: Upper::Volume {
            volume: build.jobs.volume().to_owned(),
            dir: folder.to_owned(),
        },
        mounts,
        argv,
        cwd: run.cwd.clone(),
        uid: user.uid,
        gid: user.gid,
        limits: limits(),
        network: if run.has_network {
            Network::Build
        } else {
            Network::None
        },
        terminal: None,
        watch_port: None,
        note: String::new(),
    };
    let secrets = Secrets {
        env: environment(run, &user.home, site),
        files,
    };
    let (output, out) = output_pipe().map_err(platform)?;
    let err = out.try_clone().map_err(platform)?;
    let null = File::open("/dev/null").map_err(platform)?;
    let started = site.jobs.start(spec, secrets, vec![null.into(), out, err]);
    let running = started.await.map_err(|error| refused(step, &error))?;
    let (last, how) = tokio::join!(build.voice.relay_indented(output), running.ended());
    last.map_err(platform)?;
    match how.map_err(platform)? {
        Ended::Exit(0) => Ok(()),
        how => Err(StepError::Fault(Fault::new(
            step.span,
            ended(&run.argv, how),
        ))),
    }
}

/// A program that cannot be started is the fault of the line; the rest is ours.
fn refused(step: &Step, error: &jobs::JobError) -> StepError {
    StepError::Fault(Fault::new(step.span, crate::chain(error)))
}

/// The words of a script's first line, then the script.
fn interpreter(name: &str, text: &str) -> Vec<String> {
    let first = text.lines().next().unwrap_or_default();
    let words = first.trim_start_matches("#!").split_whitespace();
    let mut argv: Vec<String> = words.map(str::to_owned).collect();
    argv.push(format!("{SCRIPTS}/{name}"));
    argv
}

/// Where scripts are seen; `/dev` is the sandbox's own.
const SCRIPTS: &str = "/run/paas-scripts";

async fn mounts(build: &Build, step: &Step, run: &Run) -> Result<Vec<Mount>, StepError> {
    let site = &build.jobs.site;
    let mut mounts = Vec::new();
    if site.repositories.has_certificates() {
        let bundle = data("git/certificates.pem".to_owned());
        mounts.push(bind(bundle, CERTIFICATES));
    }
    if run.script.is_some() {
        mounts.push(Mount::Files {
            to: SCRIPTS.to_owned(),
        });
    }
    for bound in &run.mounts.binds {
        mounts.push(self::bound(build, step, bound).await?);
    }
    for (id, target) in &run.mounts.caches {
        // In the build's own volume, which bounds it: a cache lasts as long as the build.
        let name = artifact::sha256(id.as_bytes()).hex();
        mounts.push(Mount::Overlay {
            lowers: vec![build.jobs.in_volume("empty")],
            upper: build.jobs.in_volume(&format!("cache-{name}")),
            to: target.clone(),
        });
    }
    for (target, max_bytes) in &run.mounts.memories {
        mounts.push(Mount::Tmpfs {
            to: target.clone(),
            max_bytes: *max_bytes,
        });
    }
    Ok(mounts)
}

/// What a bind shows: a copy of the selected files, so that `.dockerignore` holds for it and a
/// link in its path cannot lead out.
async fn bound(build: &Build, step: &Step, bound: &Bind) -> Result<Mount, StepError> {
    let is_context = bound.from == From::Context;
    let mut mounts = match &bound.from {
        From::Context => build.jobs.context(),
        From::Stage(index) => {
            let source = build.lowers(&build.files(*index).await?).await?;
            vec![build.jobs.scrap(source, jail::SRC)]
        }
        From::Image(name) => {
            let source = build.lowers(&build.image_files(name)).await?;
            vec![build.jobs.scrap(source, jail::SRC)]
        }
    };
    let folder = build.jobs.scrap_folder();
    let lowers = vec![build.jobs.in_volume("empty")];
    mounts.push(layer(build, lowers, &folder));
    let order = CopyOrder {
        selection: Selection {
            root: String::new(),
            sources: vec![bound.source.clone()],
            ignored: if is_context {
                build.ignored.clone()
            } else {
                String::new()
            },
            excludes: Vec::new(),
            keeps_parents: false,
            is_context,
        },
        files: Vec::new(),
        dest: "/bound".to_owned(),
        chown: None,
        chmod: None,
        unpacks: false,
        epoch_s: None,
    };
    ask::<Done>(build, step, &Request::Copy(Box::new(order)), mounts).await?;
    let from = build.jobs.in_volume(&format!("{folder}/bound"));
    Ok(bind(from, &bound.target))
}
