//! The bare repositories of apps: `DATA/git/<app id>.git`, made here, written to by git in jobs.
//!
//! Beside them: `hooks/proc-receive`, which every receive-pack job sees at `/hooks`; `empty.git`,
//! which is shown to whoever pushes to a name that is free; `certificates.pem`, the host's bundle
//! for builds; and `<app id>.moving`, a note that stands from before a release is asked for until
//! the branch has moved. The branch of an app with such a note is set when the api says that the
//! note's commit serves: that is how a push survives our death between release and ref.

use git2::{Repository, RepositoryInitOptions};
use model::app;
use model::limits::PACK_MAX_BYTES;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What git runs as its hook; the program is where every job has it.
const HOOK: &str = "#!/bin/sh\nexec /paas jail proc-receive\n";
/// The bundle that Debian's ca-certificates writes.
const HOST_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Packs of a repository that are fine: each fetch and checkout looks into all.
const PACKS_MAX: usize = 30;
/// Objects in files of their own that are fine.
const LOOSE_MAX: usize = 4_096;

/// Why a repository cannot be made, read or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RepositoryError {
    /// libgit2 refused.
    #[error("make the repository {}", path.display())]
    Git {
        /// Which.
        path: PathBuf,
        /// Why.
        source: git2::Error,
    },
    /// The disk refused.
    #[error("{doing} {}", path.display())]
    Disk {
        /// What we tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The folder of repositories.
#[derive(Clone, Debug)]
pub(crate) struct Repositories {
    dir: PathBuf,
    /// Owner of all of it: ourselves.
    owner: (u32, u32),
}

/// A branch that is about to move to a release's commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moving {
    /// `refs/heads/main`.
    pub branch: String,
    /// 40 hex digits.
    pub commit: String,
}

impl Repositories {
    /// Opens `DATA/git` and puts what stands beside the repositories in order.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, RepositoryError> {
        let dir = data_dir.join("git");
        make_dir(&dir, 0o700)?;
        make_dir(&dir.join("hooks"), 0o755)?;
        write(&dir.join("hooks/proc-receive"), HOOK.as_bytes(), 0o755)?;
        match fs::read(HOST_CERTIFICATES) {
            Ok(bytes) => write(&dir.join("certificates.pem"), &bytes, 0o644)?,
            Err(error) => {
                tracing::warn!(%error, "no {HOST_CERTIFICATES}: builds trust the stack's own");
            }
        }
        let meta = fs::metadata(&dir).map_err(failed("look at", &dir))?;
        let repositories = Self {
            owner: (meta.uid(), meta.gid()),
            dir,
        };
        repositories.make("empty.git")?;
        Ok(repositories)
    }

    /// Owner and group of the repositories; git runs as them inside its job.
    pub(crate) fn owner(&self) -> (u32, u32) {
        self.owner
    }

    /// Whether builds are shown the host's certificates.
    pub(crate) fn has_certificates(&self) -> bool {
        self.dir.join("certificates.pem").exists()
    }

    /// Makes an app's repository if it is missing, and brings its configuration up to date.
    pub(crate) fn ensure(&self, app: app::Id) -> Result<(), RepositoryError> {
        self.make(&folder(app))
    }

    fn make(&self, name: &str) -> Result<(), RepositoryError> {
        let path = self.dir.join(name);
        if !path.join("HEAD").exists() {
            let mut options = RepositoryInitOptions::new();
            options
                .bare(true)
                .external_template(false)
                .mode(git2::RepositoryInitMode::from_bits_retain(0o755))
                .initial_head("main");
            Repository::init_opts(&path, &options).map_err(|source| RepositoryError::Git {
                path: path.clone(),
                source,
            })?;
        }
        // The job that checks a commit out is somebody else, and sees nothing but this folder:
        // what a strict umask took away is given back here, and by `core.sharedRepository` later.
        for folder in ["", "objects", "objects/pack", "objects/info"] {
            let path = path.join(folder);
            fs::set_permissions(&path, Permissions::from_mode(0o755))
                .map_err(failed("set the mode of", &path))?;
        }
        write(&path.join("config"), configuration().as_bytes(), 0o644)
    }

    /// Ids of all apps that have a repository.
    pub(crate) fn list(&self) -> Result<Vec<app::Id>, RepositoryError> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed("list", &self.dir))? {
            let entry = entry.map_err(failed("list", &self.dir))?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".git"));
            ids.extend(id.and_then(app::Id::parse));
        }
        Ok(ids)
    }

    /// Removes all that is there of an app.
    pub(crate) fn remove(&self, app: app::Id) -> Result<(), RepositoryError> {
        let path = self.dir.join(folder(app));
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(source))
            }
            _ => self.moved(app),
        }
    }

    /// Whether git would be quicker with its objects in one pack.
    pub(crate) fn is_cluttered(&self, app: app::Id) -> bool {
        let objects = self.dir.join(folder(app)).join("objects");
        let count = |name: &str| fs::read_dir(objects.join(name)).map_or(0, Iterator::count);
        // A pack is two or three files. Loose objects are spread evenly over 256 folders: git's own
        // `gc --auto` looks into this one, too.
        count("pack") > 3 * PACKS_MAX || count("17") > LOOSE_MAX / 256
    }

    /// Where a branch points, as far as a file of its own says so: our `gc` leaves refs as files.
    pub(crate) fn branch(&self, app: app::Id, branch: &str) -> Option<String> {
        let path = self.dir.join(folder(app)).join(branch);
        let mut text = String::new();
        File::open(path)
            .ok()?
            .take(64)
            .read_to_string(&mut text)
            .ok()?;
        Some(text.trim_end().to_owned())
    }

    /// Lets a clone find the branch that is deployed, when it is not the one it would look for.
    pub(crate) fn point_head(&self, app: app::Id, branch: &str) -> Result<(), RepositoryError> {
        if self.branch(app, "refs/heads/main").is_some() && branch != "refs/heads/main" {
            return Ok(());
        }
        let path = self.dir.join(folder(app)).join("HEAD");
        let content = format!("ref: {branch}\n");
        if fs::read(&path).is_ok_and(|now| now == content.as_bytes()) {
            return Ok(());
        }
        write(&path, content.as_bytes(), 0o644)
    }

    /// Notes that a release of this commit is about to be asked for.
    pub(crate) fn moving(&self, app: app::Id, moving: &Moving) -> Result<(), RepositoryError> {
        let content = format!("{} {}\n", moving.branch, moving.commit);
        write(&self.note(app), content.as_bytes(), 0o600)
    }

    /// The note of an app, if one stands.
    pub(crate) fn is_moving(&self, app: app::Id) -> Option<Moving> {
        let text = fs::read_to_string(self.note(app)).ok()?;
        let (branch, commit) = text.trim_end().split_once(' ')?;
        Some(Moving {
            branch: branch.to_owned(),
            commit: commit.to_owned(),
        })
    }

    /// Takes the note away: the branch has moved, or never will.
    pub(crate) fn moved(&self, app: app::Id) -> Result<(), RepositoryError> {
        let path = self.note(app);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(source))
            }
            _ => Ok(()),
        }
    }

    fn note(&self, app: app::Id) -> PathBuf {
        self.dir.join(format!("{app}.moving"))
    }
}

