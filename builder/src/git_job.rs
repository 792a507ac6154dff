//! git's own `receive-pack` and `upload-pack`, as jobs that see one repository.

use crate::jobs::{self, bind, bind_writable, data};
use crate::site::Site;
use sandbox::{Secrets, Spec};
use std::collections::BTreeMap;

/// Where a job finds its hooks; the repositories' configuration says so, too.
const HOOKS: &str = "/hooks";

/// Which of git's two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// For a push.
    ReceivePack,
    /// For a fetch.
    UploadPack,
}

impl Service {
    /// As a client names it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "git-receive-pack" => Some(Self::ReceivePack),
            "git-upload-pack" => Some(Self::UploadPack),
            _ => None,
        }
    }

    /// `git-receive-pack`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReceivePack => "git-receive-pack",
            Self::UploadPack => "git-upload-pack",
        }
    }

    /// git's subcommand.
    fn command(self) -> &'static str {
        match self {
            Self::ReceivePack => "receive-pack",
            Self::UploadPack => "upload-pack",
        }
    }
}

/// What a job of git is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Say which refs there are.
    Advertise,
    /// Take or give objects. Of a receive-pack, the fourth file is a socket for the hook.
    Exchange,
}

/// The job, to be started with the returned environment. `repository` is a folder of `DATA/git`,
/// `protocol` the client's `Git-Protocol`.
pub(crate) fn git(
    site: &Site,
    (service, act): (Service, Act),
    repository: &str,
    protocol: Option<&str>,
) -> (Spec, Secrets) {
    let mut argv = vec!["git", service.command(), "--stateless-rpc"];
    if act == Act::Advertise {
        argv.push("--http-backend-info-refs");
    }
    argv.push(crate::jail::REPO);
    let mut spec = job(site, service.command(), repository, &argv);
    if (service, act) == (Service::ReceivePack, Act::Exchange) {
        let repo = data(format!("git/{repository}"));
        spec.mounts.push(bind_writable(repo, crate::jail::REPO));
    } else {
        spec.mounts
            .push(bind(data(format!("git/{repository}")), crate::jail::REPO));
    }
    let mut env = environment();
    if let Some(protocol) = protocol {
        env.insert("GIT_PROTOCOL".to_owned(), protocol.to_owned());
    }
    env.insert("LISTEN_FDS".to_owned(), "1".to_owned());
    (spec, secrets(env))
}

/// Moves a branch, for a push that we did not live to finish.
pub(crate) fn move_branch(
    site: &Site,
    repository: &str,
    branch: &str,
    commit: &str,
) -> (Spec, Secrets) {
    let argv = ["git", "-C", crate::jail::REPO, "update-ref", branch, commit];
    let mut spec = job(site, "update-ref", repository, &argv);
    let repo = data(format!("git/{repository}"));
    spec.mounts.push(bind_writable(repo, crate::jail::REPO));
    (spec, secrets(environment()))
}

/// Collects what no branch leads to. Objects of the last minutes stay: a push that is being
/// received may need them. Refs stay files, since the platform reads them as such.
pub(crate) fn collect(site: &Site, repository: &str) -> (Spec, Secrets) {
    let argv = [
        "git",
        "-C",
        crate::jail::REPO,
        "-c",
        "gc.packRefs=false",
        "gc",
        "--quiet",
        "--prune=10.minutes.ago",
    ];
    let mut spec = job(site, "gc", repository, &argv);
    let repo = data(format!("git/{repository}"));
    spec.mounts.push(bind_writable(repo, crate::jail::REPO));
    (spec, secrets(environment()))
}

fn job(site: &Site, what: &str, repository: &str, argv: &[&str]) -> Spec {
    debug_assert!(!repository.contains('/'), "a folder of DATA/git");
    let lowers = jobs::build_stack(&site.config.default_stack);
    let mut spec = jobs::spec(site.jobs.name(what), lowers, argv);
    let (uid, gid) = site.repositories.owner();
    spec.uid = uid;
    spec.gid = gid;
    spec.mounts.push(bind(data("git/hooks".to_owned()), HOOKS));
    spec
}

fn environment() -> BTreeMap<String, String> {
    [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "safe.directory"),
        ("GIT_CONFIG_VALUE_0", crate::jail::REPO),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

fn secrets(env: BTreeMap<String, String>) -> Secrets {
    Secrets {
        env,
        files: BTreeMap::new(),
    }
}
