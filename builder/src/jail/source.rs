//! An archive of strangers -> a plain tree, whatever the archive says.
//!
//! tar, alone or in gzip or zstd. It is unpacked beside `src`, by rules of `artifact::unpack` that
//! write nothing through a link; then what a git tree may not hold is refused here, too, and what
//! `.slugignore` names is removed. A single folder at the top is taken off, as GitHub's archives
//! have one.

use super::checkout::{DOCKERFILES, Image, Report, Way, root_names};
use super::names::{self, Hostile};
use super::slugignore::{self, Ignored};
use artifact::hash::Hasher;
use artifact::unpack::{Limits, UnpackError};
use flate2::read::MultiGzDecoder;
use model::digest::Digest;
use model::limits::SOURCE_MAX_BYTES;
use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Bytes of a Dockerfile that are read: one more than it may have, so that this is noticed.
const IMAGE_FILE_MAX_BYTES: u64 = crate::image::dockerfile::FILE_MAX_BYTES as u64 + 1;
/// Bytes at the start of an archive that tell its kind: a tar's mark ends at 262.
const HEAD_BYTES: usize = 262;

/// Why an archive cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is of no kind that is understood.
    #[error("the source is {0}; a tar, alone or in gzip or zstd, is understood")]
    Kind(&'static str),
    /// It cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// It holds nothing.
    #[error("the source holds no files")]
    Empty,
    /// It is not what the build says.
    #[error("the source's checksum is SHA256:{}, not SHA256:{} as the build says", is.hex(), said.hex())]
    Checksum {
        /// Of the bytes that came.
        is: Digest,
        /// What was expected.
        said: Digest,
    },
    /// Something in it may not become a file.
    #[error("{path} {fault}")]
    Hostile {
        /// Where, from the root, with odd bytes replaced.
        path: String,
        /// What is wrong.
        fault: Hostile,
    },
    /// It cannot be read to its end, or the disk refused.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> SourceError {
    move |source| SourceError::Io { doing, source }
}

/// Unpacks an archive into `src` of a volume.
pub fn unpack(
    archive: impl Read,
    said: Option<Digest>,
    way: Way,
    volume: &Path,
) -> Result<Report, SourceError> {
    let raw = volume.join("unpacked");
    fs::create_dir(&raw).map_err(failed("make a folder"))?;
    let mut hashed = Hashed {
        inner: archive.take(SOURCE_MAX_BYTES + 1),
        hasher: Hasher::new(),
        size_bytes: 0,
    };
    let unpacked = unpack_any(&mut hashed, &raw);
    // What stands behind the archive's end belongs to its checksum.
    let rest = io::copy(&mut hashed, &mut io::sink());
    if hashed.size_bytes > SOURCE_MAX_BYTES {
        return Err(SourceError::Kind("larger than 2 GiB"));
    }
    let is = hashed.hasher.finish();
    if let Some(said) = said.filter(|said| *said != is) {
        rest.map_err(failed("read the source"))?;
        return Err(SourceError::Checksum { is, said });
    }
    unpacked?;
    let src = volume.join("src");
    fs::remove_dir(&src).map_err(failed("make room for the source"))?;
    match only_folder(&raw)? {
        Some(folder) => {
            fs::rename(folder, &src).map_err(failed("place the source"))?;
            fs::remove_dir(&raw).map_err(failed("place the source"))?;
        }
        None => fs::rename(&raw, &src).map_err(failed("place the source"))?,
    }
    check(&src, way)
}

