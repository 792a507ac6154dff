//! An archive of an image on standard input -> its files under numbers in `/dest/image`.

use crate::image::import::FOLDER;
use crate::jail::{DEST, checkout, say};
use artifact::hash::Hasher;
use artifact::image::foreign;
use model::digest::Digest;
use std::error::Error as StdError;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::path::Path;

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Takes the archive, whose sha256 has to be the digest.
pub(crate) fn run(checksum: Option<&str>) -> Result<(), Box<dyn StdError>> {
    let said = checksum.map(Digest::parse).transpose()?;
    let volume = Path::new(DEST);
    checkout::prepare(volume)?;
    let folder = volume.join(FOLDER);
    fs::create_dir(&folder)?;
    let mut archive = Hashing {
        inner: File::from(io::stdin().as_fd().try_clone_to_owned()?),
        hasher: Hasher::new(),
    };
    let found = foreign::take(&mut archive, &folder);
    // What stands behind the archive's end belongs to its checksum.
    io::copy(&mut archive, &mut io::sink())?;
    let is = archive.hasher.finish();
    if said.is_some_and(|said| said != is) {
        return Err(format!("the archive's checksum is {is} and not the one of the upload").into());
    }
    say(&found?)
}
