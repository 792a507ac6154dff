//! The entries of a layer's tar, parsed once: paths are relative, plain and bounded from here on.

use crate::layer::{ATTRIBUTE_MAX_BYTES, KERNELS, META, OPAQUE_NAME, PAX_ATTRIBUTE, WHITEOUT};
use crate::unpack::entry::{RelativePath, pax_record};
use crate::unpack::{UnpackError, refused};
use model::limits::PACKED_PATH_MAX_BYTES;
use std::io::{self, Read};
use tar::{Archive, EntryType};

/// Bytes of the extension records before one entry. Ours: paths and some attributes.
const EXTENSION_MAX_BYTES: u64 = 1024 * 1024;
/// Count of extension records before one entry.
const EXTENSIONS_MAX: usize = 8;
/// The largest id inside a sandbox.
const ID_MAX: u64 = 0xffff;

/// One thing to be made, or hidden.
pub(super) struct Entry<'a, R: Read> {
    pub(super) path: RelativePath,
    pub(super) kind: Kind,
    pub(super) facts: Facts,
    /// Bytes of a file; of all else 0.
    pub(super) size_bytes: u64,
    pub(super) content: tar::Entry<'a, R>,
}

/// What is to be made.
pub(super) enum Kind {
    Folder,
    File,
    Symlink {
        target: Vec<u8>,
    },
    Link {
        target: RelativePath,
    },
    Pipe,
    /// A name of the layers below is gone.
    Hidden {
        folder: RelativePath,
        name: Vec<u8>,
    },
    /// All of the layers below is gone from this folder.
    Opaque {
        folder: RelativePath,
    },
    /// A leftover of old tools.
    Nothing,
}

/// Whose it is, and so on.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime_s: i64,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
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
    uid: Option<u64>,
    gid: Option<u64>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
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
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn pax(&mut self, raw: tar::Entry<'_, impl Read>) -> Result<(), UnpackError> {
        let records = self.read(raw)?;
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let Some((key, value, after)) = pax_record(rest) else {
                return Err(refused(b"?", "its PAX record is malformed"));
            };
            let number = || std::str::from_utf8(value).ok()?.parse().ok();
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"uid" => self.uid = number(),
                b"gid" => self.gid = number(),
                b"size" => return Err(refused(b"?", "its PAX record changes its size")),
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(refused(b"?", "it is a sparse file"));
                }
                _ => self.attribute(key, value),
            }
            rest = after;
        }
        Ok(())
    }

    /// Keeps an attribute of the user's; all others are dropped.
    fn attribute(&mut self, key: &[u8], value: &[u8]) {
        let Some(name) = key.strip_prefix(PAX_ATTRIBUTE) else {
            return;
        };
        let is_users = name.starts_with(b"user.") && !name.starts_with(KERNELS);
        if is_users && !name.contains(&0) && value.len() <= ATTRIBUTE_MAX_BYTES {
            self.attributes.push((name.to_vec(), value.to_vec()));
        }
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
            return Err(UnpackError::Archive(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }
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
    let path = relative(&name)?;
    let target = match extensions.target {
        Some(target) => target,
        None => header.link_name_bytes().unwrap_or_default().into_owned(),
    };
    let archive = UnpackError::Archive;
    let id = |said: Option<u64>, header: io::Result<u64>| {
        let id = said.map_or(header, Ok).map_err(archive)?;
        if id > ID_MAX {
            return Err(refused(&name, "its owner is an id above 65535"));
        }
        Ok(u32::try_from(id).unwrap_or_default())
    };
    let facts = Facts {
        mode: header.mode().map_err(archive)? & 0o7777,
        uid: id(extensions.uid, header.uid())?,
        gid: id(extensions.gid, header.gid())?,
        mtime_s: i64::try_from(header.mtime().map_err(archive)?).unwrap_or_default(),
        attributes: extensions.attributes,
    };
    let kind = kind(header.entry_type(), &name, &path, target)?;
    let is_file = matches!(kind, Kind::File);
    let size_bytes = raw.size();
    if matches!(kind, Kind::Link { .. } | Kind::Folder) && size_bytes != 0 {
        return Err(refused(&name, "it has content and is no file"));
    }
    Ok(Entry {
        path,
        kind,
        facts,
        size_bytes: if is_file { size_bytes } else { 0 },
        content: raw,
    })
}

/// `/x`, `./x` and `x` are the same in a layer.
fn relative(name: &[u8]) -> Result<RelativePath, UnpackError> {
    let slashes = name.iter().take_while(|byte| **byte == b'/').count();
    RelativePath::parse(name.get(slashes..).unwrap_or_default())
}

fn kind(
    entry_type: EntryType,
    name: &[u8],
    path: &RelativePath,
    target: Vec<u8>,
) -> Result<Kind, UnpackError> {
    if let Some((folder, last)) = path.split()
        && last.starts_with(WHITEOUT)
    {
        let folder = RelativePath::parse(folder)?;
        return hidden(folder, last, name);
    }
    match entry_type {
        EntryType::Directory => Ok(Kind::Folder),
        // Before POSIX a folder was a file with a slash at its end.
        EntryType::Regular if name.ends_with(b"/") => Ok(Kind::Folder),
        EntryType::Regular | EntryType::Continuous => Ok(Kind::File),
        EntryType::Symlink => {
            if target.is_empty() || target.contains(&0) || target.len() > PACKED_PATH_MAX_BYTES {
                return Err(refused(name, "it is a link to no possible path"));
            }
            Ok(Kind::Symlink { target })
        }
        EntryType::Link => Ok(Kind::Link {
            target: relative(&target)?,
        }),
        EntryType::Fifo => Ok(Kind::Pipe),
        EntryType::Char | EntryType::Block => Err(refused(name, "it is a device")),
        EntryType::GNUSparse => Err(refused(name, "it is a sparse file")),
        _ => Err(refused(name, "it is of an unknown kind")),
    }
}

fn hidden(folder: RelativePath, last: &[u8], name: &[u8]) -> Result<Kind, UnpackError> {
    if last == OPAQUE_NAME {
        return Ok(Kind::Opaque { folder });
    }
    if last.starts_with(META) {
        return Ok(Kind::Nothing);
    }
    let gone = last.get(WHITEOUT.len()..).unwrap_or_default();
    if gone.is_empty() || gone == b"." || gone == b".." {
        return Err(refused(name, "it hides no possible name"));
    }
    let name = gone.to_vec();
    Ok(Kind::Hidden { folder, name })
}
