//! A slug on the node: its blobs unpacked onto the shelf, once, in a jailed child.

use crate::command::Site;
use crate::nursery::Nursery;
use artifact::{Blobs, Shelf};
use model::digest::Digest;
use model::slug::Manifest;
use sandbox::{Base, Kind, Limits, Mount, Network, Place, Secrets, Spec, Upper};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::Mutex;

/// The time one blob may take, and the memory that the unpacking child may use.
const UNPACK_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(2);
const UNPACK_MEMORY_MAX_BYTES: u64 = 512 * 1024 * 1024;

/// Why a slug cannot be had on this node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SlugError {
    /// A blob is not there or cannot be read.
    #[error("open the blob {digest}: {reason}")]
    Blob { digest: Digest, reason: String },
    /// The shelf cannot be used.
    #[error("use the shelf: {0}")]
    Shelf(String),
    /// The child could not be started.
    #[error("start the unpacking of {digest}")]
    Start {
        digest: Digest,
        source: sandbox::Error,
    },
    /// The child refused the blob.
    #[error("unpack {digest}: {reason}")]
    Unpack { digest: Digest, reason: String },
}

/// Blobs and shelf of the node.
#[derive(Clone, Debug)]
pub(crate) struct Slugs {
    blobs: Blobs,
    shelf: Shelf,
    nursery: Nursery,
    /// Whose root file system the unpacking of a layer runs in.
    stack: String,
    /// One unpacking at a time: the second dyno of a release finds what the first one made.
    turn: Arc<Mutex<()>>,
}

impl Slugs {
    /// Opens both.
    pub(crate) fn open(config: &link::config::Config, nursery: Nursery) -> Result<Self, SlugError> {
        let data = &config.data_dir;
        let blobs =
            Blobs::open(&data.join("blobs")).map_err(|e| SlugError::Shelf(e.to_string()))?;
        let (shelf, leftovers) =
            Shelf::open(&data.join("shelf")).map_err(|e| SlugError::Shelf(e.to_string()))?;
        for name in leftovers.names {
            tracing::info!(
                name,
                "an unpacked blob of an earlier boot waits for its removal"
            );
        }
        Ok(Self {
            blobs,
            shelf,
            nursery,
            stack: config.default_stack.clone(),
            turn: Arc::default(),
        })
    }

    /// Makes sure that a slug is unpacked and says where.
    pub(crate) async fn site(&self, slot: u16, slug: &Manifest) -> Result<Site, SlugError> {
        let _turn = self.turn.lock().await;
        if let Some(image) = &slug.image {
            let mut layers = Vec::with_capacity(image.layers.len());
            for layer in image.layers.iter().rev() {
                layers.push(self.unpacked(Form::Layer, layer.digest).await?);
            }
            return Ok(Site {
                slot,
                app: String::new(),
                image: layers,
                layers: Vec::new(),
            });
        }
        let form = Form::Slug(&slug.stack);
        let app = self.unpacked(form, slug.app.digest).await?;
        let mut layers = Vec::with_capacity(slug.layers.len());
        for layer in &slug.layers {
            layers.push((
                layer.name.clone(),
                self.unpacked(form, layer.blob.digest).await?,
            ));
        }
        Ok(Site {
            slot,
            app,
            image: Vec::new(),
            layers,
        })
    }

    async fn unpacked(&self, form: Form<'_>, digest: Digest) -> Result<String, SlugError> {
        let refused = |error: artifact::shelf::ShelfError| SlugError::Shelf(error.to_string());
        if self.shelf.path(&digest).map_err(refused)?.is_some() {
            return Ok(digest.hex());
        }
        let blob = self.blobs.file(&digest).map_err(|e| SlugError::Blob {
            digest,
            reason: e.to_string(),
        })?;
        let filling = self.shelf.begin(&digest).map_err(refused)?;
        let spec = self.unpack_spec(form, &filling.name(), &digest);
        match self.run(spec, OwnedFd::from(blob), digest).await {
            Ok(size_bytes) => {
                self.shelf.finish(filling, size_bytes).map_err(refused)?;
                Ok(digest.hex())
            }
            Err(error) => {
                self.shelf.discard(filling).map_err(refused)?;
                Err(error)
            }
        }
    }

