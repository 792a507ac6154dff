//! What the steps of one build see: a volume, and a root file system that lasts through them.
//!
//! In the volume, all made by the checkout job as 1000:1000: `src` the app, `cache` what changed in
//! the build cache, `bp-N` buildpack N with what it wrote into its own folder, `from-N` a
//! buildpack from elsewhere, `layer-N` a runtime layer that is being fetched. Beside them `root`:
//! what changed in the root file system.

use super::{BuildError, cache, platform};
use crate::jail::{self, buildpacks};
use crate::jobs::{self, bind, bind_writable, data, place};
use crate::plan::{Buildpack, Source};
use crate::site::Site;
use model::feed::BuildOrder;
use model::limits;
use sandbox::{Base, Limits, Mount, Network, Place, Secrets, Spec, Upper, Volume};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a build finds the host's certificates: the place of Debian's own bundle.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Variables by which programs are told of a bundle of certificates.
const CERTIFICATE_VARIABLES: [&str; 9] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
];
/// Where the app's config vars are, a file each.
const ENV_DIR: &str = "/tmp/env";
/// Where the cache is.
const CACHE_DIR: &str = "/tmp/cache";

/// One build's world.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// What is shared with others.
    pub site: Arc<Site>,
    /// How to build.
    pub order: BuildOrder,
    /// The build's disk.
    pub volume: Volume,
    /// What is restored of the cache, below the data folder.
    cache: Place,
    /// Buildpacks so far, in order.
    buildpacks: Vec<Mount>,
    /// Runtime layers so far.
    layers: Vec<Mount>,
}

impl Workshop {
    /// Makes a workshop with an empty volume.
    pub(crate) async fn open(site: Arc<Site>, order: BuildOrder) -> Result<Self, BuildError> {
        has_room(&site)?;
        let name = site.jobs.name("v");
        let volume = site.jobs.volume(name, limits::BUILD_DISK_MAX_BYTES);
        let cache = site.caches.current(order.app.id, &order.stack);
        let cache = cache.map_err(platform)?;
        let volume = volume.await.map_err(platform)?;
        Ok(Self {
            site,
            order,
            volume,
            cache: data(cache),
            buildpacks: Vec::new(),
            layers: Vec::new(),
        })
    }

    /// Whether the host's disk, which holds the volume, has room left.
    pub(crate) fn has_room(&self) -> Result<(), BuildError> {
        has_room(&self.site)
    }

    /// A folder of the volume.
    pub(crate) fn in_volume(&self, path: &str) -> Place {
        place(Base::Volume(self.volume.id.clone()), path.to_owned())
    }

    /// A job that sees the stack and what is mounted, and nothing of the build.
    pub(crate) fn jail(&self, what: &str, argv: &[&str], mounts: Vec<Mount>) -> Spec {
        let lowers = jobs::run_stack(&self.order.stack);
        let mut spec = jobs::spec(self.site.jobs.name(what), lowers, argv);
        spec.mounts.extend(mounts);
        spec
    }

    /// Adds a buildpack; returns its number.
    pub(crate) fn add(&mut self, buildpack: &Buildpack) -> usize {
        let number = self.buildpacks.len();
        let to = root_of(number);
        self.buildpacks.push(match &buildpack.source {
            // An overlay, because `bin/compile` may write `export` beside itself.
            Source::BuiltIn(name) => Mount::Overlay {
                lowers: vec![jobs::program(&format!("buildpacks/{name}"))],
                upper: self.in_volume(&format!("bp-{number}")),
                to,
            },
            Source::Git { .. } | Source::Folder { .. } | Source::Archive { .. } => {
                bind_writable(self.in_volume(&format!("from-{number}")), &to)
            }
        });
        number
    }

    /// Shows a layer to the steps that come.
    pub(crate) fn add_layer(&mut self, name: &str, shelved: String) {
        let from = data(shelved);
        self.layers.push(bind(from, &format!("/layers/{name}")));
    }

