//! The programs: built by `make bpf` from `crates/sandbox/bpf`, carried in this program, loaded
//! without the kernel's BTF.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::programs::links::FdLink;
use aya::programs::{Lsm, Program, ProgramError, ProgramFd};
use aya::{Btf, Ebpf, EbpfLoader};

use super::hooks::{LINKS, Link, Tree};
use super::pins::Pins;
use super::tree::Attachments;
use super::{PolicyError, kernel};
use crate::sys::bpf;

static PORT: &[u8] = aya::include_bytes_aligned!("../../bpf/port.bpf.o");
static LSM: &[u8] = aya::include_bytes_aligned!("../../bpf/lsm.bpf.o");

/// Maps that outlive their programs.
const MAPS: [&str; 7] = [
    "dynos", "refusals", "events", "deny", "pace", "sockets", "owners",
];

/// Those that the second object shares with the first.
const LSM_MAPS: [&str; 3] = ["dynos", "refusals", "events"];

/// Its programs, which name their pins too, and their hooks (`linux/lsm_hook_defs.h`).
pub(super) const LSM_HOOKS: [(&str, &str); 4] = [
    ("lsm_listen", "socket_listen"),
    ("lsm_unix_connect", "unix_stream_connect"),
    ("lsm_unix_send", "unix_may_send"),
    ("lsm_file_open", "file_open"),
];

/// Before the digest of the sources, in a section of its own.
const MARK: &[u8] = b"source sha256 ";
/// Hexadecimal digits of each that name a version.
const VERSION_DIGITS: usize = 8;

/// Which version of the programs this is: from the digests of their sources.
pub(super) fn version() -> String {
    [PORT, LSM].map(digest).concat()
}

fn digest(object: &[u8]) -> &str {
    let digits = object
        .windows(MARK.len())
        .position(|window| window == MARK)
        .and_then(|at| object.get(at + MARK.len()..)?.get(..VERSION_DIGITS));
    digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .expect("`make bpf` writes the digest, and the tidy test looks for it")
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
    let places = MAPS.map(|name| (name, pins.map(name)));
    let mut loader = loader(&places, &dyno_level);
    loader
        .load(PORT)
        .map_err(|source| PolicyError::Load(Box::new(source)))
}

/// Loads the programs that hold what dynos share beside packets, and pins them beside the links.
///
/// # Errors
/// As text: a kernel may lack any part of it, and each says so in its own way.
pub(super) fn attach_lsm(
    pins: &Pins,
    attachments: &Attachments,
    folder: &Path,
) -> Result<(), String> {
    let types = Btf::from_sys_fs().map_err(|error| reason(&error))?;
    let places = LSM_MAPS.map(|name| (name, pins.map(name)));
    let mut loader = loader(&places, &attachments.dyno_level);
    loader.btf(Some(&types));
    let central = attachments.of(Tree::Central).id;
    loader.override_global("CENTRAL", &central, true);
    let mut object = loader.load(LSM).map_err(|error| reason(&error))?;
    let mut links = Vec::new();
    for (name, hook) in LSM_HOOKS {
        let link = load_lsm(&mut object, name, hook, &types)
            .and_then(|program| program.attach().and_then(|id| program.take_link(id)));
        let link = link.map_err(|error| format!("attach {hook}: {}", reason(&error)))?;
        links.push((name, FdLink::from(link)));
    }
    // All or nothing: only now, so that a half is not left attached.
    for (name, link) in links {
        link.pin(folder.join(name))
            .map_err(|error| reason(&error))?;
    }
    Ok(())
}

/// Loads everything and forgets it; text: what the kernel says.
pub(super) fn probe() -> Result<(), String> {
    let mut object = loader(&[], &0).load(PORT).map_err(|error| reason(&error))?;
    for link in LINKS {
        let program = object.program_mut(link.program);
        let program = program.expect("each program of the table is in the object");
        loaded(program).map_err(|error| format!("load {}: {}", link.program, reason(&error)))?;
    }
    Ok(())
}

/// As [`probe`], of the other object.
pub(super) fn probe_lsm() -> Result<(), String> {
    let types = Btf::from_sys_fs().map_err(|error| reason(&error))?;
    let level = 1;
    let mut loader = loader(&[], &level);
    let mut object = loader
        .btf(Some(&types))
        .load(LSM)
        .map_err(|error| reason(&error))?;
    for (name, hook) in LSM_HOOKS {
        load_lsm(&mut object, name, hook, &types)
            .map_err(|error| format!("load {hook}: {}", reason(&error)))?;
    }
    Ok(())
}

fn load_lsm<'a>(
    object: &'a mut Ebpf,
    name: &str,
    hook: &str,
    types: &Btf,
) -> Result<&'a mut Lsm, ProgramError> {
    let program = object
        .program_mut(name)
        .expect("each program of the table is in the object");
    let program: &mut Lsm = program.try_into()?;
    program.load(hook, types)?;
    Ok(program)
}

fn loader<'a>(places: &'a [(&'a str, PathBuf)], dyno_level: &'a u32) -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    for (name, place) in places {
        loader.map_pin_path(name, place.as_path());
    }
    loader.btf(None).override_global("LEVEL", dyno_level, true);
    loader
}

/// The deepest reason of an error: what is above it repeats it, with a verifier's log of many
/// lines.
fn reason(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(deeper) = deepest.source() {
        deepest = deeper;
    }
    deepest.to_string()
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