/// The folder of an app's repository, below `DATA/git`.
pub(crate) fn folder(app: app::Id) -> String {
    format!("{app}.git")
}

/// Written whole, so that what an older version of us wrote does not linger.
fn configuration() -> String {
    format!(
        "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tfilemode = true\n\
         \tsharedRepository = 0644\n\
         \thooksPath = /hooks\n\tlogAllRefUpdates = true\n\tfsyncMethod = batch\n\
         [receive]\n\tfsckObjects = true\n\tprocReceiveRefs = refs\n\tautogc = false\n\
         \tmaxInputSize = {PACK_MAX_BYTES}\n\tadvertiseAtomic = true\n\
         [transfer]\n\tadvertiseSID = false\n[http]\n\treceivepack = true\n\
         [gc]\n\tauto = 0\n[pack]\n\tthreads = 1\n"
    )
}

fn make_dir(path: &Path, mode: u32) -> Result<(), RepositoryError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("create", path)(error));
        }
        _ => {}
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set the mode of", path))
}

/// Replaces a file in one step.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), RepositoryError> {
    if fs::read(path).is_ok_and(|now| now == content) {
        return Ok(());
    }
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(failed("write", path))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RepositoryError {
    let path = path.to_owned();
    move |source| RepositoryError::Disk {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_repositorys_life() {
        let scratch = Scratch::new();
        let repositories = Repositories::open(scratch.path()).unwrap();
        let app = app::Id::new(uuid::Uuid::new_v4());
        assert_eq!(repositories.list().unwrap(), []);
        repositories.ensure(app).unwrap();
        repositories.ensure(app).unwrap();
        assert_eq!(repositories.list().unwrap(), [app]);
        let path = scratch.path().join("git").join(folder(app));
        let repository = Repository::open_bare(&path).unwrap();
        let config = repository.config().unwrap();
        assert!(config.get_bool("receive.fsckObjects").unwrap());
        assert_eq!(
            config.get_string("receive.procReceiveRefs").unwrap(),
            "refs"
        );
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);

        repositories.point_head(app, "refs/heads/master").unwrap();
        assert_eq!(
            fs::read_to_string(path.join("HEAD")).unwrap(),
            "ref: refs/heads/master\n"
        );
        fs::write(path.join("refs/heads/main"), "1234\n").unwrap();
        assert_eq!(
            repositories.branch(app, "refs/heads/main").as_deref(),
            Some("1234")
        );
        assert_eq!(repositories.branch(app, "refs/heads/x"), None);

        let moving = Moving {
            branch: "refs/heads/main".to_owned(),
            commit: "1".repeat(40),
        };
        assert_eq!(repositories.is_moving(app), None);
        repositories.moving(app, &moving).unwrap();
        assert_eq!(repositories.is_moving(app), Some(moving));
        repositories.remove(app).unwrap();
        assert_eq!(repositories.is_moving(app), None);
        assert_eq!(repositories.list().unwrap(), []);
    }
}
