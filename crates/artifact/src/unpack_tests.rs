//! Tests of `unpack`: what comes out, and what hostile archives do not do.

use super::*;
use crate::pack::pack;
use crate::scratch::Scratch;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use tar::{EntryType, Header};

/// Writes tars that no honest program writes.
#[derive(Default)]
struct Evil(Vec<u8>);

impl Evil {
    fn raw(self, kind: EntryType, name: &[u8], target: &[u8], content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        let mut tar = self.header(header);
        tar.0.extend_from_slice(content);
        tar.0.resize(tar.0.len().next_multiple_of(512), 0);
        tar
    }
    fn header(mut self, mut header: Header) -> Self {
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }
    fn file(self, name: &[u8], content: &[u8]) -> Self {
        self.raw(EntryType::Regular, name, b"", content)
    }
    fn folder(self, name: &[u8]) -> Self {
        self.raw(EntryType::Directory, name, b"", b"")
    }
    fn symlink(self, name: &[u8], target: &[u8]) -> Self {
        self.raw(EntryType::Symlink, name, target, b"")
    }
    fn link(self, name: &[u8], target: &[u8]) -> Self {
        self.raw(EntryType::Link, name, target, b"")
    }
    fn pax(self, records: &[u8]) -> Self {
        self.raw(EntryType::XHeader, b"pax", b"", records)
    }
    fn mode(self, mode: u32) -> Self {
        let mut header = Header::new_gnu();
        header.set_mode(mode);
        header.set_size(0);
        header.as_old_mut().name[0] = b'm';
        self.header(header)
    }
    fn bytes(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn evil() -> Evil {
    Evil::default()
}

/// A destination inside a folder with a file, both to be found as they were.
struct Dest {
    scratch: Scratch,
}

impl Dest {
    fn new() -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("dest")).unwrap();
        fs::write(scratch.path().join("canary"), "alive").unwrap();
        Self { scratch }
    }
    #[expect(
        clippy::panic_in_result_fn,
        reason = "what is asserted holds for archives that are refused, too"
    )]
    fn unpack(&self, tar: &[u8]) -> Result<Unpacked, UnpackError> {
        let limits = Limits {
            max_bytes: 10_000,
            max_entries: 100,
        };
        let result = unpack_tar(tar, &self.path(), limits);
        let outside = fs::read_dir(self.scratch.path()).unwrap().count();
        assert_eq!(outside, 2, "nothing is made outside");
        let canary = fs::metadata(self.scratch.path().join("canary")).unwrap();
        assert_eq!((canary.len(), canary.nlink()), (5, 1));
        result
    }
    fn path(&self) -> std::path::PathBuf {
        self.scratch.path().join("dest")
    }
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }
}

