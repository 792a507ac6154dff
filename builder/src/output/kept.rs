//! Builds' outputs on disk: `journal/builder/<app id>/<build id>`, read by the api.
//!
//! Build ids are UUIDs of version 7, so that their names sort by age.

use journal::{Output, output};
use model::app;
use model::limits::BUILDS_KEPT;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What stands last in the output of a build that died with us.
const CUT: &[u8] = b" !     The platform's builder stopped. Nothing was changed, push again.\n";

/// The folder of outputs.
#[derive(Clone, Debug)]
pub(crate) struct Outputs {
    dir: PathBuf,
}

impl Outputs {
    /// Opens `journal/builder`, and ends what a process before us left without an end.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        for app in fs::read_dir(&dir)? {
            let app = app?;
            if !app.file_type()?.is_dir() {
                continue;
            }
            for build in sorted(&app.path())? {
                output::finish_left(&build, CUT).map_err(io::Error::other)?;
            }
        }
        Ok(Self { dir })
    }

    /// Starts the output of a build, and removes the oldest ones of the app.
    pub(crate) fn create(&self, app: app::Id, build: uuid::Uuid) -> io::Result<Output> {
        let dir = self.dir.join(app.to_string());
        match DirBuilder::new().mode(0o770).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
            Ok(()) => fs::set_permissions(&dir, Permissions::from_mode(0o2770))?,
        }
        let all = sorted(&dir)?;
        let excess = (all.len() + 1).saturating_sub(BUILDS_KEPT);
        for old in all.iter().take(excess) {
            fs::remove_file(old)?;
        }
        Output::create(&dir.join(build.to_string())).map_err(io::Error::other)
    }

    /// Removes all of an app.
    pub(crate) fn remove(&self, app: app::Id) -> io::Result<()> {
        match fs::remove_dir_all(self.dir.join(app.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Outputs of a folder, oldest first.
fn sorted(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_build = name
            .to_str()
            .and_then(|name| uuid::Uuid::parse_str(name).ok());
        if is_build.is_some() {
            all.push(entry.path());
        }
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_end_and_are_few() {
        let dir = std::env::temp_dir().join(format!("outputs-{}", uuid::Uuid::new_v4()));
        let outputs = Outputs::open(dir.clone()).unwrap();
        let app = app::Id::new(uuid::Uuid::new_v4());
        let builds: Vec<_> = (0..=BUILDS_KEPT).map(|_| uuid::Uuid::now_v7()).collect();
        for build in &builds {
            let mut output = outputs.create(app, *build).unwrap();
            output.append(b"x\n").unwrap();
        }
        let path = |build: &uuid::Uuid| dir.join(app.to_string()).join(build.to_string());
        assert!(!path(&builds[0]).exists());
        Outputs::open(dir.clone()).unwrap();
        let text = fs::read(path(&builds[1])).unwrap();
        assert_eq!(text, [b"x\n", CUT].concat());
        outputs.remove(app).unwrap();
        outputs.remove(app).unwrap();
        fs::remove_dir(dir).unwrap();
    }
}
