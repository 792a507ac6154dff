//! The topmost layer of each sandbox's root: what is its own in `/etc`, and the folders that
//! something is mounted on.
//!
//! A layer instead of mounts over the files of the stack: it costs one more name in the overlay, a
//! link in an image cannot lead it astray, and it works in a root that is read-only.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::Trouble;
use super::home::{Home, make_dir, read_only_clone};
use super::places::open_below;

/// Bytes of an image's `/etc/passwd` or `/etc/group`; longer ones are left alone.
const ACCOUNTS_MAX_BYTES: u64 = 256 * 1024;
/// The name of the user inside.
const USER: &str = "dyno";

/// What a layer holds.
#[derive(Debug)]
pub(super) struct Content<'a> {
    pub(super) hostname: &'a str,
    /// Of `eth0`, if there is one.
    pub(super) address: Option<std::net::Ipv4Addr>,
    pub(super) resolv_conf: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) targets: Vec<Target>,
    /// v2 only: what old programs read in `/sys/fs/cgroup/memory/memory.limit_in_bytes`.
    pub(super) memory_max_bytes: Option<u64>,
}

/// What something is mounted on.
#[derive(Debug)]
pub(super) struct Target {
    /// Absolute.
    pub(super) path: String,
    pub(super) is_dir: bool,
}

/// The layer of one sandbox; removed when dropped.
#[derive(Debug)]
pub(super) struct Layer(PathBuf);

impl Drop for Layer {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            super::say(&format!("remove {}: {error}", self.0.display()));
        }
    }
}

impl Layer {
    /// Makes it. `lowers`: what lies below, topmost first; `base`: the host's id of the inside 0.
    pub(super) fn make(
        home: &Home,
        id: &str,
        lowers: &[OwnedFd],
        base: u32,
        content: &Content<'_>,
    ) -> Result<Self, Trouble> {
        let at = home.world.join("layers").join(id);
        let begin = || {
            make_dir(&at, 0o755)?;
            make_dir(&at.join("root"), 0o755)?;
            chown(at.join("root"), Some(base), Some(base))?;
            make_dir(&at.join("memory"), 0o755)
        };
        begin().map_err(Trouble::failed::<io::Error>("make a layer"))?;
        let layer = Self(at);
        let mut folders = Folders {
            root: layer.0.join("root"),
            lowers,
            base,
        };
        for target in &content.targets {
            folders.target(&target.path, target.is_dir)?;
        }
        folders.directory("etc")?;
        let files = [
            ("etc/hosts", Some(hosts(content))),
            ("etc/hostname", Some(format!("{}\n", content.hostname))),
            ("etc/resolv.conf", Some(content.resolv_conf.clone())),
            (
                "etc/passwd",
                folders.accounts("etc/passwd", content.uid, &user_line(content)),
            ),
            (
                "etc/group",
                folders.accounts("etc/group", content.gid, &group_line(content)),
            ),
        ];
        for (name, text) in files {
            if let Some(text) = text {
                folders.file(name, &text)?;
            }
        }
        if let Some(limit) = content.memory_max_bytes {
            let file = layer.0.join("memory/memory.limit_in_bytes");
            fs::write(file, format!("{limit}\n")).map_err(Trouble::failed("make a layer"))?;
        }
        Ok(layer)
    }

    /// The layer itself, detached.
    pub(super) fn root(&self) -> io::Result<OwnedFd> {
        read_only_clone(&self.0.join("root"))
    }

    /// The folder with `memory.limit_in_bytes`, detached.
    pub(super) fn memory(&self) -> io::Result<OwnedFd> {
        read_only_clone(&self.0.join("memory"))
    }
}

#[derive(Debug)]
struct Folders<'a> {
    root: PathBuf,
    lowers: &'a [OwnedFd],
    base: u32,
}

/// What a path is in the layers below.
#[derive(Debug, PartialEq, Eq)]
enum Below {
    Nothing,
    /// Mode, user and group on disk.
    Folder(u32, u32, u32),
    File,
    Link,
}

