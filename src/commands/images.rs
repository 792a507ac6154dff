//! `images:export`, `images:import`.

mod place;
mod receive;

use super::builds::{self, Archive};
use crate::app::Choice;
use crate::client::Client;
use crate::failure::{Failure, chain};
use crate::output;
use artifact::image::received;
use place::{Place, Scratch};
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// App by name
    app: String,
    /// Where to: "oci:DIR", a new folder, or "docker-archive:FILE", for `docker load`
    #[arg(long, value_name = "PLACE")]
    to: Place,
}

impl Export {
    /// The app.
    pub(crate) fn app(&self) -> Choice {
        Choice::named(&self.app)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// App by name
    app: String,
    /// Where from: "oci:DIR", or "docker-archive:FILE" as `docker save` writes it
    from: Place,
    /// What to call it, such as its tag
    #[arg(long)]
    version: Option<String>,
}

impl Import {
    /// The app.
    pub(crate) fn app(&self) -> Choice {
        Choice::named(&self.app)
    }
}

/// Uploads an image, and follows its release to its end.
pub(crate) async fn import(client: &Client, args: &Import) -> Result<(), Failure> {
    let archive = match &args.from {
        Place::Oci(folder) => Archive::whole(folder)?,
        Place::DockerArchive(file) => Archive::file(file)?,
    };
    let app = args.app();
    let named = ("image", args.version.as_deref());
    let source = builds::upload(client, &app, archive, named).await?;
    let path = format!("/paas{}", app.path("/images")?);
    builds::order(client, &app, &path, &source).await
}

/// Writes the image that serves to a folder or a file.
pub(crate) async fn export(client: &Client, args: &Export) -> Result<(), Failure> {
    let target = args.to.path();
    place::is_free(target)?;
    let app = args.app();
    let body = client
        .download(&format!("/paas{}", app.path("/image")?))
        .await?;
    output::begin_aside(&format!("Exporting {}... ", args.app));
    let scratch = Scratch::beside(target)?;
    let layout = scratch.folder("layout")?;
    let done = async {
        receive::receive(body, &layout).await?;
        let name = received::name(&layout).map_err(unusable)?;
        match &args.to {
            Place::Oci(_) => fs::rename(&layout, target)?,
            Place::DockerArchive(_) => {
                let tag = format!("{}:{name}", args.app);
                docker_archive(&layout, &tag, &scratch)?;
            }
        }
        Ok::<_, Failure>(name)
    };
    let name = done.await.inspect_err(|_| output::aside("failed"))?;
    if let Place::DockerArchive(_) = &args.to {
        fs::rename(scratch.path("archive"), target)?;
    }
    output::aside(&format!("{name} is in {}", args.to));
    Ok(())
}

fn docker_archive(layout: &Path, tag: &str, scratch: &Scratch) -> Result<(), Failure> {
    let plain = scratch.folder("plain")?;
    let mut out = BufWriter::with_capacity(256 * 1024, File::create(scratch.path("archive"))?);
    received::docker_archive(layout, tag, &plain, &mut out).map_err(unusable)?;
    Ok(out.flush()?)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what map_err gives away"
)]
fn unusable(error: received::ReceivedError) -> Failure {
    Failure::new(format!("failed to {}", chain(&error)))
}
