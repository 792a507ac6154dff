//! A commit -> a plain tree without `.git`, whatever the commit says.
//!
//! The tree comes into the volume's `src`; the other folders that a build needs in its volume are
//! made beside it, so that they belong to the user of builds.
//!
//! Runs in a job that sees the repository's objects read-only and one writable folder. Folders are
//! made by us, files are created and never opened, so nothing is written through a link: a name
//! that comes twice fails. Reads the object store alone: no configuration, no refs.

use super::names::{self, Hostile};
use super::slugignore::{self, Ignored};
use git2::{ObjectType, Odb, Oid, Repository, Tree};
use model::limits::{BUILDPACKS_MAX, PACKED_DEPTH_MAX, UNPACKED_MAX_BYTES, UNPACKED_MAX_ENTRIES};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Names in the root that the report holds; a plan looks for a handful of them.
const ROOT_NAMES_MAX: usize = 500;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The committer's time, Unix seconds; what is earlier than 1970 is 0.
    pub time_s: u64,
    /// Files and links.
    pub entries: u64,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// What lies in the root, as far as it is text and there is room.
    pub root_names: Vec<String>,
    /// The file `.buildpacks`, if it is there and text; its beginning.
    pub buildpacks: Option<String>,
    /// What an image is built from; none: a slug is to be built.
    pub image: Option<Image>,
}

/// The Dockerfile of a tree, and what its context leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `Dockerfile`
    pub dockerfile: String,
    /// Its text.
    pub text: String,
    /// The patterns of its `.dockerignore`.
    pub ignored: String,
    /// The Procfile beside it; its beginning.
    pub procfile: Option<Vec<u8>>,
}

impl Image {
    /// Of the bytes of its files.
    pub(super) fn new(dockerfile: &str, text: &[u8], ignored: &[u8]) -> Self {
        Self {
            dockerfile: dockerfile.to_owned(),
            text: String::from_utf8_lossy(text).into_owned(),
            ignored: String::from_utf8_lossy(ignored).into_owned(),
            procfile: None,
        }
    }
}

/// What a tree is checked out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A slug: `.slugignore` holds.
    Slug,
    /// An image.
    Image,
    /// What the tree asks for: an image if it has a Dockerfile and no `.buildpacks`.
    ByTree,
}

impl Way {
    /// `slug`, `image`, `by-tree`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Slug, Self::Image, Self::ByTree]
            .into_iter()
            .find(|way| way.name() == text)
    }

    /// As [`Way::parse`] reads it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Slug => "slug",
            Self::Image => "image",
            Self::ByTree => "by-tree",
        }
    }
}

/// Names of Dockerfiles, the first wins.
pub(super) const DOCKERFILES: [&str; 2] = ["Dockerfile", "dockerfile"];

