//! Runs the short scripts of buildpacks and says what they said: `bin/detect`, `bin/release`.
//!
//! Their output is held in memory, which the job bounds, and cut before it is passed on.

use model::limits::PROCFILE_MAX_BYTES;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the app is, in every step of a build.
pub const BUILD_DIR: &str = "/tmp/build";
/// Where buildpack N is: `/tmp/buildpacks/N`.
pub const BUILDPACKS: &str = "/tmp/buildpacks";
/// Bytes of a script's output that are passed on.
const OUTPUT_MAX_BYTES: usize = 64 * 1024;

/// What a script said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// 0 if it did not fail.
    pub exit_code: i32,
    /// The beginning of its standard output.
    pub stdout: String,
    /// The beginning of its standard error.
    pub stderr: String,
}

/// What a build came to, as far as it decides how the app runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The Procfile, one byte more than it may have if it is longer; none if there is none.
    pub procfile: Option<Vec<u8>>,
    /// What `bin/release` of the last buildpack said; none if it has none.
    pub release: Option<Said>,
}

/// Runs `bin/detect` of the given buildpacks, in order, up to the first that says yes: as many
/// answers as were asked, the last of them may be the yes.
pub fn detect(indices: &[u64]) -> io::Result<Vec<Said>> {
    let mut all = Vec::new();
    for index in indices {
        let buildpack = folder(*index);
        make_executable(&buildpack)?;
        let said = run(&buildpack, "detect");
        let is_yes = said.exit_code == 0;
        all.push(said);
        if is_yes {
            break;
        }
    }
    Ok(all)
}

/// Reads the Procfile and runs `bin/release` of one buildpack.
pub fn outcome(index: u64) -> io::Result<Outcome> {
    let buildpack = folder(index);
    let release = if buildpack.join("bin/release").exists() {
        Some(run(&buildpack, "release"))
    } else {
        None
    };
    Ok(Outcome {
        procfile: procfile(&Path::new(BUILD_DIR).join("Procfile"))?,
        release,
    })
}

fn procfile(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // A pipe would keep us waiting; a link to a file of the app is fine.
    if !fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let max_bytes = PROCFILE_MAX_BYTES as u64 + 1;
    File::open(path)?.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn folder(index: u64) -> PathBuf {
    Path::new(BUILDPACKS).join(index.to_string())
}

/// The platform makes all scripts executable: archives and some gits lose the bit.
fn make_executable(buildpack: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(buildpack.join("bin")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let meta = entry.metadata()?;
        let mode = meta.permissions().mode();
        if meta.is_file() && mode & 0o111 != 0o111 {
            fs::set_permissions(entry.path(), Permissions::from_mode(mode | 0o755))?;
        }
    }
    Ok(())
}

fn run(buildpack: &Path, script: &str) -> Said {
    let result = Command::new(buildpack.join("bin").join(script))
        .arg(BUILD_DIR)
        .current_dir(buildpack)
        .stdin(Stdio::null())
        .output();
    match result {
        Ok(output) => Said {
            exit_code: output.status.code().unwrap_or(128),
            stdout: cut(&output.stdout),
            stderr: cut(&output.stderr),
        },
        // As a shell says it: 127 not found, 126 cannot be run.
        Err(error) => Said {
            exit_code: if error.kind() == io::ErrorKind::NotFound {
                127
            } else {
                126
            },
            stdout: String::new(),
            stderr: format!("bin/{script}: {error}"),
        },
    }
}

fn cut(bytes: &[u8]) -> String {
    let bytes = bytes.get(..OUTPUT_MAX_BYTES).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}