    /// A step of a buildpack.
    pub(crate) fn step(&self, number: usize, argv: &[&str], network: Network) -> Spec {
        let lowers = jobs::build_stack(&self.order.stack);
        let mut spec = jobs::spec(self.site.jobs.name("b"), lowers, argv);
        spec.upper = Upper::Volume {
            volume: self.volume.id.clone(),
            dir: "root".to_owned(),
        };
        spec.cwd = root_of(number);
        spec.limits = limits();
        spec.network = network;
        spec.mounts.extend(self.certificates());
        spec.mounts
            .push(bind_writable(self.in_volume("src"), buildpacks::BUILD_DIR));
        spec.mounts.push(Mount::Overlay {
            lowers: vec![self.cache.clone()],
            upper: self.in_volume(cache::CHANGES),
            to: CACHE_DIR.to_owned(),
        });
        spec.mounts.push(Mount::Files {
            to: ENV_DIR.to_owned(),
        });
        spec.mounts.extend(self.buildpacks.iter().cloned());
        spec.mounts.extend(self.layers.iter().cloned());
        spec
    }

    /// A step that fetches something from outside and sees neither the app nor its secrets.
    pub(crate) fn fetch(&self, dest: &str, argv: &[&str], mounts: Vec<Mount>) -> Spec {
        let mut spec = self.outside(argv);
        spec.mounts
            .push(bind_writable(self.in_volume(dest), jail::DEST));
        spec.mounts.extend(mounts);
        spec
    }

    /// The same, for what goes to standard output.
    pub(crate) fn outside(&self, argv: &[&str]) -> Spec {
        let lowers = jobs::build_stack(&self.order.stack);
        let mut spec = jobs::spec(self.site.jobs.name("f"), lowers, argv);
        spec.upper = Upper::Memory {
            max_bytes: limits::BUILD_MEMORY_MAX_BYTES / 2,
        };
        spec.limits = limits();
        spec.network = Network::Build;
        spec.mounts.extend(self.certificates());
        spec
    }

    /// The arguments of `bin/compile`.
    pub(crate) const COMPILE_ARGUMENTS: [&'static str; 3] =
        [buildpacks::BUILD_DIR, CACHE_DIR, ENV_DIR];

    /// Environment and config vars of a step (docs/heroku.md, "Buildpacks").
    pub(crate) fn secrets(&self) -> Secrets {
        let files = self.order.config.iter();
        Secrets {
            env: self.env(),
            files: files
                .map(|(key, value)| (key.clone(), value.clone().into_bytes()))
                .collect(),
        }
    }

    /// The environment alone.
    pub(crate) fn plain(&self) -> Secrets {
        Secrets {
            env: self.env(),
            files: BTreeMap::new(),
        }
    }

    fn env(&self) -> BTreeMap<String, String> {
        let mut env: BTreeMap<String, String> = [
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("HOME", "/app"),
            ("USER", "dyno"),
            ("DYNO", "receive.1"),
            ("STACK", heroku_stack(&self.order.stack)),
            (
                "SOURCE_VERSION",
                self.order.source.version().unwrap_or_default(),
            ),
            ("REQUEST_ID", &self.order.build.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
        if self.site.repositories.has_certificates() {
            let to_bundle = |key: &str| (key.to_owned(), CERTIFICATES.to_owned());
            env.extend(CERTIFICATE_VARIABLES.map(to_bundle));
        }
        env.extend(self.site.config.build.env.clone());
        env
    }

    fn certificates(&self) -> Option<Mount> {
        let bundle = data("git/certificates.pem".to_owned());
        let has = self.site.repositories.has_certificates();
        has.then(|| bind(bundle, CERTIFICATES))
    }
}

fn has_room(site: &Site) -> Result<(), BuildError> {
    let free_bytes = artifact::disk::free_bytes(&site.config.data_dir).map_err(platform)?;
    if free_bytes < limits::DISK_FREE_MIN_BYTES {
        return Err(BuildError::DiskFull { free_bytes });
    }
    Ok(())
}

/// Where buildpack N is inside.
pub(crate) fn root_of(number: usize) -> String {
    format!("{}/{number}", buildpacks::BUILDPACKS)
}

fn limits() -> Limits {
    Limits {
        memory_max_bytes: limits::BUILD_MEMORY_MAX_BYTES,
        pids_max: limits::BUILD_PIDS_MAX,
        cpu_weight: 100,
    }
}

/// What a stack is called to buildpacks, which know Heroku's alone: Debian 13 runs all that was
/// built for heroku-24 (docs/heroku.md, "Buildpacks").
fn heroku_stack(stack: &str) -> &str {
    match stack {
        "debian-13" => "heroku-24",
        other => other,
    }
}
