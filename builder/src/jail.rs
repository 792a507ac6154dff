//! What the `paas` program does inside jobs: `paas jail COMMAND`. Not for people.
//!
//! Every decoding of strangers' bytes happens here, in a child of the nursery that sees its source
//! read-only and nothing else that it could write to but its destination. The commands are an
//! interface between the roles and this file, and stay as they are; dynod uses `unpack`, too.
//! Each exits with 0, or with 1 and one line of why on standard error.
//!
//! - `checkout COMMIT WAY`: from `/repo/objects`; a build's folders into `/dest`, the tree into its
//!   `src`; says [`checkout::Report`].
//! - `source WAY [DIGEST]`: the same of an archive on standard input, whose sha256 has to be the
//!   digest.
//! - `image`: a step of an image on files, see [`image`].
//! - `image-pack`: `/src`, a layer's folder, as a blob to standard output; says
//!   `image::pack::Report` on standard error.
//! - `image-archive [DIGEST]`: an image's archive on standard input, its files into `/dest/image`;
//!   says [`artifact::image::foreign::Found`].
//! - `unpack-layer`: a layer's blob from standard input into `/dest`; says [`Unpacked`].
//! - `pack PREFIX TIME_S`: `/src` as tar + zstd to standard output, `PREFIX/…` in it.
//! - `unpack`: tar + zstd from standard input into `/dest`; says [`Unpacked`].
//! - `copy MAX_BYTES`: `/src` into `/dest`, unless `/changes` is empty; says [`copy::Report`].
//! - `empty`: removes all that is in `/dest`.
//! - `detect N…`: `bin/detect` of `/tmp/buildpacks/N`, up to the first yes; says a list of
//!   [`buildpacks::Said`].
//! - `outcome N`: the Procfile, and `bin/release` of buildpack N; says [`buildpacks::Outcome`].
//! - `proc-receive`: git's hook, see [`crate::hook`].
//!
//! What they say is one line of JSON on standard output.

pub mod buildpacks;
pub mod checkout;
pub mod copy;
pub mod image;
pub mod names;
pub mod slugignore;
pub mod source;

use model::digest::Digest;
use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

/// Where a job finds the repository.
pub const REPO: &str = "/repo";
/// Where a job finds what it reads.
pub const SRC: &str = "/src";
/// Where a job writes.
pub const DEST: &str = "/dest";
/// Where `copy` finds what a build changed.
pub const CHANGES: &str = "/changes";
/// Where a job finds this program.
pub const PROGRAM: &str = "/paas";

/// Runs one command; `args` are those after `jail`.
pub fn run(args: &[String]) -> ExitCode {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["checkout", commit, way] => checkout(commit, way),
        ["source", way, checksum @ ..] => source(way, checksum),
        ["image"] => image::run(),
        ["image-pack"] => image::pack::run(None),
        ["image-archive", checksum @ ..] => image::archive::run(checksum.first().copied()),
        ["unpack-layer"] => unpack_layer(),
        ["pack", prefix, time_s] => pack(prefix, time_s),
        ["unpack"] => unpack(),
        ["copy", max_bytes] => parse(max_bytes).and_then(|max_bytes| {
            let (src, changes) = (Path::new(SRC), Path::new(CHANGES));
            let report = copy::copy(src, changes, Path::new(DEST), max_bytes)?;
            say(&report)
        }),
        ["empty"] => copy::empty(Path::new(DEST)).map_err(Into::into),
        ["detect", numbers @ ..] => {
            let numbers: Result<Vec<u64>, _> = numbers.iter().map(|n| parse(n)).collect();
            numbers.and_then(|numbers| say(&buildpacks::detect(&numbers)?))
        }
        ["outcome", number] => parse(number).and_then(|n| say(&buildpacks::outcome(n)?)),
        ["proc-receive", ..] => return crate::hook::run(),
        _ => Err("run a command of `paas jail`: there is no such command".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

/// What `unpack` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unpacked {
    /// Count of entries.
    pub entries: u64,
    /// Bytes of all files; what `artifact::Shelf::finish` wants to know.
    pub size_bytes: u64,
}

type Outcome = Result<(), Box<dyn StdError>>;

fn checkout(commit: &str, way: &str) -> Outcome {
    let (objects, volume) = (Path::new(REPO).join("objects"), Path::new(DEST));
    let way = parse_way(way)?;
    checkout::prepare(volume)?;
    let (report, index) = checkout::checkout(&objects, commit, way, &volume.join("src"))?;
    std::fs::write(volume.join("index"), index)?;
    say(&report)
}

fn parse_way(text: &str) -> Result<checkout::Way, Box<dyn StdError>> {
    checkout::Way::parse(text).ok_or_else(|| format!("{text} is no way of a build").into())
}

fn unpack_layer() -> Outcome {
    let packed = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let unpacked = artifact::layer::unpack(packed, Path::new(DEST))?;
    say(&Unpacked {
        entries: unpacked.entries,
        size_bytes: unpacked.size_bytes,
    })
}

fn pack(prefix: &str, time_s: &str) -> Outcome {
    let time_s = parse(time_s)?;
    // A copy of the descriptor: `Stdout` would look for line ends in it.
    let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    artifact::pack(Path::new(SRC), prefix, time_s, out)?;
    Ok(())
}

fn source(way: &str, checksum: &[&str]) -> Outcome {
    let way = parse_way(way)?;
    let said = checksum.first().map(|text| Digest::parse(text));
    let volume = Path::new(DEST);
    checkout::prepare(volume)?;
    let archive = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    say(&source::unpack(archive, said.transpose()?, way, volume)?)
}

fn unpack() -> Outcome {
    let limits = artifact::unpack::Limits::default();
    let packed = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let unpacked = artifact::unpack(packed, Path::new(DEST), limits)?;
    say(&Unpacked {
        entries: unpacked.entries,
        size_bytes: unpacked.size_bytes,
    })
}

fn parse(number: &str) -> Result<u64, Box<dyn StdError>> {
    Ok(number.parse()?)
}

/// Writes a report as one line of JSON.
fn say(report: &impl serde::Serialize) -> Outcome {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    io::stdout().lock().write_all(&line)?;
    Ok(())
}

/// Says the whole chain of an error in one line, for the builder to pass on.
pub(crate) fn fail(error: &dyn StdError) -> ExitCode {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line.push('\n');
    // Nobody is left to hear that this failed.
    io::stderr().lock().write_all(line.as_bytes()).ok();
    ExitCode::FAILURE
}
