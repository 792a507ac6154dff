//! Where in the v2 tree the programs are attached.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Trees;
use super::hooks::Tree;

/// A cgroup's folder: programs hang on it, and its inode is the cgroup's id.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) folder: File,
    pub(super) id: u64,
}

/// Both subtrees of dynos.
#[derive(Debug)]
pub(super) struct Attachments {
    central: Attachment,
    isolated: Attachment,
    /// How deep a dyno's own cgroup lies below the root of the tree.
    pub(super) dyno_level: u32,
}

impl Attachments {
    pub(super) fn open(trees: &Trees) -> io::Result<Self> {
        let (central, isolated) = (level(&trees.central)?, level(&trees.isolated)?);
        if central != isolated {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the dynos' cgroups are not side by side",
            ));
        }
        Ok(Self {
            central: Attachment::open(&trees.central)?,
            isolated: Attachment::open(&trees.isolated)?,
            dyno_level: central + 1,
        })
    }

    pub(super) fn of(&self, tree: Tree) -> &Attachment {
        match tree {
            Tree::Central => &self.central,
            Tree::Isolated => &self.isolated,
        }
    }
}

impl Attachment {
    fn open(at: &Path) -> io::Result<Self> {
        let folder = File::open(at)?;
        let id = folder.metadata()?.ino();
        Ok(Self { folder, id })
    }
}

/// Steps from the root of the file system that the folder is in.
fn level(at: &Path) -> io::Result<u32> {
    let at = at.canonicalize()?;
    let device = at.metadata()?.dev();
    let mut level = 0;
    for parent in at.ancestors().skip(1) {
        if parent.metadata()?.dev() != device {
            break;
        }
        level += 1;
    }
    Ok(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_the_mount() {
        assert_eq!(level(Path::new("/proc")).unwrap(), 0);
        assert_eq!(level(Path::new("/proc/sys/kernel")).unwrap(), 2);
    }
}