fn unpack_any(archive: impl Read, to: &Path) -> Result<(), SourceError> {
    let mut archive = BufReader::with_capacity(128 * 1024, archive);
    let mut head = Vec::new();
    (&mut archive)
        .take(HEAD_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(failed("read the source"))?;
    let limits = Limits::default();
    let whole = io::Cursor::new(head.clone()).chain(archive);
    match head.as_slice() {
        [] => return Err(SourceError::Empty),
        [0x1f, 0x8b, ..] => artifact::unpack::unpack_tar(MultiGzDecoder::new(whole), to, limits)?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => artifact::unpack(whole, to, limits)?,
        _ if head.get(257..) == Some(b"ustar") => artifact::unpack::unpack_tar(whole, to, limits)?,
        [b'P', b'K', 3, 4, ..] => return Err(SourceError::Kind("a zip")),
        [b'B', b'Z', b'h', ..] => return Err(SourceError::Kind("compressed by bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(SourceError::Kind("compressed by xz")),
        _ => return Err(SourceError::Kind("no archive")),
    };
    Ok(())
}

/// The folder in which everything is, if there is one.
fn only_folder(root: &Path) -> Result<Option<std::path::PathBuf>, SourceError> {
    let look = || {
        let mut entries = fs::read_dir(root)?;
        let first = entries.next().transpose()?;
        let second = entries.next().transpose()?;
        Ok((first, second.is_some()))
    };
    match look().map_err(failed("look at the source"))? {
        (None, _) => Err(SourceError::Empty),
        (Some(entry), false) => {
            let kind = entry.file_type().map_err(failed("look at the source"))?;
            Ok(kind.is_dir().then(|| entry.path()))
        }
        (Some(_), true) => Ok(None),
    }
}

/// What a git tree could not hold is refused, what is ignored goes, modes become git's.
fn check(src: &Path, way: Way) -> Result<Report, SourceError> {
    let buildpacks = root_file(src, ".buildpacks")?;
    let image = match way {
        Way::Slug => None,
        Way::ByTree if buildpacks.is_some() => None,
        Way::Image | Way::ByTree => image(src)?,
    };
    let ignored = match image {
        Some(_) => Vec::new(),
        None => root_file(src, ".slugignore")?.unwrap_or_default(),
    };
    let mut checker = Checker {
        ignored: Ignored::parse(&ignored),
        report: Report {
            buildpacks: buildpacks.and_then(|bytes| String::from_utf8(bytes).ok()),
            image,
            ..Report::default()
        },
    };
    checker.folder(src, &[], 0)?;
    checker.report.root_names =
        root_names(fs::read_dir(src).map_err(failed("look at the source"))?)
            .map_err(failed("look at the source"))?;
    Ok(checker.report)
}

/// The Dockerfile in the root, if there is one.
fn image(src: &Path) -> Result<Option<Image>, SourceError> {
    let read = |name: &str| root_file_within(src, name, IMAGE_FILE_MAX_BYTES);
    for name in DOCKERFILES {
        let Some(text) = read(name)? else {
            continue;
        };
        let ignored = match read(&format!("{name}.dockerignore"))? {
            Some(own) => own,
            None => read(".dockerignore")?.unwrap_or_default(),
        };
        let max_bytes = model::limits::PROCFILE_MAX_BYTES as u64 + 1;
        return Ok(Some(Image {
            procfile: root_file_within(src, "Procfile", max_bytes)?,
            ..Image::new(name, &text, &ignored)
        }));
    }
    Ok(None)
}

/// The beginning of a file in the root.
fn root_file(src: &Path, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
    root_file_within(src, name, slugignore::MAX_BYTES as u64)
}

fn root_file_within(
    src: &Path,
    name: &str,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, SourceError> {
    let path = src.join(name);
    if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = set_mode(&path, 0o644).and_then(|()| {
        let file = File::open(&path)?;
        file.take(max_bytes).read_to_end(&mut bytes)
    });
    read.map_err(failed("read a file of the source"))?;
    Ok(Some(bytes))
}

struct Checker {
    ignored: Ignored,
    report: Report,
}

impl Checker {
    fn folder(&mut self, folder: &Path, in_tree: &[u8], depth: usize) -> Result<(), SourceError> {
        let entries = fs::read_dir(folder).map_err(failed("look at the source"))?;
        for entry in entries {
            let entry = entry.map_err(failed("look at the source"))?;
            let name = entry.file_name();
            let mut path = in_tree.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            names::check(name.as_bytes()).map_err(|fault| hostile(&path, fault))?;
            self.entry(&entry.path(), &path, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, at: &Path, path: &[u8], depth: usize) -> Result<(), SourceError> {
        let meta = fs::symlink_metadata(at).map_err(failed("look at the source"))?;
        if self.ignored.matches(path, meta.is_dir()) {
            let removed = if meta.is_dir() {
                fs::remove_dir_all(at)
            } else {
                fs::remove_file(at)
            };
            return removed.map_err(failed("remove what .slugignore names"));
        }
        self.report.entries += 1;
        // Of all that stays the newest: the same archive makes the same slug.
        let time_s = u64::try_from(meta.mtime()).unwrap_or(0);
        self.report.time_s = self.report.time_s.max(time_s);
        if meta.is_dir() {
            return self.folder(at, path, depth + 1);
        }
        if meta.is_symlink() {
            let target = fs::read_link(at).map_err(failed("look at the source"))?;
            return names::check_link(target.as_os_str().as_bytes(), depth)
                .map_err(|fault| hostile(path, fault));
        }
        self.report.size_bytes += meta.len();
        let is_program = meta.mode() & 0o100 != 0;
        set_mode(at, if is_program { 0o755 } else { 0o644 })
            .map_err(failed("set the mode of a file"))
    }
}

fn hostile(path: &[u8], fault: Hostile) -> SourceError {
    let text = String::from_utf8_lossy(path);
    let plain = |c: char| if c.is_control() { '?' } else { c };
    SourceError::Hostile {
        path: text.chars().map(plain).take(300).collect(),
        fault,
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Hashes and counts what is read through it.
struct Hashed<R> {
    inner: R,
    hasher: Hasher,
    size_bytes: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        self.size_bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
