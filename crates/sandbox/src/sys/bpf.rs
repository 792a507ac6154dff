//! The parts of `bpf(2)` that the policy needs beside a loader: pinned objects, what a link hangs
//! on, entries of a map.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{check, own};

const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_DELETE_ELEM: libc::c_int = 3;
const MAP_GET_NEXT_KEY: libc::c_int = 4;
const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const LINK_CREATE: libc::c_int = 28;

#[repr(C)]
struct ObjectAttributes {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct LinkAttributes {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct InfoAttributes {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
struct ElementAttributes {
    fd: u32,
    padding: u32,
    key: u64,
    value_or_next: u64,
    flags: u64,
}

/// The beginning of `struct bpf_link_info` of a link to a cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    /// 0 once it is detached.
    pub(crate) cgroup: u64,
    pub(crate) attach_type: u32,
    rest: u32,
}

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_bytes: u32,
    value_bytes: u32,
}

fn address<T: ?Sized>(of: &T) -> u64 {
    std::ptr::from_ref(of).cast::<u8>().addr() as u64
}

/// Opens what is pinned at this path.
pub(crate) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = ObjectAttributes {
        path: path.as_ptr().addr() as u64,
        fd: 0,
        flags: 0,
    };
    // SAFETY: BPF_OBJ_GET (bpf(2)) reads these attributes and a zero-terminated path, both of which
    // live across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            OBJ_GET,
            &raw const attributes,
            size_of::<ObjectAttributes>(),
        )
    };
    check(result).map(own)
}

/// Pins an object at this path of a bpf file system, where nothing is yet.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = ObjectAttributes {
        path: path.as_ptr().addr() as u64,
        fd: object.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    // SAFETY: BPF_OBJ_PIN (bpf(2)) reads these attributes and a zero-terminated path, both of which
    // live across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            OBJ_PIN,
            &raw const attributes,
            size_of::<ObjectAttributes>(),
        )
    };
    check(result).map(drop)
}

/// Attaches a program to a cgroup, beside those that are there, for as long as the link is open or
/// pinned (Linux 5.7).
pub(crate) fn attach(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let attributes = LinkAttributes {
        program: program.as_raw_fd().cast_unsigned(),
        target: cgroup.as_raw_fd().cast_unsigned(),
        attach_type,
        flags: 0,
    };
    // SAFETY: BPF_LINK_CREATE (bpf(2)) reads these attributes, which live across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            LINK_CREATE,
            &raw const attributes,
            size_of::<LinkAttributes>(),
        )
    };
    check(result).map(own)
}

/// What the kernel says of a link to a cgroup.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    info(link)
}

/// # Invariant
/// `T` is one of the plain structs above: any bytes are a value of it.
fn info<T: Default + Copy>(of: BorrowedFd<'_>) -> io::Result<T> {
    let mut info = T::default();
    let mut attributes = InfoAttributes {
        fd: of.as_raw_fd().cast_unsigned(),
        length: u32::try_from(size_of::<T>()).expect("a small struct"),
        info: (&raw mut info).addr() as u64,
    };
    // SAFETY: BPF_OBJ_GET_INFO_BY_FD (bpf(2)) writes at most `length` bytes to `info` and the
    // length it knows to the attributes; both live across the call and take any bytes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            OBJ_GET_INFO_BY_FD,
            &raw mut attributes,
            size_of::<InfoAttributes>(),
        )
    };
    check(result)?;
    Ok(info)
}

/// A map whose keys and values are plain bytes, each of one length.
#[derive(Debug)]
pub(crate) struct Map {
    fd: OwnedFd,
    pub(crate) key_bytes: usize,
    pub(crate) value_bytes: usize,
}

impl Map {
    /// Opens a pinned one. Not one with a value per processor: those are longer than they say.
    pub(crate) fn pinned(path: &Path) -> io::Result<Self> {
        let fd = pinned(path)?;
        let info: MapInfo = info(fd.as_fd())?;
        Ok(Self {
            fd,
            key_bytes: usize::try_from(info.key_bytes).expect("32 bits"),
            value_bytes: usize::try_from(info.value_bytes).expect("32 bits"),
        })
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value_bytes];
        let at = value.as_mut_ptr().addr() as u64;
        Ok(self.call(MAP_LOOKUP_ELEM, Some(key), at)?.then_some(value))
    }

    /// Sets the value of a key, whether it was there or not.
    pub(crate) fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if value.len() != self.value_bytes {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.call(MAP_UPDATE_ELEM, Some(key), address(value))
            .map(drop)
    }

    /// Removes a key; false: it was not there.
    pub(crate) fn remove(&self, key: &[u8]) -> io::Result<bool> {
        self.call(MAP_DELETE_ELEM, Some(key), 0)
    }

    /// All keys, in no order. What is added or removed meanwhile may be missed or told twice.
    pub(crate) fn keys(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut next = vec![0; self.key_bytes];
            let at = next.as_mut_ptr().addr() as u64;
            let last = keys.last().map(Vec::as_slice);
            if !self.call(MAP_GET_NEXT_KEY, last, at)? {
                return Ok(keys);
            }
            keys.push(next);
        }
    }

    /// False: there is no such key.
    fn call(&self, command: libc::c_int, key: Option<&[u8]>, other: u64) -> io::Result<bool> {
        if key.is_some_and(|key| key.len() != self.key_bytes) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let attributes = ElementAttributes {
            fd: self.fd.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: key.map_or(0, address),
            value_or_next: other,
            flags: 0,
        };
        // SAFETY: bpf(2) reads a key of `key_bytes`, and reads or writes at `other` a key or value
        // of the length that the map says; the callers hold buffers of these lengths.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                &raw const attributes,
                size_of::<ElementAttributes>(),
            )
        };
        match check(result) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
