//! Tests of `pack`.

use super::*;
use crate::hash::sha256;
use crate::scratch::Scratch;
use nix::sys::stat::{mknod, umask};
use nix::unistd::mkfifo;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

const COMMIT_TIME_S: u64 = 1_700_000_000;

fn packed(root: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    pack(root, "app", COMMIT_TIME_S, &mut out).unwrap();
    out
}

/// One line per entry: kind, mode, name, size or target.
fn listing(packed: &[u8]) -> Vec<String> {
    let tar = zstd::decode_all(packed).unwrap();
    let mut archive = tar::Archive::new(tar.as_slice());
    let entry = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), COMMIT_TIME_S);
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (1000, 1000));
        assert_eq!(header.username_bytes(), Some(&b""[..]));
        let target = entry.link_name_bytes();
        format!(
            "{} {:o} {}{}",
            char::from(header.entry_type().as_byte()),
            header.mode().unwrap(),
            entry.path_bytes().escape_ascii(),
            match target {
                Some(target) => format!(" -> {}", target.escape_ascii()),
                None => format!(" {}", entry.size()),
            }
        )
    };
    archive.entries().unwrap().map(entry).collect()
}

fn write(root: &Path, name: &str, content: &[u8], mode: u32) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_stands_in_the_archive() {
    let scratch = Scratch::new();
    let root = scratch.path();
    write(root, "b.txt", b"hello", 0o600);
    write(root, "bin/run", b"#!/bin/sh\n", 0o4711);
    write(root, "a/z", b"", 0o644);
    write(root, "a.txt", b"x", 0o444);
    fs::create_dir(root.join("empty")).unwrap();
    fs::set_permissions(root.join("empty"), Permissions::from_mode(0o1777)).unwrap();
    symlink("../../outside", root.join("link")).unwrap();
    fs::hard_link(root.join("b.txt"), root.join("z.txt")).unwrap();
    fs::hard_link(root.join("b.txt"), root.join("a/b.txt")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"\xff\n")), "odd").unwrap();
    assert_eq!(
        listing(&packed(root)),
        [
            "5 755 app/ 0",
            "5 755 app/a/ 0",
            "0 644 app/a/b.txt 5",
            "0 644 app/a/z 0",
            "0 644 app/a.txt 1",
            "1 644 app/b.txt -> app/a/b.txt",
            "5 755 app/bin/ 0",
            "0 755 app/bin/run 10",
            "5 755 app/empty/ 0",
            "2 777 app/link -> ../../outside",
            "1 644 app/z.txt -> app/a/b.txt",
            "0 644 app/\\xff\\n 3",
        ]
    );
}

#[test]
fn long_names_and_targets() {
    let scratch = Scratch::new();
    let root = scratch.path();
    let part = "p".repeat(200);
    write(root, &format!("{part}/{part}"), b"deep", 0o644);
    let exact = "e".repeat(96);
    write(root, &exact, b"fits", 0o644);
    symlink("t".repeat(300), root.join("link")).unwrap();
    let list = listing(&packed(root));
    assert_eq!(list[1], format!("0 644 app/{exact} 4"));
    assert_eq!(list[2], format!("2 777 app/link -> {}", "t".repeat(300)));
    assert_eq!(list[3], format!("5 755 app/{part}/ 0"));
    assert_eq!(list[4], format!("0 644 app/{part}/{part} 4"));
}

/// Makes the same content in another order, with other times and modes that do not matter.
#[test]
fn equal_trees_give_equal_bytes() {
    let names: Vec<String> = (0..200).map(|n| format!("d{}/f{n}", n % 7)).collect();
    let make = |root: &Path, names: &mut dyn Iterator<Item = &String>, mode, time_s| {
        for name in names {
            write(root, name, name.repeat(50).as_bytes(), mode);
            let file = File::options().write(true).open(root.join(name)).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time_s);
            file.set_modified(time).unwrap();
        }
        symlink("d1", root.join("link")).unwrap();
    };
    let (one, two) = (Scratch::new(), Scratch::new());
    make(one.path(), &mut names.iter(), 0o644, 1);
    let before = umask(Mode::from_bits_truncate(0o077));
    make(two.path(), &mut names.iter().rev(), 0o640, 2_000_000_000);
    umask(before);
    let (one, two) = (packed(one.path()), packed(two.path()));
    assert_eq!(sha256(&one), sha256(&two));
    // An update of zstd that gives other bytes gives every slug a new id: it must be seen here.
    assert_eq!(sha256(&one).short(), "54acf17215a4");
}

