//! Buildpacks in order: `bin/detect`, layers, `bin/compile`, each with the exports of those before.

use super::workshop::Workshop;
use super::{BuildError, fetch, layers, platform, run};
use crate::jail::{self, buildpacks::Said, checkout::Report};
use crate::jobs::Ended;
use crate::output::{Voice, phrases, text};
use crate::plan::{Buildpack, Plan};
use model::slug::Layer;
use sandbox::Network;

/// Sources what the buildpacks before left in `export`, then runs the script (docs/heroku.md,
/// "Buildpacks").
const COMPILE: &str = r#"
number=$1
shift
for (( i = 0; i < number; i++ )); do
    if [ -f "/tmp/buildpacks/$i/export" ]; then . "/tmp/buildpacks/$i/export"; fi
done
exec bin/compile "$@"
"#;

/// An app after its buildpacks.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// What the last buildpack calls it.
    pub app: String,
    /// The number of the last buildpack.
    pub last: usize,
    /// Runtime layers of the slug.
    pub layers: Vec<Layer>,
}

/// Runs the plan.
pub(crate) async fn compile(
    workshop: &mut Workshop,
    plan: Plan,
    tree: &Report,
    voice: &Voice,
) -> Result<Compiled, BuildError> {
    let (all, chosen) = match plan {
        Plan::Detect(all) => {
            let (index, app) = first_match(workshop, &all, tree).await?;
            (all, Some((index, app)))
        }
        Plan::Listed(all) => {
            if all.len() > 1 {
                let references: Vec<&str> = all.iter().map(|b| b.reference.as_str()).collect();
                voice.say_all(phrases::using(&references)).await;
            }
            (all, None)
        }
    };
    let mut compiled = Compiled {
        app: String::new(),
        last: 0,
        layers: Vec::new(),
    };
    if let Some((index, app)) = chosen {
        // Each that was asked has its folder already.
        compiled.app = app;
        compiled.last = index;
        if let Some(buildpack) = all.get(index) {
            one(workshop, (index, buildpack), &mut compiled, voice).await?;
        }
        return Ok(compiled);
    }
    for buildpack in &all {
        let number = workshop.add(buildpack);
        fetch::fetch(workshop, number, buildpack).await?;
        let said = detect(workshop, &[number]).await?.pop();
        compiled.app = match said {
            Some(said) if said.exit_code == 0 => name(&said),
            said => {
                voice
                    .say(phrases::not_compatible(&buildpack.reference))
                    .await;
                return Err(refused(buildpack, said));
            }
        };
        compiled.last = number;
        one(workshop, (number, buildpack), &mut compiled, voice).await?;
    }
    Ok(compiled)
}

async fn one(
    workshop: &mut Workshop,
    (number, buildpack): (usize, &Buildpack),
    compiled: &mut Compiled,
    voice: &Voice,
) -> Result<(), BuildError> {
    voice.say(phrases::detected(&compiled.app)).await;
    let layers = layers::mount(workshop, number, buildpack, voice).await?;
    compiled.layers.extend(layers);
    let before = number.to_string();
    let mut argv = vec!["bash", "-c", COMPILE, "compile", &before];
    argv.extend(Workshop::COMPILE_ARGUMENTS);
    let spec = workshop.step(number, &argv, Network::Build);
    let (ended, last) = run(workshop, spec, workshop.secrets(), voice).await?;
    if ended == Ended::Exit(0) {
        return Ok(());
    }
    Err(BuildError::Compile {
        app: compiled.app.clone(),
        cause: super::cause("bin/compile", ended, last),
    })
}

/// The first of the built-in buildpacks that says yes, with its name for the app.
async fn first_match(
    workshop: &mut Workshop,
    all: &[Buildpack],
    tree: &Report,
) -> Result<(usize, String), BuildError> {
    let numbers: Vec<usize> = all
        .iter()
        .map(|buildpack| workshop.add(buildpack))
        .collect();
    let said = detect(workshop, &numbers).await?;
    let last = said.len().checked_sub(1).zip(said.last());
    match last {
        Some((index, said)) if said.exit_code == 0 => Ok((index, name(said))),
        _ => {
            let has = |file: &&str| tree.root_names.iter().any(|name| name == file);
            let image_file = ["heroku.yml", "Dockerfile"].into_iter().find(has);
            Err(BuildError::NoBuildpack {
                image_file: image_file.map(str::to_owned),
                asked: all
                    .iter()
                    .map(|buildpack| buildpack.reference.clone())
                    .collect(),
            })
        }
    }
}

async fn detect(workshop: &Workshop, numbers: &[usize]) -> Result<Vec<Said>, BuildError> {
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    let mut argv = vec![jail::PROGRAM, "jail", "detect"];
    argv.extend(numbers.iter().map(String::as_str));
    let spec = workshop.step(0, &argv, Network::None);
    let done = workshop.site.jobs.collect(spec, workshop.secrets()).await;
    done.and_then(|done| done.report()).map_err(platform)
}

/// The first line of what `bin/detect` says.
fn name(said: &Said) -> String {
    let line = said.stdout.lines().next().unwrap_or_default().trim();
    let line = text::harmless(line.as_bytes());
    if line.is_empty() {
        "Unnamed".to_owned()
    } else {
        line.chars().take(60).collect()
    }
}

fn refused(buildpack: &Buildpack, said: Option<Said>) -> BuildError {
    let why = said.map(|said| match (said.exit_code, said.stderr.trim()) {
        (127, _) => "it has no bin/detect".to_owned(),
        (_, "") => "its bin/detect says no to this app".to_owned(),
        (_, text) => text.to_owned(),
    });
    BuildError::NotCompatible {
        reference: buildpack.reference.clone(),
        why: why.unwrap_or_default(),
    }
}
