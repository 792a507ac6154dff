//! The entries of a tar, parsed once: from here on a path is relative, plain and bounded.
//!
//! The tar crate reads blocks and checks sums; long names (GNU `L`, `K`, PAX `x`) are put together
//! here because the crate reads them into memory whatever their size.

use super::{UnpackError, refused};
use model::limits::{PACKED_DEPTH_MAX, PACKED_PATH_MAX_BYTES};
use std::io::Read;
use tar::{Archive, EntryType, Header};

/// Bytes of the extension records before one entry: two long paths and what else PAX may say.
const EXTENSION_MAX_BYTES: u64 = 64 * 1024;
/// Count of extension records before one entry; GNU tar writes two, PAX one, and a global one.
const EXTENSIONS_MAX: usize = 8;

/// One thing to be made.
pub(super) struct Entry<'a, R: Read> {
    pub(super) path: RelativePath,
    pub(super) kind: Kind,
    /// Unix time.
    pub(super) mtime_s: u64,
    /// Bytes of a file; of all else 0.
    pub(super) size_bytes: u64,
    pub(super) content: tar::Entry<'a, R>,
}

/// What is to be made.
pub(super) enum Kind {
    Folder,
    File { mode: u32 },
    Symlink { target: Vec<u8> },
    Link { target: RelativePath },
}

impl<R: Read> Entry<'_, R> {
    pub(super) fn too_large(&self, max: u64, what: &'static str) -> UnpackError {
        UnpackError::TooLarge {
            path: self.path.shown(),
            max,
            what,
        }
    }
}

/// A path below the destination: no `..`, no `.`, no empty part, not absolute. Empty: the
/// destination itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelativePath(Vec<u8>);

impl RelativePath {
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, UnpackError> {
        if raw.first() == Some(&b'/') {
            return Err(refused(raw, "its name is absolute"));
        }
        if raw.contains(&0) {
            return Err(refused(raw, "its name contains a zero byte"));
        }
        let mut path = Vec::with_capacity(raw.len());
        let mut depth = 0;
        for part in raw.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return Err(refused(raw, "its name contains ..")),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
            depth += 1;
        }
        // The entry and the folder that everything is in do not count.
        if depth > PACKED_DEPTH_MAX + 2 || path.len() > PACKED_PATH_MAX_BYTES {
            return Err(refused(raw, "its name is too long"));
        }
        Ok(Self(path))
    }

    /// The folder and the name in it; none for the destination itself.
    pub(crate) fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (
                self.0.get(..slash).unwrap_or_default(),
                self.0.get(slash + 1..).unwrap_or_default(),
            ),
            None => (&[], &self.0),
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn shown(&self) -> String {
        crate::shown::path(&self.0)
    }
}

/// Reads entry after entry.
pub(super) struct Entries<'a, R: Read> {
    raw: tar::Entries<'a, R>,
}

/// What extension records said about the entry to come.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    bytes: u64,
}

impl<'a, R: Read> Entries<'a, R> {
    pub(super) fn new(archive: &'a mut Archive<R>) -> Result<Self, UnpackError> {
        let raw = archive.entries().map_err(UnpackError::Archive)?.raw(true);
        Ok(Self { raw })
    }

    pub(super) fn next(&mut self) -> Result<Option<Entry<'a, R>>, UnpackError> {
        let mut extensions = Extensions::default();
        for _ in 0..=EXTENSIONS_MAX {
            let Some(raw) = self.raw.next().transpose().map_err(UnpackError::Archive)? else {
                return Ok(None);
            };
            match raw.header().entry_type() {
                EntryType::GNULongName => extensions.path = Some(extensions.name(raw)?),
                EntryType::GNULongLink => extensions.target = Some(extensions.name(raw)?),
                EntryType::XHeader => extensions.pax(raw)?,
                EntryType::XGlobalHeader => {
                    extensions.read(raw)?;
                }
                _ => return entry(raw, extensions).map(Some),
            }
        }
        Err(refused(b"?", "too many extension records stand before it"))
    }
}

