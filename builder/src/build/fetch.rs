//! Buildpacks from elsewhere: a git repository or a `.tgz`, fetched in a job of its own that sees
//! neither the app nor its config vars; or a folder of the app, copied without a network, so that
//! compiling cannot change the buildpack under its own feet.

use super::workshop::Workshop;
use super::{BuildError, platform};
use crate::jobs::bind;
use crate::plan::{Buildpack, Source};
use sandbox::Network;

/// A branch or tag in one round; a commit when the server gives single commits; else all of it.
const GIT: &str = r#"
set -e
cd /dest
git init -q .
git remote add origin "$1"
git fetch -q --depth 1 origin "${2:-HEAD}" 2>/tmp/first && git checkout -q FETCH_HEAD && exit
git fetch -q origin '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*' || exit
[ -n "$2" ] && { git checkout -q "$2" --; exit; }
git fetch -q origin HEAD && git checkout -q FETCH_HEAD
"#;

/// GitHub's archives have a single folder at the top, others none.
const ARCHIVE: &str = r#"
set -eo pipefail
cd /dest
curl -fsSL --proto '=https,http' --max-time 300 --max-filesize 500000000 "$1" |
    tar -xz --no-same-owner --no-same-permissions
set -- *
if [ $# = 1 ] && [ -d "$1" ] && [ "$1" != bin ]; then
    mv "$1" .top && mv .top/* . && rm -r .top
fi
"#;

const FOLDER: &str = r#"
[ -d "/src/$1" ] || { echo "the app has no folder $1" >&2; exit 1; }
cp -R --no-dereference -- "/src/$1/." /dest/
"#;

/// Fetches what is not built in into the volume's `from-<number>`.
pub(crate) async fn fetch(
    workshop: &Workshop,
    number: usize,
    buildpack: &Buildpack,
) -> Result<(), BuildError> {
    let (script, from, revision) = match &buildpack.source {
        Source::BuiltIn(_) => return Ok(()),
        Source::Git { url, revision } => (GIT, url, revision.as_deref().unwrap_or_default()),
        Source::Archive { url } => (ARCHIVE, url, ""),
        Source::Folder { path } => (FOLDER, path, ""),
    };
    let argv = ["bash", "-c", script, "fetch", from, revision];
    let mut spec = workshop.fetch(&format!("from-{number}"), &argv, Vec::new());
    if matches!(buildpack.source, Source::Folder { .. }) {
        spec.network = Network::None;
        spec.mounts.push(bind(workshop.in_volume("src"), "/src"));
    }
    let mut secrets = workshop.plain();
    // Nobody is there to be asked for a password.
    secrets
        .env
        .insert("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned());
    let done = workshop
        .site
        .jobs
        .collect(spec, secrets)
        .await
        .map_err(platform)?;
    done.check().map_err(|error| BuildError::Fetch {
        reference: buildpack.reference.clone(),
        why: error.to_string(),
    })
}
