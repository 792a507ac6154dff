//! A fresh folder per test, gone when the test ends.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder that nobody else uses.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("artifact-{}", crate::disk::random_name()));
        fs::create_dir(&path).expect("the folder for temporary files can be written to");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
