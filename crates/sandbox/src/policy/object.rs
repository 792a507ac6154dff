//! The programs: built by `make bpf` from `crates/sandbox/bpf`, carried in this program, loaded
//! without the kernel's BTF.

use std::os::fd::AsFd;
use std::path::Path;

use aya::programs::{Program, ProgramError, ProgramFd};
use aya::{Ebpf, EbpfLoader};

use super::hooks::{LINKS, Link};
use super::pins::Pins;
use super::tree::Attachments;
use super::{PolicyError, kernel};
use crate::sys::bpf;

static PORT: &[u8] = aya::include_bytes_aligned!("../../bpf/port.bpf.o");

/// Maps that outlive their programs.
pub(super) const MAPS: [&str; 6] = ["dynos", "refusals", "events", "deny", "pace", "sockets"];

/// Before the digest of the sources, in a section of its own.
const MARK: &[u8] = b"source sha256 ";
/// Hexadecimal digits of it that name a version.
const VERSION_DIGITS: usize = 12;

/// Which version of the programs this is: from the digest of their sources.
pub(super) fn version() -> &'static str {
    let digits = PORT
        .windows(MARK.len())
        .position(|window| window == MARK)
        .and_then(|at| PORT.get(at + MARK.len()..)?.get(..VERSION_DIGITS));
    digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .expect("`make bpf` writes the digest, and a test looks for it")
}

/// Loads all programs and attaches and pins each where it belongs.
pub(super) fn attach(
    pins: &Pins,
    attachments: &Attachments,
    folder: &Path,
) -> Result<(), PolicyError> {
    let mut object = load(pins, attachments.dyno_level)?;
    for link in LINKS {
        let program = object
            .program_mut(link.program)
            .expect("each program of the table is in the object");
        let fd = loaded(program).map_err(refused(link))?;
        let on = attachments.of(link.tree).folder.as_fd();
        let hung = bpf::attach(fd.as_fd(), on, link.at).map_err(|source| PolicyError::Attach {
            hook: link.program,
            source,
        })?;
        bpf::pin(hung.as_fd(), &folder.join(link.pin())).map_err(kernel("pin a link"))?;
    }
    Ok(())
}

fn load(pins: &Pins, dyno_level: u32) -> Result<Ebpf, PolicyError> {
    let mut loader = EbpfLoader::new();
    let places = MAPS.map(|name| (name, pins.map(name)));
    for (name, place) in &places {
        loader.map_pin_path(name, place.as_path());
    }
    loader
        .btf(None)
        .override_global("LEVEL", &dyno_level, true)
        .load(PORT)
        .map_err(|source| PolicyError::Load(Box::new(source)))
}

fn refused(link: Link) -> impl FnOnce(ProgramError) -> PolicyError {
    move |source| PolicyError::Hook {
        hook: link.program,
        source: Box::new(source),
    }
}

/// A program in the kernel; one that hangs on several cgroups is loaded once.
fn loaded(program: &mut Program) -> Result<&ProgramFd, ProgramError> {
    if program.fd().is_err() {
        match program {
            Program::CgroupSock(program) => program.load(),
            Program::CgroupSockAddr(program) => program.load(),
            Program::CgroupSockopt(program) => program.load(),
            Program::SockOps(program) => program.load(),
            Program::CgroupSkb(program) => program.load(),
            _ => Err(ProgramError::UnexpectedProgramType),
        }?;
    }
    program.fd()
}