#[test]
fn what_a_slug_cannot_hold_is_refused_by_name() {
    type Make = fn(&Path);
    let cases: [(&str, Make); 4] = [
        (
            "pack app/x/y: it is a socket, only files, folders and links can be packed",
            |path| drop(UnixListener::bind(path).unwrap()),
        ),
        (
            "pack app/x/y: it is a named pipe, only files, folders and links can be packed",
            |path| mkfifo(path, Mode::S_IRUSR).unwrap(),
        ),
        (
            "pack app/x/y: it is a device, only files, folders and links can be packed",
            |path| {
                // Only root can make one.
                if mknod(path, SFlag::S_IFCHR, Mode::S_IRUSR, 0).is_err() {
                    fs::remove_dir(path.parent().unwrap()).unwrap();
                }
            },
        ),
        ("read app/x/y to pack it", |path| {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o0)).unwrap();
        }),
    ];
    let is_root = nix::unistd::geteuid().is_root();
    for (expected, make) in cases {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("x")).unwrap();
        make(&scratch.path().join("x/y"));
        let result = pack(scratch.path(), "app", 0, io::sink());
        if scratch.path().join("x/y").is_dir() {
            // Or the scratch could not be removed.
            let mode = Permissions::from_mode(0o755);
            fs::set_permissions(scratch.path().join("x/y"), mode).unwrap();
        }
        match result {
            Err(error) => assert_eq!(error.to_string(), expected),
            // Root reads everything, others make no devices.
            Ok(_) => assert!(expected.contains("device") || is_root && expected.contains("read")),
        }
    }
}

#[test]
fn bounds() {
    let scratch = Scratch::new();
    write(scratch.path(), "a", &[0; 600], 0o644);
    write(scratch.path(), "b", &[0; 600], 0o644);
    let with = |max_bytes, max_entries| {
        let limits = Limits {
            max_bytes,
            max_entries,
        };
        pack_within(scratch.path(), "app", 0, limits, io::sink())
    };
    let fits = with(1200, 3).unwrap();
    assert_eq!((fits.entries, fits.size_bytes), (3, 1200));
    for (result, expected) in [
        (
            with(1199, 3),
            "pack app/b: all files together have more than 1199 bytes",
        ),
        (
            with(1200, 2),
            "pack app: there are more than 2 files and folders",
        ),
    ] {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
}

#[test]
fn nesting_is_bounded() {
    let scratch = Scratch::new();
    let nested = |depth| scratch.path().join("d/".repeat(depth));
    fs::create_dir_all(nested(PACKED_DEPTH_MAX)).unwrap();
    let packed = pack(scratch.path(), "app", 0, io::sink()).unwrap();
    assert_eq!(packed.entries, PACKED_DEPTH_MAX as u64 + 1);
    fs::create_dir(nested(PACKED_DEPTH_MAX + 1)).unwrap();
    let error = pack(scratch.path(), "app", 0, io::sink()).unwrap_err();
    assert!(matches!(error, PackError::TooDeep { .. }), "{error}");
}

#[test]
fn a_full_disk_is_told() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let scratch = Scratch::new();
    let error = pack(scratch.path(), "app", 0, Full).unwrap_err();
    assert!(matches!(error, PackError::Write(e) if e.kind() == io::ErrorKind::StorageFull));
}

#[test]
fn a_missing_root_is_told() {
    let error = pack(Path::new("/nonexistent"), "app", 0, io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "read app to pack it");
}
