//! Sources of builds: what is uploaded to us, `DATA/sources/<id>`, and what a build's `source_blob`
//! means. `http::sources` takes and gives the bytes.
//!
//! An address of an upload names what may be done with it, its id and its last second, and is
//! signed. The builder opens the file itself; what is older than [`SOURCE_KEPT_S`] is removed.

use crate::clock::now_us;
use crate::platform::Platform;
use crate::records::{App, Build, SourceBlob};
use link::config::Config;
use model::digest::Digest;
use model::feed::{Place, Source};
use model::limits::{SOURCE_KEPT_S, SOURCE_UPLOAD_S};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// What ends the name of a file that is still being written.
pub(crate) const PART: &str = ".part";
/// Time between two looks for what is too old.
const PAUSE: Duration = Duration::from_secs(SOURCE_UPLOAD_S);

/// What an address is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// `put_url`
    Put,
    /// `get_url`
    Get,
}

impl Act {
    /// As it stands in the address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "put" => Some(Self::Put),
            "get" => Some(Self::Get),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }

    fn valid_s(self) -> u64 {
        match self {
            Self::Put => SOURCE_UPLOAD_S,
            Self::Get => SOURCE_KEPT_S,
        }
    }
}

/// A new address.
pub(crate) fn address(platform: &Platform, act: Act, id: Uuid) -> String {
    let until_s = now_us() / 1_000_000 + act.valid_s();
    let claim = claim(act, id, until_s);
    let signature = platform.keyring.sign(&claim);
    let base = platform.config.api_url();
    format!("{base}/streams/{claim}/{signature}")
}

/// Whether an address was made by us; whether its time is over is another question.
pub(crate) fn is_ours(
    platform: &Platform,
    (act, id, until_s): (Act, Uuid, u64),
    signature: &str,
) -> bool {
    let claim = claim(act, id, until_s);
    platform.keyring.is_signed(&claim, signature)
}

fn claim(act: Act, id: Uuid, until_s: u64) -> String {
    format!("sources/{}/{id}/{until_s}", act.name())
}

/// The folder of all uploads.
pub(crate) fn folder(config: &Config) -> PathBuf {
    config.data_dir.join("sources")
}

/// What a build is made of, as its builder is told.
pub(crate) fn of(platform: &Platform, app: &App, build: &Build) -> Source {
    let Some(blob) = &build.source else {
        return Source::Commit {
            commit: build.commit.clone(),
        };
    };
    match meaning(platform, app, blob) {
        Some(source) => source,
        // It was looked at when the build was asked for; a domain that changed since is no reason
        // to fetch our own address from outside.
        None => Source::Archive {
            at: Place::Uploaded { id: Uuid::nil() },
            version: blob.version.clone(),
            sha256: None,
        },
    }
}

/// What a `source_blob` means; none when its address looks like ours and is not.
pub(crate) fn meaning(platform: &Platform, app: &App, blob: &SourceBlob) -> Option<Source> {
    let config = &platform.config;
    if blob.url == config.git_url(&app.name) {
        let commit = blob.version.clone()?;
        let is_commit = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
        return is_commit.then_some(Source::Commit { commit });
    }
    let at = match blob.url.strip_prefix(&format!("{}/", config.api_url())) {
        Some(path) => uploaded(platform, path)?,
        None => Place::Elsewhere {
            url: blob.url.clone(),
        },
    };
    Some(Source::Archive {
        at,
        version: blob.version.clone(),
        sha256: blob.checksum.as_deref().and_then(sha256),
    })
}

fn uploaded(platform: &Platform, path: &str) -> Option<Place> {
    let parts: Vec<&str> = path.split('/').collect();
    let ["streams", "sources", "get", id, until_s, signature] = parts.as_slice() else {
        return None;
    };
    let id = Uuid::parse_str(id).ok()?;
    let claim = (Act::Get, id, until_s.parse().ok()?);
    is_ours(platform, claim, signature).then_some(Place::Uploaded { id })
}

/// `SHA256:<hex>`
pub(crate) fn sha256(checksum: &str) -> Option<Digest> {
    let (kind, hex) = checksum.split_once(':')?;
    if !kind.eq_ignore_ascii_case("sha256") {
        return None;
    }
    Digest::parse(&format!("sha256:{}", hex.to_ascii_lowercase())).ok()
}

/// Bytes of all uploads.
pub(crate) fn size_bytes(config: &Config) -> io::Result<u64> {
    let mut all = 0;
    for entry in files(&folder(config))? {
        all += entry.metadata().map_or(0, |meta| meta.len());
    }
    Ok(all)
}

fn files(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Removes what is too old, until the platform stops.
pub(crate) async fn upkeep(platform: Arc<Platform>) {
    let folder = folder(&platform.config);
    while !platform.stop.is_requested() {
        let all = folder.clone();
        let swept = tokio::task::spawn_blocking(move || sweep(&all, SystemTime::now()));
        if let Ok(Err(error)) = swept.await {
            crate::say::failed("remove old sources", &error);
        }
        tokio::select! {
            () = platform.stop.requested() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

fn sweep(folder: &Path, now: SystemTime) -> io::Result<()> {
    for file in files(folder)? {
        let Ok(meta) = file.metadata() else {
            continue; // It was renamed or removed meanwhile.
        };
        let is_part = file.file_name().to_string_lossy().ends_with(PART);
        let kept_s = if is_part {
            SOURCE_UPLOAD_S
        } else {
            SOURCE_KEPT_S
        };
        let age = now.duration_since(meta.modified()?).unwrap_or_default();
        if age > Duration::from_secs(kept_s) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums() {
        let hex = "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (text, is_good) in [
            (format!("SHA256:{hex}"), true),
            (format!("sha256:{hex}"), true),
            (format!("md5:{hex}"), false),
            (hex.to_owned(), false),
            ("SHA256:12".to_owned(), false),
        ] {
            assert_eq!(sha256(&text).is_some(), is_good, "{text}");
        }
    }

    #[test]
    fn old_uploads_go() {
        let folder = std::env::temp_dir().join(format!("sources-{}", Uuid::new_v4()));
        sweep(&folder, SystemTime::now()).unwrap();
        fs::create_dir(&folder).unwrap();
        for name in ["a", "b.part"] {
            fs::write(folder.join(name), "x").unwrap();
        }
        let names = || files(&folder).unwrap().len();
        let later = |s| SystemTime::now() + Duration::from_secs(s);
        sweep(&folder, later(SOURCE_UPLOAD_S - 60)).unwrap();
        assert_eq!(names(), 2);
        sweep(&folder, later(SOURCE_UPLOAD_S + 60)).unwrap();
        assert_eq!(names(), 1);
        sweep(&folder, later(SOURCE_KEPT_S + 60)).unwrap();
        assert_eq!(names(), 0);
        fs::remove_dir(&folder).unwrap();
    }
}
