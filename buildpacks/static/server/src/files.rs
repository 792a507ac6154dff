//! The files below a root folder. The kernel resolves each path beneath it (openat2, Linux 5.6,
//! `RESOLVE_BENEATH`), so no `..` and no symlink leads out, whatever happens to the folder.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// The root folder of a site, open as long as the site is served.
#[derive(Debug)]
pub(crate) struct Root {
    folder: OwnedFd,
}

/// What is at a path.
#[derive(Debug)]
pub(crate) enum Found {
    File(Content),
    Folder,
    Nothing,
}

/// A regular file, open for reading at its beginning.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) file: File,
    pub(crate) size_bytes: u64,
    /// Seconds since 1970; in a slug the time of the commit.
    pub(crate) modified_unix_s: i64,
}

impl Root {
    /// Opens `relative` below the app's folder.
    pub(crate) fn open(app: &Path, relative: &str) -> io::Result<Root> {
        let folder = OwnedFd::from(File::open(app)?);
        let relative = if relative.is_empty() { "." } else { relative };
        let folder = openat2(&folder, relative, how(OFlag::O_DIRECTORY))?;
        Ok(Root { folder })
    }

    /// Looks at a path relative to the root, without a slash in front.
    pub(crate) fn find(&self, relative: &str) -> io::Result<Found> {
        // O_NONBLOCK: a FIFO in the site must not stop us.
        let opened = match openat2(&self.folder, relative, how(OFlag::O_NONBLOCK)) {
            Ok(opened) => File::from(opened),
            Err(errno) if means_nothing_there(errno) => return Ok(Found::Nothing),
            Err(errno) => return Err(errno.into()),
        };
        let metadata = opened.metadata()?;
        if metadata.is_dir() {
            return Ok(Found::Folder);
        }
        if !metadata.is_file() {
            return Ok(Found::Nothing);
        }
        Ok(Found::File(Content {
            file: opened,
            size_bytes: metadata.len(),
            modified_unix_s: unix_s(metadata.modified()?),
        }))
    }
}

fn how(flags: OFlag) -> OpenHow {
    OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | flags)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

/// EXDEV is the kernel's word for a path that would leave the root.
fn means_nothing_there(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENOENT
            | Errno::ENOTDIR
            | Errno::EXDEV
            | Errno::ELOOP
            | Errno::EACCES
            | Errno::ENAMETOOLONG
            | Errno::EINVAL
            | Errno::ENXIO
    )
}

fn unix_s(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(root: &Root, relative: &str) -> &'static str {
        match root.find(relative).unwrap() {
            Found::File(_) => "file",
            Found::Folder => "folder",
            Found::Nothing => "nothing",
        }
    }

    #[test]
    fn stays_below_the_root() {
        let app = std::env::temp_dir().join(format!("static-server-files-{}", std::process::id()));
        let site = app.join("site/inner");
        std::fs::create_dir_all(&site).unwrap();
        std::fs::write(app.join("secret"), "s").unwrap();
        std::fs::write(site.join("a.txt"), "a").unwrap();
        let link = std::os::unix::fs::symlink::<&str, std::path::PathBuf>;
        link("../../secret", site.join("out")).unwrap();
        link("/etc/passwd", site.join("absolute")).unwrap();
        link("a.txt", site.join("within")).unwrap();
        link("loop", site.join("loop")).unwrap();
        nix::unistd::mkfifo(&site.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();

        let root = Root::open(&app, "site").unwrap();
        let cases = [
            (".", "folder"),
            ("inner", "folder"),
            ("inner/a.txt", "file"),
            ("inner/within", "file"),
            ("inner/out", "nothing"),
            ("inner/absolute", "nothing"),
            ("inner/loop", "nothing"),
            ("inner/fifo", "nothing"),
            ("inner/a.txt/b", "nothing"),
            ("../secret", "nothing"),
            ("missing", "nothing"),
        ];
        for (relative, expected) in cases {
            assert_eq!(kind(&root, relative), expected, "{relative}");
        }
        assert!(Root::open(&app, "../").is_err());
        std::fs::remove_dir_all(&app).unwrap();
    }
}