/// Why a commit cannot be checked out.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The object store has no such commit, or is damaged.
    #[error("read the commit")]
    Objects(#[from] git2::Error),
    /// Something in the tree may not become a file.
    #[error("{path} {fault}")]
    Hostile {
        /// Where, from the root, with odd bytes replaced.
        path: String,
        /// What is wrong.
        fault: Hostile,
    },
    /// The tree is larger than a build's disk, or holds too many files.
    #[error("the commit has more than {0}")]
    TooLarge(&'static str),
    /// The disk refused.
    #[error("write {path}")]
    Write {
        /// Where, from the root.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes the folders of a build's volume, `src` for its files the first of them.
pub fn prepare(volume: &Path) -> Result<(), CheckoutError> {
    let kinds = ["bp", "from", "layer"];
    let numbered = (0..BUILDPACKS_MAX).flat_map(|n| kinds.map(|kind| format!("{kind}-{n}")));
    for name in ["src", "cache", "empty"]
        .map(str::to_owned)
        .into_iter()
        .chain(numbered)
    {
        let path = volume.join(&name);
        let make = || {
            fs::create_dir(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o755))
        };
        make().map_err(|source| CheckoutError::Write { path: name, source })?;
    }
    // A bind needs something to show; who lays out a commit for an image fills it.
    fs::write(volume.join("index"), b"").map_err(|source| CheckoutError::Write {
        path: "index".to_owned(),
        source,
    })
}

/// Writes the tree of a commit (40 hex digits) into a folder that is empty. For an image the
/// digests of its files are returned, too, as `DIGEST PATH` entries that end with a zero.
pub fn checkout(
    objects: &Path,
    commit: &str,
    way: Way,
    dest: &Path,
) -> Result<(Report, Vec<u8>), CheckoutError> {
    let odb = Odb::new()?;
    let objects = objects.to_str().unwrap_or("/");
    odb.add_disk_alternate(objects)?;
    let repository = Repository::from_odb(odb)?;
    let commit = repository.find_commit(Oid::from_str(commit)?)?;
    let tree = commit.tree()?;
    let time_s = u64::try_from(commit.time().seconds()).unwrap_or(0);
    let image = match way {
        Way::Slug => None,
        Way::ByTree if tree.get_name(".buildpacks").is_some() => None,
        Way::Image | Way::ByTree => image(&repository, &tree)?,
    };
    let slugignore = match (&image, way) {
        (None, Way::Slug | Way::ByTree) => root_file(&repository, &tree, ".slugignore")?,
        _ => None,
    };
    let mut writer = Writer {
        repository: &repository,
        index: image.is_some().then(Vec::new),
        ignored: Ignored::parse(&slugignore.unwrap_or_default()),
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(time_s),
        report: Report {
            time_s,
            root_names: tree
                .iter()
                .filter_map(|entry| entry.name().map(str::to_owned))
                .take(ROOT_NAMES_MAX)
                .collect(),
            buildpacks: root_file(&repository, &tree, ".buildpacks")?
                .and_then(|bytes| String::from_utf8(bytes).ok()),
            image,
            ..Report::default()
        },
    };
    writer.folder(&tree, &mut Place::root(dest))?;
    Ok((writer.report, writer.index.unwrap_or_default()))
}

/// The Dockerfile in the root, if there is one.
fn image(repository: &Repository, root: &Tree<'_>) -> Result<Option<Image>, git2::Error> {
    let max_bytes = crate::image::dockerfile::FILE_MAX_BYTES;
    for name in DOCKERFILES {
        let Some(text) = root_file_within(repository, root, name, max_bytes + 1)? else {
            continue;
        };
        let ignored = |name: &str| root_file_within(repository, root, name, max_bytes);
        let ignored = match ignored(&format!("{name}.dockerignore"))? {
            Some(own) => own,
            None => ignored(".dockerignore")?.unwrap_or_default(),
        };
        let max_bytes = model::limits::PROCFILE_MAX_BYTES + 1;
        let procfile = root_file_within(repository, root, "Procfile", max_bytes)?;
        return Ok(Some(Image {
            procfile,
            ..Image::new(name, &text, &ignored)
        }));
    }
    Ok(None)
}

/// The beginning of a file in the root.
fn root_file(
    repository: &Repository,
    root: &Tree<'_>,
    name: &str,
) -> Result<Option<Vec<u8>>, git2::Error> {
    root_file_within(repository, root, name, slugignore::MAX_BYTES)
}

fn root_file_within(
    repository: &Repository,
    root: &Tree<'_>,
    name: &str,
    max_bytes: usize,
) -> Result<Option<Vec<u8>>, git2::Error> {
    let entry = root
        .get_name(name)
        .filter(|entry| entry.kind() == Some(ObjectType::Blob));
    let Some(entry) = entry else {
        return Ok(None);
    };
    let blob = repository.find_blob(entry.id())?;
    let bytes = blob.content();
    Ok(Some(bytes.get(..max_bytes).unwrap_or(bytes).to_vec()))
}

/// What lies in a root on disk, sorted, as a report holds it.
pub(super) fn root_names(root: fs::ReadDir) -> io::Result<Vec<String>> {
    let names = root.map(|entry| Ok(entry?.file_name().into_string().ok()));
    let mut names: Vec<String> = names
        .filter_map(Result::transpose)
        .collect::<io::Result<_>>()?;
    names.sort();
    names.truncate(ROOT_NAMES_MAX);
    Ok(names)
}

/// Where the writer stands: the path in the tree, and the same on disk.
struct Place {
    in_tree: Vec<u8>,
    on_disk: PathBuf,
    depth: usize,
}

impl Place {
    fn root(dest: &Path) -> Self {
        Self {
            in_tree: Vec::new(),
            on_disk: dest.to_owned(),
            depth: 0,
        }
    }

    fn child(&self, name: &[u8]) -> Self {
        let mut in_tree = self.in_tree.clone();
        if !in_tree.is_empty() {
            in_tree.push(b'/');
        }
        in_tree.extend_from_slice(name);
        Self {
            in_tree,
            on_disk: self.on_disk.join(OsStr::from_bytes(name)),
            depth: self.depth + 1,
        }
    }

    fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.in_tree);
        let plain = |c: char| if c.is_control() { '?' } else { c };
        text.chars().map(plain).take(300).collect()
    }

    fn hostile(&self, fault: Hostile) -> CheckoutError {
        CheckoutError::Hostile {
            path: self.shown(),
            fault,
        }
    }

    fn failed(&self, source: io::Error) -> CheckoutError {
        CheckoutError::Write {
            path: self.shown(),
            source,
        }
    }
}

