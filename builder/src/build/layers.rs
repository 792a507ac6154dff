//! Runtimes that apps share: `bin/layers` says which a buildpack wants, `bin/fetch` fills them.
//!
//! A layer is known by its recipe, the digest of the buildpack's folder with name and version, and
//! is fetched, packed and unpacked once for all apps. Built-in buildpacks alone have them.

use super::workshop::{Workshop, root_of};
use super::{BuildError, pack, platform};
use crate::jobs::{self, bind};
use crate::output::Voice;
use crate::plan::{Buildpack, Source};
use artifact::hash::Hasher;
use model::digest::Digest;
use model::limits::BUILDPACK_LAYERS_MAX;
use model::slug::{Blob, Layer};
use sandbox::Network;
use std::fs;
use std::io;
use std::path::Path;

/// A line of `bin/layers`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    name: String,
    version: String,
    /// Not part of the slug.
    is_for_build: bool,
}

/// Mounts the layers of a buildpack; returns those that are part of the slug.
pub(crate) async fn mount(
    workshop: &mut Workshop,
    number: usize,
    buildpack: &Buildpack,
    voice: &Voice,
) -> Result<Vec<Layer>, BuildError> {
    let Source::BuiltIn(folder) = &buildpack.source else {
        return Ok(Vec::new());
    };
    let on_disk = workshop
        .site
        .config
        .program_dir
        .join("buildpacks")
        .join(folder);
    if !on_disk.join("bin/layers").exists() {
        return Ok(Vec::new());
    }
    let wanted = ask(workshop, number).await?;
    let recipe = tokio::task::spawn_blocking(move || digest_of(&on_disk));
    let recipe = recipe.await.map_err(platform)?.map_err(platform)?;
    let mut layers = Vec::new();
    for (index, wanted) in wanted.iter().enumerate() {
        let key = key(&recipe, wanted);
        let known = workshop.site.layers.get(&key).map_err(platform)?;
        let known = match known {
            Some(digest) if workshop.site.blobs.has(&digest).map_err(platform)? => Some(digest),
            _ => None,
        };
        let digest = if let Some(digest) = known {
            digest
        } else {
            let digest = fetch(workshop, folder, (index, wanted), voice).await?;
            workshop.site.layers.set(&key, &digest).map_err(platform)?;
            digest
        };
        pack::shelve(workshop, &digest).await?;
        workshop.add_layer(&wanted.name, format!("shelf/{}/layer", digest.hex()));
        if !wanted.is_for_build {
            layers.push(Layer {
                name: wanted.name.clone(),
                version: wanted.version.clone(),
                blob: Blob {
                    digest,
                    size_bytes: workshop.site.blobs.size_bytes(&digest).map_err(platform)?,
                },
            });
        }
    }
    Ok(layers)
}

async fn ask(workshop: &Workshop, number: usize) -> Result<Vec<Wanted>, BuildError> {
    let argv = ["bin/layers", crate::jail::buildpacks::BUILD_DIR];
    let spec = workshop.step(number, &argv, Network::None);
    let done = workshop
        .site
        .jobs
        .collect(spec, workshop.secrets())
        .await
        .map_err(platform)?;
    let failed = |cause: String| BuildError::Script {
        script: "bin/layers",
        cause: cause.lines().map(str::to_owned).collect(),
    };
    done.check().map_err(|error| failed(error.to_string()))?;
    parse(&String::from_utf8_lossy(&done.stdout)).map_err(failed)
}

fn parse(text: &str) -> Result<Vec<Wanted>, String> {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    if lines.len() > BUILDPACK_LAYERS_MAX {
        return Err(format!(
            "it wants {} layers, at most {BUILDPACK_LAYERS_MAX} are made",
            lines.len()
        ));
    }
    lines
        .into_iter()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, version, is_for_build) = match words.as_slice() {
                [name, version] => (*name, *version, false),
                [name, version, "build"] => (*name, *version, true),
                _ => return Err(format!("this line is not `NAME VERSION [build]`: {line}")),
            };
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            let is_name = (1..=32).contains(&name.len())
                && name.bytes().next().is_some_and(plain)
                && name.bytes().all(|b| plain(b) || b == b'-');
            let is_version = (1..=64).contains(&version.len())
                && version
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
                && !version.starts_with('-');
            if !is_name || !is_version {
                return Err(format!("{name} {version} can be no layer"));
            }
            Ok(Wanted {
                name: name.to_owned(),
                version: version.to_owned(),
                is_for_build,
            })
        })
        .collect()
}

async fn fetch(
    workshop: &Workshop,
    folder: &str,
    (index, wanted): (usize, &Wanted),
    voice: &Voice,
) -> Result<Digest, BuildError> {
    let Wanted { name, version, .. } = wanted;
    voice
        .say(format!(
            "-----> Fetching {name} {version} for all apps of this node"
        ))
        .await;
    let dest = format!("layer-{index}");
    let argv = ["bin/fetch", name, version, crate::jail::DEST];
    let buildpack = bind(jobs::program(&format!("buildpacks/{folder}")), &root_of(0));
    let mut spec = workshop.fetch(&dest, &argv, vec![buildpack]);
    spec.cwd = root_of(0);
    let (ended, last) = super::run(workshop, spec, workshop.plain(), voice).await?;
    if ended != jobs::Ended::Exit(0) {
        return Err(BuildError::Script {
            script: "bin/fetch",
            cause: super::cause("bin/fetch", ended, last),
        });
    }
    let sealed = pack::seal(workshop, &dest, "layer", 0).await?;
    Ok(sealed.digest)
}

fn key(recipe: &Digest, wanted: &Wanted) -> String {
    let text = format!("{recipe}\n{}\n{}\n", wanted.name, wanted.version);
    artifact::sha256(text.as_bytes()).hex()
}

/// The digest of a folder's files: names, whether they are programs, contents.
fn digest_of(dir: &Path) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    add(&mut hasher, dir, "")?;
    Ok(hasher.finish())
}

fn add(hasher: &mut Hasher, dir: &Path, prefix: &str) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let meta = entry.metadata()?;
        if meta.is_dir() {
            add(hasher, &entry.path(), &format!("{name}/"))?;
        } else if meta.is_file() {
            let head = format!("{name}\0{}\0{}\0", meta.mode() & 0o100, meta.len());
            hasher.update(head.as_bytes());
            hasher.update(&fs::read(entry.path())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_bin_layers() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let shown = |all: Vec<Wanted>| {
                let line = |w: &Wanted| format!("{} {} {}", w.name, w.version, w.is_for_build);
                all.iter().map(line).collect::<Vec<_>>().join(", ")
            };
            let got = parse(text).map(shown);
            assert_eq!(got.as_deref().map_err(String::as_str), expected, "{text}");
        };
        check("", Ok(""));
        check(
            "node 22.23.3\n\nuv 0.9 build\n",
            Ok("node 22.23.3 false, uv 0.9 true"),
        );
        check("node", Err("this line is not `NAME VERSION [build]`: node"));
        check("../x 1", Err("../x 1 can be no layer"));
        check("node -x", Err("node -x can be no layer"));
    }
}
