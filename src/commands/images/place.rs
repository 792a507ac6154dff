//! Where images go to and come from.

use crate::failure::Failure;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A place, as skopeo and podman write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A folder with an OCI layout.
    Oci(PathBuf),
    /// A file for `docker load`.
    DockerArchive(PathBuf),
}

impl Place {
    /// The folder or file.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Oci(path) | Self::DockerArchive(path) => path,
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("oci", path)) if !path.is_empty() => Ok(Self::Oci(path.into())),
            Some(("docker-archive", path)) if !path.is_empty() => {
                Ok(Self::DockerArchive(path.into()))
            }
            _ => Err("a place is oci:DIR or docker-archive:FILE".to_owned()),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Oci(path) => write!(f, "oci:{}", path.display()),
            Self::DockerArchive(path) => write!(f, "docker-archive:{}", path.display()),
        }
    }
}

/// Nothing is written over.
pub(super) fn is_free(path: &Path) -> Result<(), Failure> {
    if fs::symlink_metadata(path).is_ok() {
        let told = format!("{} is there already", path.display());
        return Err(Failure::new(told).hint("remove it, or name another place"));
    }
    Ok(())
}

/// A folder beside what is made, so that a rename finishes it; it goes with its owner.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    pub(super) fn beside(target: &Path) -> Result<Self, Failure> {
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}", std::process::id()));
        let folder = target.with_file_name(name);
        fs::create_dir(&folder)
            .map_err(|error| Failure::new(format!("cannot make {}: {error}", folder.display())))?;
        Ok(Self(folder))
    }

    /// A name in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A new folder in it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.path(name);
        fs::create_dir(&folder)?;
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is seen by its owner, beside what they asked for.
        fs::remove_dir_all(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let check = |text: &str, expected: Option<Place>| {
            assert_eq!(text.parse::<Place>().ok(), expected, "{text}");
        };
        check("oci:a/b", Some(Place::Oci("a/b".into())));
        check(
            "docker-archive:x.tar",
            Some(Place::DockerArchive("x.tar".into())),
        );
        check("oci:", None);
        check("docker://x", None);
        check("x.tar", None);
    }
}