#[test]
fn what_was_packed_comes_back() {
    let (from, to) = (Scratch::new(), Scratch::new());
    let root = from.path();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::write(root.join("a/b/c/file"), vec![b'x'; 400_000]).unwrap();
    fs::write(root.join("a").join("n".repeat(250)), "long").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"\xff\n")), "odd").unwrap();
    fs::hard_link(root.join("a/b/c/file"), root.join("z")).unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    let pack_it = |root: &Path, prefix| {
        let mut packed = Vec::new();
        let result = pack(root, prefix, 1_700_000_000, &mut packed).unwrap();
        (packed, result)
    };
    let (packed, result) = pack_it(root, "app");
    let unpacked = unpack(packed.as_slice(), to.path(), Limits::default()).unwrap();
    assert_eq!(unpacked.entries, result.entries);
    assert_eq!(unpacked.size_bytes, result.size_bytes);
    let app = to.path().join("app");
    assert_eq!(
        pack_it(&app, "app").0,
        packed,
        "packed again it is the same"
    );
    for name in ["", "a", "a/b", "a/b/c", "a/b/c/file", "link"] {
        let meta = fs::symlink_metadata(app.join(name)).unwrap();
        assert_eq!(meta.mtime(), 1_700_000_000, "{name}");
    }
    assert_eq!(fs::metadata(app.join("z")).unwrap().nlink(), 2);
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn refused_and_harmless() {
    let symlink_into = |target: &[u8]| evil().symlink(b"l", target).file(b"l/x", b"evil");
    let gnu_long = |name: &[u8]| {
        evil()
            .raw(EntryType::GNULongName, b"././@LongLink", b"", name)
            .file(b"short", b"evil")
    };
    let cases: Vec<(Evil, &str)> = vec![
        (
            evil().file(b"../evil", b"x"),
            "unpack ../evil: its name contains ..",
        ),
        (
            evil().file(b"/evil", b"x"),
            "unpack /evil: its name is absolute",
        ),
        (
            evil().file(b"a/../../evil", b"x"),
            "unpack a/../../evil: its name contains ..",
        ),
        (evil().folder(b".."), "unpack ..: its name contains .."),
        (
            gnu_long(b"../evil\0"),
            "unpack ../evil: its name contains ..",
        ),
        (
            gnu_long(b"a\0b\0"),
            "unpack a\\x00b: its name contains a zero byte",
        ),
        (gnu_long(&b"d/".repeat(300)), "unpack d/d/"),
        (
            gnu_long(&vec![b'x'; 70_000]),
            "unpack ?: the extension records before it are too long",
        ),
        (
            evil().pax(b"19 path=../../evil\n").file(b"x", b"x"),
            "unpack ../../evil: its name contains ..",
        ),
        (
            evil().pax(b"99 path=x\n").file(b"x", b"x"),
            "unpack ?: its PAX record is malformed",
        ),
        (
            evil().pax(b"9 size=9\n").file(b"x", b"x"),
            "unpack ?: its PAX record changes its size",
        ),
        (
            evil().pax(b"22 GNU.sparse.major=1\n").file(b"x", b"x"),
            "unpack ?: it is a sparse file",
        ),
        (
            symlink_into(b".."),
            "unpack l/x: its name goes through a link",
        ),
        (
            symlink_into(b"/etc"),
            "unpack l/x: its name goes through a link",
        ),
        (
            symlink_into(b"."),
            "unpack l/x: its name goes through a link",
        ),
        (
            evil()
                .folder(b"d")
                .symlink(b"d/l", b"../..")
                .file(b"d/l/e/f", b"x"),
            "unpack d/l/e/f: its name goes through a link",
        ),
        (
            evil().file(b"f", b"x").file(b"f/x", b"x"),
            "unpack f/x: its name goes through a file",
        ),
        (
            evil().folder(b"d").file(b"d", b"x"),
            "unpack d: it would replace a folder",
        ),
        (
            evil().folder(b"d").symlink(b"d", b"x"),
            "unpack d: it would replace a folder",
        ),
        (
            evil().link(b"l", b"../canary"),
            "unpack ../canary: its name contains ..",
        ),
        (
            evil().link(b"l", b"/etc/passwd"),
            "unpack /etc/passwd: its name is absolute",
        ),
        (
            evil().symlink(b"s", b"..").link(b"l", b"s/canary"),
            "unpack l: it is a link to what is no file of the archive",
        ),
        (
            evil().symlink(b"s", b"../canary").link(b"l", b"s"),
            "unpack l: it is a link to what is no file of the archive",
        ),
        (
            evil().link(b"l", b"l"),
            "unpack l: it is a link to what is no file of the archive",
        ),
        (
            evil().folder(b"d").link(b"l", b"d"),
            "unpack l: it is a link to what is no file of the archive",
        ),
        (
            evil().symlink(b"s", b""),
            "unpack s: it is a link to no possible path",
        ),
        (
            evil().raw(EntryType::Char, b"c", b"", b""),
            "unpack c: it is a device",
        ),
        (
            evil().raw(EntryType::Block, b"b", b"", b""),
            "unpack b: it is a device",
        ),
        (
            evil().raw(EntryType::Fifo, b"p", b"", b""),
            "unpack p: it is a named pipe",
        ),
        (
            evil().raw(EntryType::GNUSparse, b"s", b"", b""),
            "unpack s: it is a sparse file",
        ),
        (
            evil().raw(EntryType::new(b'Z'), b"z", b"", b""),
            "unpack z: it is of an unknown kind",
        ),
        (
            evil().raw(EntryType::Symlink, b"s", b"t", b"c"),
            "unpack s: it has content and is no",
        ),
        (evil().mode(0o4755), "unpack m: it is setuid or setgid"),
        (evil().mode(0o2755), "unpack m: it is setuid or setgid"),
        (
            evil().file(b"", b"x"),
            "unpack .: the folder itself can only be a folder",
        ),
        (
            evil().symlink(b".", b"x"),
            "unpack .: the folder itself can only be a folder",
        ),
        (
            (0..9)
                .fold(evil(), |tar, _| tar.pax(b"7 a=bc\n"))
                .file(b"x", b""),
            "unpack ?: too many extension records stand before it",
        ),
        (
            evil().file(b"big", &[0; 10_001]),
            "unpack big: the archive holds more than 10000 bytes",
        ),
        (
            (0..101).fold(evil(), |tar, _| tar.folder(b"d")),
            "unpack d: the archive holds more than 100 entries",
        ),
    ];
    for (tar, expected) in cases {
        let dest = Dest::new();
        let error = dest.unpack(&tar.bytes()).expect_err(expected);
        assert!(
            error.to_string().starts_with(expected),
            "{error}, not {expected}"
        );
        assert!(fs::symlink_metadata("/evil").is_err());
    }
}