    /// Runs the child; its output tells the bytes that it unpacked, or why it refused.
    async fn run(&self, spec: Spec, blob: OwnedFd, digest: Digest) -> Result<u64, SlugError> {
        let io = |e: std::io::Error| SlugError::Unpack {
            digest,
            reason: e.to_string(),
        };
        let (output, mut said) = output_pipe().map_err(io)?;
        let errors = output.try_clone().map_err(io)?;
        let secrets = Secrets {
            env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
            files: [].into(),
        };
        let started = self
            .nursery
            .start(spec, secrets, vec![blob, output, errors])
            .await
            .map_err(|source| SlugError::Start { digest, source })?;
        let exit = started
            .exit
            .ok_or_else(|| io(std::io::ErrorKind::InvalidData.into()))?;
        let wait = async {
            let mut text = String::new();
            (&mut said)
                .take(64 * 1024)
                .read_to_string(&mut text)
                .await?;
            let mut ended = String::new();
            pipe::Receiver::from_owned_fd(exit)?
                .take(4096)
                .read_to_string(&mut ended)
                .await?;
            Ok::<_, std::io::Error>((text, ended))
        };
        let (text, ended) = tokio::time::timeout(UNPACK_TIMEOUT, wait)
            .await
            .map_err(|_| SlugError::Unpack {
                digest,
                reason: "it took too long".to_owned(),
            })?
            .map_err(io)?;
        if !ended
            .lines()
            .any(|line| line == "exit 0" || line.starts_with("exit 0 "))
        {
            let reason = format!("{} ({})", text.trim(), ended.trim());
            return Err(SlugError::Unpack { digest, reason });
        }
        let report: Unpacked =
            serde_json::from_str(text.trim()).map_err(|error| SlugError::Unpack {
                digest,
                reason: format!("its report cannot be read: {error}"),
            })?;
        Ok(report.size_bytes)
    }
}

/// What `paas jail unpack` says.
#[derive(serde::Deserialize)]
struct Unpacked {
    size_bytes: u64,
}

fn output_pipe() -> std::io::Result<(OwnedFd, pipe::Receiver)> {
    let (sender, receiver) = pipe::pipe()?;
    Ok((sender.into_blocking_fd()?, receiver))
}

/// What a blob is.
#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    /// Files of one user, for this stack.
    Slug(&'a str),
    /// A layer of an image: owners and modes are kept, so that inside root unpacks it.
    Layer,
}

impl Slugs {
    fn unpack_spec(&self, form: Form<'_>, name: &str, digest: &Digest) -> Spec {
        let (stack, command, id) = match form {
            Form::Slug(stack) => (stack, "unpack", 1000),
            Form::Layer => (self.stack.as_str(), "unpack-layer", 0),
        };
        unpack_spec((stack, command, id), name, digest)
    }
}

fn unpack_spec((stack, command, id): (&str, &str, u32), name: &str, digest: &Digest) -> Spec {
    Spec {
        id: format!("unpack-{}", digest.short()),
        kind: Kind::Job,
        hostname: "unpack".to_owned(),
        lowers: vec![Place {
            base: Base::Stack,
            path: format!("{stack}/run"),
        }],
        upper: Upper::ReadOnly,
        mounts: vec![
            Mount::Bind {
                from: Place {
                    base: Base::Program,
                    path: "paas".to_owned(),
                },
                to: "/paas".to_owned(),
                write: false,
            },
            Mount::Bind {
                from: Place {
                    base: Base::Data,
                    path: format!("shelf/{name}"),
                },
                to: "/dest".to_owned(),
                write: true,
            },
        ],
        argv: ["/paas", "jail", command].map(str::to_owned).to_vec(),
        cwd: "/".to_owned(),
        uid: id,
        gid: id,
        limits: Limits {
            memory_max_bytes: UNPACK_MEMORY_MAX_BYTES,
            pids_max: 16,
            cpu_weight: 100,
        },
        network: Network::None,
        terminal: None,
        watch_port: None,
        note: String::new(),
    }
}