impl Extensions {
    /// A long name without the zero at its end.
    fn name(&mut self, raw: tar::Entry<'_, impl Read>) -> Result<Vec<u8>, UnpackError> {
        let mut name = self.read(raw)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// Takes `path` and `linkpath` of PAX records; what changes sizes is refused, all else ignored.
    fn pax(&mut self, raw: tar::Entry<'_, impl Read>) -> Result<(), UnpackError> {
        let records = self.read(raw)?;
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let Some((key, value, after)) = pax_record(rest) else {
                return Err(refused(b"?", "its PAX record is malformed"));
            };
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => return Err(refused(b"?", "its PAX record changes its size")),
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(refused(b"?", "it is a sparse file"));
                }
                _ => {}
            }
            rest = after;
        }
        Ok(())
    }

    fn read(&mut self, raw: tar::Entry<'_, impl Read>) -> Result<Vec<u8>, UnpackError> {
        let size_bytes = raw.size();
        self.bytes = self.bytes.saturating_add(size_bytes);
        if self.bytes > EXTENSION_MAX_BYTES {
            return Err(refused(
                b"?",
                "the extension records before it are too long",
            ));
        }
        let mut bytes = Vec::new();
        raw.take(EXTENSION_MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(UnpackError::Archive)?;
        if bytes.len() as u64 != size_bytes {
            return Err(UnpackError::Archive(
                std::io::ErrorKind::UnexpectedEof.into(),
            ));
        }
        Ok(bytes)
    }
}

/// Takes one record `LENGTH KEY=VALUE\n` off the front (pax(1), extended header).
pub(crate) fn pax_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(8).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(bytes.get(..space)?)
        .ok()?
        .parse()
        .ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((
        record.get(..equals)?,
        record.get(equals + 1..)?,
        bytes.get(length..)?,
    ))
}

fn entry<R: Read>(
    raw: tar::Entry<'_, R>,
    extensions: Extensions,
) -> Result<Entry<'_, R>, UnpackError> {
    let header = raw.header();
    let name = match extensions.path {
        Some(name) => name,
        None => header.path_bytes().into_owned(),
    };
    let path = RelativePath::parse(&name)?;
    let target = match extensions.target {
        Some(target) => target,
        None => header.link_name_bytes().unwrap_or_default().into_owned(),
    };
    let kind = kind(header, &name, target)?;
    let mtime_s = header.mtime().map_err(UnpackError::Archive)?;
    let is_file = matches!(kind, Kind::File { .. });
    let size_bytes = raw.size();
    if !is_file && size_bytes != 0 {
        return Err(refused(&name, "it has content and is no file"));
    }
    Ok(Entry {
        path,
        kind,
        mtime_s,
        size_bytes,
        content: raw,
    })
}

fn kind(header: &Header, name: &[u8], target: Vec<u8>) -> Result<Kind, UnpackError> {
    let mode = header.mode().map_err(UnpackError::Archive)?;
    match header.entry_type() {
        EntryType::Directory => Ok(Kind::Folder),
        // Before POSIX a folder was a file with a slash at its end.
        EntryType::Regular if name.ends_with(b"/") => Ok(Kind::Folder),
        EntryType::Regular | EntryType::Continuous => {
            if mode & 0o6000 != 0 {
                return Err(refused(name, "it is setuid or setgid"));
            }
            Ok(Kind::File { mode: mode & 0o777 })
        }
        EntryType::Symlink => {
            if target.is_empty() || target.contains(&0) || target.len() > PACKED_PATH_MAX_BYTES {
                return Err(refused(name, "it is a link to no possible path"));
            }
            Ok(Kind::Symlink { target })
        }
        EntryType::Link => Ok(Kind::Link {
            target: RelativePath::parse(&target)?,
        }),
        EntryType::Char | EntryType::Block => Err(refused(name, "it is a device")),
        EntryType::Fifo => Err(refused(name, "it is a named pipe")),
        EntryType::GNUSparse => Err(refused(name, "it is a sparse file")),
        _ => Err(refused(name, "it is of an unknown kind")),
    }
}
