//! Which process types the app has: its Procfile, and what the last buildpack adds.

use super::compile::Compiled;
use super::workshop::Workshop;
use super::{BuildError, platform, release_yaml};
use crate::jail::{self, buildpacks::Outcome};
use crate::output::{Voice, phrases};
use model::process::Types;
use model::procfile;
use sandbox::Network;

/// Asks both, says what was found, and returns all types.
pub(crate) async fn discover(
    workshop: &Workshop,
    compiled: &Compiled,
    voice: &Voice,
) -> Result<Types, BuildError> {
    let number = compiled.last.to_string();
    let argv = [jail::PROGRAM, "jail", "outcome", &number];
    let spec = workshop.step(compiled.last, &argv, Network::None);
    let done = workshop.site.jobs.collect(spec, workshop.secrets()).await;
    let outcome: Outcome = done.and_then(|done| done.report()).map_err(platform)?;

    let declared = match outcome.procfile {
        Some(bytes) => Some(procfile::parse(&bytes)?),
        None => None,
    };
    let defaults = defaults(outcome.release)?;
    let (declared, warnings) = match declared {
        Some(procfile) => (Some(procfile.types), procfile.warnings),
        None => (None, Vec::new()),
    };
    let (types, added) = merge(declared.as_ref(), defaults);
    voice
        .say_all(phrases::processes(declared.as_ref(), &added))
        .await;
    for warning in warnings {
        voice.say(phrases::mark(&warning)).await;
    }
    Ok(types)
}

fn defaults(said: Option<jail::buildpacks::Said>) -> Result<Types, BuildError> {
    let failed = |cause: String| BuildError::Script {
        script: "bin/release",
        cause: vec![cause],
    };
    match said {
        None => Ok(Types::new()),
        Some(said) if said.exit_code != 0 => {
            let last = said.stderr.lines().next_back().unwrap_or_default();
            Err(failed(format!("status {}: {last}", said.exit_code)))
        }
        Some(said) => release_yaml::process_types(&said.stdout)
            .map_err(|error| failed(format!("its output {error}"))),
    }
}

/// All types, and those of the defaults that the Procfile does not name (docs/heroku.md,
/// "Procfile").
fn merge(declared: Option<&Types>, defaults: Types) -> (Types, Types) {
    let mut types = declared.cloned().unwrap_or_default();
    let added: Types = defaults
        .into_iter()
        .filter(|(name, _)| !types.contains_key(name))
        .collect();
    types.extend(added.clone());
    (types, added)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::process::Type;

    #[test]
    fn the_procfile_wins_and_defaults_are_added() {
        let types = |pairs: &[(&str, &str)]| -> Types {
            let pair = |(k, v): &(&str, &str)| (Type::parse(k).unwrap(), (*v).to_owned());
            pairs.iter().map(pair).collect()
        };
        let declared = types(&[("web", "a")]);
        let defaults = types(&[("web", "b"), ("console", "c")]);
        assert_eq!(
            merge(Some(&declared), defaults.clone()),
            (
                types(&[("web", "a"), ("console", "c")]),
                types(&[("console", "c")])
            )
        );
        assert_eq!(merge(None, defaults.clone()), (defaults.clone(), defaults));
    }
}
