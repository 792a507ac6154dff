//! The upload of a source: an archive, or a folder that becomes one on its way.

use crate::client::{self, Client};
use crate::failure::Failure;
use bytes::Bytes;
use link::http::Body;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::sync::mpsc;

/// Bytes of one piece on the way.
const PIECE_BYTES: usize = 64 * 1024;

/// What is sent.
pub(crate) struct Archive {
    bytes: Box<dyn Read + Send>,
    /// Those who make it, if it is no file.
    makers: Vec<Child>,
}

impl Archive {
    /// An archive that is there.
    pub(crate) fn file(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
        Ok(Self {
            bytes: Box::new(file),
            makers: Vec::new(),
        })
    }

    /// A folder, all of it, as it is.
    pub(crate) fn whole(folder: &Path) -> Result<Self, Failure> {
        if !folder.is_dir() {
            return Err(Failure::new(format!("{} is no folder", folder.display())));
        }
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(folder).args(["-c", "."]);
        Self::of(tar.stdin(Stdio::null()), Vec::new())
    }

    /// A folder: in git's hands what git does not ignore, else all of it.
    pub(crate) fn folder(folder: &Path) -> Result<Self, Failure> {
        if !folder.is_dir() {
            return Err(Failure::new(format!("{} is no folder", folder.display())));
        }
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(folder).args(["--exclude-vcs", "-cz"]);
        let mut makers = Vec::new();
        if is_tracked(folder) {
            let mut git = Command::new("git");
            git.arg("-C").arg(folder);
            git.args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ]);
            let mut names = git.stdout(Stdio::piped()).spawn()?;
            tar.args([
                "--null",
                "--no-recursion",
                "--ignore-failed-read",
                "-T",
                "-",
            ]);
            if let Some(stdout) = names.stdout.take() {
                tar.stdin(stdout);
            }
            makers.push(names);
        } else {
            tar.arg(".").stdin(Stdio::null());
        }
        Self::of(&mut tar, makers)
    }

    /// What tar writes.
    fn of(tar: &mut Command, mut makers: Vec<Child>) -> Result<Self, Failure> {
        let mut tar = tar
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(format!("tar cannot be run: {error}")))?;
        let bytes = tar.stdout.take();
        makers.push(tar);
        Ok(Self {
            bytes: Box::new(bytes.ok_or_else(|| Failure::new("tar gives nothing"))?),
            makers,
        })
    }

    /// Sends it; returns its checksum as the API writes it.
    pub(crate) async fn send(self, client: &Client, url: &str) -> Result<String, Failure> {
        let (sender, receiver) = mpsc::channel(4);
        let Self { bytes, makers } = self;
        let reading = tokio::task::spawn_blocking(move || read(bytes, makers, &sender));
        let sent = client.put(url, Body::chunks(receiver)).await;
        let read = reading
            .await
            .map_err(|error| Failure::new(format!("the upload broke: {error}")))?;
        // A refusal closes the way of the bytes: it is the better reason.
        sent?;
        read.map_err(|error| Failure::new(format!("cannot read the source: {error}")))
    }
}

fn read(
    mut bytes: Box<dyn Read + Send>,
    makers: Vec<Child>,
    to: &mpsc::Sender<std::io::Result<Bytes>>,
) -> std::io::Result<String> {
    let mut hasher = artifact::hash::Hasher::new();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = bytes.read(&mut buffer)?;
        let piece = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
        if piece.is_empty() {
            break;
        }
        hasher.update(&piece);
        if to.blocking_send(Ok(piece)).is_err() {
            break;
        }
    }
    drop(bytes);
    for mut maker in makers {
        let status = maker.wait()?;
        if !status.success() {
            let failed = || std::io::Error::other(format!("tar or git failed ({status})"));
            // What arrives must not look whole; whoever listens no more knows already.
            to.blocking_send(Err(failed())).ok();
            return Err(failed());
        }
    }
    Ok(format!("SHA256:{}", hasher.finish().hex()))
}

fn is_tracked(folder: &Path) -> bool {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["rev-parse", "--is-inside-work-tree"])
        .output();
    output.is_ok_and(|output| output.stdout.starts_with(b"true"))
}

impl Client {
    /// PUT to an address that needs no token: it is the secret itself.
    async fn put(&self, url: &str, body: Body) -> Result<(), Failure> {
        let (http, path) = client::split(url)?;
        let request = http.request(http::Method::PUT, &path).body(body);
        let request = request.map_err(|error| Failure::usage(error.to_string()))?;
        let (head, body) = http.send(request).await?.into_parts();
        let bytes = client::read(body).await?;
        if head.status.is_success() {
            Ok(())
        } else {
            Err(self.refused(head.status.as_u16(), &bytes))
        }
    }
}