impl Folders<'_> {
    /// Makes what something is mounted on, and the folders above it.
    fn target(&mut self, path: &str, is_dir: bool) -> Result<(), Trouble> {
        let path = path.trim_start_matches('/');
        if is_dir {
            return self.directory(path);
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent)?;
        }
        if self.below(path)? == Below::Link {
            return Err(Trouble::refused(format!(
                "/{path} is a symbolic link in a layer"
            )));
        }
        if self.root.join(path).exists() {
            Ok(())
        } else {
            self.file(path, "")
        }
    }

    /// Makes a folder and those above it, looking like those below.
    fn directory(&mut self, path: &str) -> Result<(), Trouble> {
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let Some(part) = path.get(..end) else {
                continue;
            };
            let at = self.root.join(part);
            if at.exists() {
                continue;
            }
            let (mode, uid, gid) = match self.below(part)? {
                Below::Nothing => (0o755, 0, 0),
                Below::Folder(mode, uid, gid) => (mode, uid, gid),
                Below::File => {
                    return Err(Trouble::refused(format!("/{part} is a file in a layer")));
                }
                Below::Link => {
                    let reason = format!("/{part} is a symbolic link in a layer");
                    return Err(Trouble::refused(reason));
                }
            };
            let make = || {
                fs::create_dir(&at)?;
                chown(
                    &at,
                    Some(self.base + (uid & 0xffff)),
                    Some(self.base + (gid & 0xffff)),
                )?;
                fs::set_permissions(&at, Permissions::from_mode(mode))
            };
            make().map_err(Trouble::failed::<io::Error>("make a folder of a layer"))?;
        }
        Ok(())
    }

    fn file(&self, path: &str, text: &str) -> Result<(), Trouble> {
        let at = self.root.join(path);
        let make = || {
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o644)
                .open(&at)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            chown(&at, Some(self.base), Some(self.base))
        };
        make().map_err(Trouble::failed::<io::Error>("make a file of a layer"))
    }

    fn below(&self, path: &str) -> Result<Below, Trouble> {
        for lower in self.lowers {
            let meta = match open_below(lower.as_fd(), path) {
                Ok(found) => File::from(found).metadata(),
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOENT) => continue,
                    Some(libc::ELOOP) => return Ok(Below::Link),
                    Some(libc::ENOTDIR) => return Ok(Below::File),
                    _ => Err(error),
                },
            };
            let meta = meta.map_err(Trouble::failed("look into a layer"))?;
            if meta.file_type().is_char_device() && meta.rdev() == 0 {
                // The layer hides what those below it have.
                return Ok(Below::Nothing);
            }
            return Ok(if meta.is_dir() {
                Below::Folder(meta.mode() & 0o7777, meta.uid(), meta.gid())
            } else if meta.is_symlink() {
                Below::Link
            } else {
                Below::File
            });
        }
        Ok(Below::Nothing)
    }

    /// The accounts of the layers below with one more line, unless this id has one.
    fn accounts(&self, path: &str, id: u32, line: &str) -> Option<String> {
        let read = |lower: &OwnedFd| {
            let how = OpenHow::new()
                .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
                .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
            let file = File::from(openat2(lower, path, how).ok()?);
            let meta = file.metadata().ok()?;
            let mut text = String::new();
            let is_plain = meta.is_file() && meta.len() <= ACCOUNTS_MAX_BYTES;
            is_plain.then_some(())?;
            file.take(ACCOUNTS_MAX_BYTES)
                .read_to_string(&mut text)
                .ok()
                .map(|_| text)
        };
        let text = self.lowers.iter().find_map(read).unwrap_or_default();
        with_account(text, id, line)
    }
}

fn with_account(mut text: String, id: u32, line: &str) -> Option<String> {
    let id = id.to_string();
    if text.lines().any(|l| l.split(':').nth(2) == Some(&id)) {
        return None;
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    Some(text)
}

fn user_line(content: &Content<'_>) -> String {
    format!(
        "{USER}:x:{}:{}:{USER}:/app:/bin/bash\n",
        content.uid, content.gid
    )
}

fn group_line(content: &Content<'_>) -> String {
    format!("{USER}:x:{}:\n", content.gid)
}

fn hosts(content: &Content<'_>) -> String {
    let own = content
        .address
        .map_or_else(|| "127.0.1.1".to_owned(), |a| a.to_string());
    let name = content.hostname;
    format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{own} {name}\n")
}

/// Whether `path` lies below (or is) one of the folders.
pub(super) fn lies_below<'a>(path: &str, mut folders: impl Iterator<Item = &'a str>) -> bool {
    folders.any(|folder| Path::new(path).starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_get_one_more_line() {
        let check = |text: &str, wanted: Option<&str>| {
            assert_eq!(
                with_account(text.into(), 1000, "d:x:1000:\n").as_deref(),
                wanted
            );
        };
        check("", Some("d:x:1000:\n"));
        check("root:x:0:", Some("root:x:0:\nd:x:1000:\n"));
        check("me:x:1000:1000::/:/bin/sh\n", None);
    }

    #[test]
    fn folders_contain_paths() {
        assert!(lies_below("/a/b", ["/x", "/a"].into_iter()));
        assert!(!lies_below("/ab", ["/a"].into_iter()));
    }
}