#[test]
fn strange_and_allowed() {
    let dest = Dest::new();
    let tar = evil()
        .raw(
            EntryType::XGlobalHeader,
            b"pax_global_header",
            b"",
            b"14 comment=abc\n",
        )
        .folder(b"./")
        .file(b"./a/./b//c", b"parents are made")
        .file(b"old/", b"") // before POSIX: a folder
        .file(b"twice", b"first")
        .file(b"twice", b"second")
        .symlink(b"link", b"../canary")
        .file(b"link", b"in place of a link")
        .file(b"was a file", b"x")
        .folder(b"was a file")
        .symlink(b"was a link", b"..")
        .folder(b"was a link")
        .file(b"was a link/x", b"not through the link")
        .file(b"one", b"linked")
        .link(b"two", b"./one")
        .link(b"two", b"two")
        .symlink(b"out", b"/etc")
        .pax(b"21 path=name\nnewline\n")
        .file(b"short", b"by PAX")
        .folder(b"a")
        .bytes();
    dest.unpack(&tar).unwrap();
    for (name, content) in [
        ("a/b/c", "parents are made"),
        ("twice", "second"),
        ("link", "in place of a link"),
        ("was a link/x", "not through the link"),
        ("two", "linked"),
        ("name\nnewline", "by PAX"),
    ] {
        assert_eq!(dest.read(name), content);
    }
    for name in ["old", "was a file", "was a link"] {
        let meta = fs::symlink_metadata(dest.path().join(name)).unwrap();
        assert!(meta.is_dir(), "{name}");
        assert_eq!(meta.mode() & 0o7777, 0o755);
    }
    assert_eq!(fs::metadata(dest.path().join("one")).unwrap().nlink(), 2);
    let mode = fs::metadata(dest.path().join("one")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o644);
}

/// A link that stood there before the archive came is not followed either.
#[test]
fn a_link_in_the_destination_is_not_followed() {
    let dest = Dest::new();
    symlink("..", dest.path().join("up")).unwrap();
    let error = dest
        .unpack(&evil().file(b"up/evil", b"x").bytes())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "unpack up/evil: its name goes through a link"
    );
    dest.unpack(&evil().file(b"up", b"x").bytes()).unwrap();
    assert_eq!(dest.read("up"), "x");
}

/// Cuts and flipped bytes end in an error or in a tree, never in a panic or outside.
#[test]
fn damaged_archives() {
    let tar = evil()
        .folder(b"d")
        .pax(b"13 path=d/abc\n")
        .file(b"d/f", b"content")
        .symlink(b"d/s", b"f")
        .link(b"d/l", b"d/f")
        .bytes();
    for cut in (0..tar.len()).step_by(37) {
        Dest::new().unpack(&tar[..cut]).ok();
    }
    for at in (0..tar.len()).step_by(13) {
        let mut damaged = tar.clone();
        damaged[at] ^= 0x55;
        // Half of them with a checksum that is right again, or it would notice everything.
        if at % 2 == 0 {
            for block in damaged.chunks_exact_mut(512) {
                if block[257..262] == *b"ustar" {
                    let header: &mut [u8; 512] = block.try_into().unwrap();
                    let mut fixed = Header::new_gnu();
                    fixed.as_mut_bytes().copy_from_slice(header);
                    fixed.set_cksum();
                    header.copy_from_slice(fixed.as_bytes());
                }
            }
        }
        Dest::new().unpack(&damaged).ok();
    }
}

#[test]
fn a_size_that_lies_is_an_error() {
    for size in [u64::MAX, 1 << 40, 9_000] {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(size);
        header.as_old_mut().name[0] = b'f';
        let tar = evil().header(header);
        assert!(Dest::new().unpack(&tar.0).is_err(), "{size}");
    }
}

#[test]
fn a_bomb_is_stopped() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(1 << 32);
    header.as_old_mut().name[0] = b'f';
    encoder.write_all(&evil().header(header).0).unwrap();
    encoder.write_all(&vec![0; 1 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    let dest = Dest::new();
    let limits = Limits {
        max_bytes: 1 << 31,
        max_entries: 10,
    };
    let error = unpack(bomb.as_slice(), &dest.path(), limits).unwrap_err();
    assert!(matches!(error, UnpackError::TooLarge { what: "bytes", .. }));
    assert_eq!(fs::read_dir(dest.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_archive_is_told() {
    let dest = Dest::new();
    let error = unpack(&b"hello"[..], &dest.path(), Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "read the archive");
    let error = unpack_tar(&[7; 4096][..], &dest.path(), Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "read the archive");
}
