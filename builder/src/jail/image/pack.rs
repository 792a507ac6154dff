//! The upper folder of an overlay -> a layer's blob: tar and zstd to standard output. The report
//! goes to standard error, since the output is the blob.

use artifact::hash::Hasher;
use model::digest::Digest;
use serde::{Deserialize, Serialize};
use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd as _;
use std::path::Path;

/// zstd's level: somebody waits for a push, and the disk is large (see `artifact::pack`).
const LEVEL: i32 = 1;

/// What was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Of the tar.
    pub diff_id: Digest,
    /// Bytes of all files.
    pub size_bytes: u64,
}

/// Hashes on the way.
struct Hashing<W: Write> {
    out: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Packs `/src`.
pub(crate) fn run(epoch_s: Option<u64>) -> Result<(), Box<dyn StdError>> {
    let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let encoder = zstd::Encoder::new(out, LEVEL)?;
    let hashing = Hashing {
        out: encoder,
        hasher: Hasher::new(),
    };
    let mut buffered = BufWriter::with_capacity(256 * 1024, hashing);
    let packed = artifact::layer::pack(Path::new(crate::jail::SRC), epoch_s, &mut buffered)?;
    let hashing = buffered
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    hashing.out.finish()?.flush()?;
    let report = Report {
        diff_id: hashing.hasher.finish(),
        size_bytes: packed.size_bytes,
    };
    serde_json::to_writer(io::stderr().lock(), &report)?;
    Ok(())
}