struct Writer<'a> {
    repository: &'a Repository,
    /// Digests of files, for an image.
    index: Option<Vec<u8>>,
    ignored: Ignored,
    time: SystemTime,
    report: Report,
}

impl Writer<'_> {
    fn folder(&mut self, tree: &Tree<'_>, place: &mut Place) -> Result<(), CheckoutError> {
        if place.depth > PACKED_DEPTH_MAX {
            return Err(CheckoutError::TooLarge("256 folders inside each other"));
        }
        for entry in tree {
            let name = entry.name_bytes();
            let child = place.child(name);
            names::check(name).map_err(|fault| child.hostile(fault))?;
            let mode = entry.filemode_raw();
            if self.ignored.matches(&child.in_tree, mode == 0o040_000) {
                continue;
            }
            self.report.entries += 1;
            if self.report.entries > UNPACKED_MAX_ENTRIES {
                return Err(CheckoutError::TooLarge("500,000 files"));
            }
            self.entry(entry.id(), mode, child)?;
        }
        // After what is in it, since each new entry changes a folder's time.
        File::open(&place.on_disk)
            .and_then(|dir| dir.set_modified(self.time))
            .map_err(|error| place.failed(error))
    }

    fn entry(&mut self, id: Oid, mode: i32, mut place: Place) -> Result<(), CheckoutError> {
        match mode {
            0o040_000 => {
                let tree = self.repository.find_tree(id)?;
                let created = DirBuilder::new().mode(0o755).create(&place.on_disk);
                created.map_err(|error| place.failed(error))?;
                set_mode(&place, 0o755)?;
                self.folder(&tree, &mut place)
            }
            // 0664 is what git wrote before 2005 and still reads.
            0o100_644 | 0o100_664 => self.file(id, 0o644, &place),
            0o100_755 => self.file(id, 0o755, &place),
            0o120_000 => {
                let blob = self.repository.find_blob(id)?;
                let target = blob.content();
                names::check_link(target, place.depth - 1).map_err(|fault| place.hostile(fault))?;
                symlink(OsStr::from_bytes(target), &place.on_disk)
                    .map_err(|error| place.failed(error))
            }
            0o160_000 => Err(place.hostile(Hostile::Submodule)),
            _ => Err(place.hostile(Hostile::Kind)),
        }
    }

    fn file(&mut self, id: Oid, permissions: u32, at: &Place) -> Result<(), CheckoutError> {
        let blob = self.repository.find_blob(id)?;
        self.report.size_bytes += blob.content().len() as u64;
        if self.report.size_bytes > UNPACKED_MAX_BYTES {
            return Err(CheckoutError::TooLarge("4 GiB of files"));
        }
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(permissions)
                .open(&at.on_disk)?;
            file.write_all(blob.content())?;
            file.set_permissions(Permissions::from_mode(permissions))?;
            file.set_modified(self.time)
        };
        write().map_err(|error| at.failed(error))?;
        if let Some(index) = &mut self.index {
            index.extend_from_slice(artifact::sha256(blob.content()).hex().as_bytes());
            index.push(b' ');
            index.extend_from_slice(&at.in_tree);
            index.push(0);
        }
        Ok(())
    }
}

/// The mode, whatever the umask took from it.
fn set_mode(place: &Place, mode: u32) -> Result<(), CheckoutError> {
    fs::set_permissions(&place.on_disk, Permissions::from_mode(mode))
        .map_err(|error| place.failed(error))
}

#[cfg(test)]
#[path = "checkout_tests.rs"]
mod tests;
