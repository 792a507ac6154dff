//! Layers there and back, and layers that want out.

use super::*;
use crate::scratch::Scratch;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

fn whiteout(path: &Path) {
    mknod(path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).unwrap();
}

fn packed(root: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(root, Some(1_700_000_000), &mut bytes).unwrap();
    bytes
}

fn names(bytes: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn there_and_back_is_the_same() {
    let scratch = Scratch::new();
    let (upper, again) = (scratch.path().join("upper"), scratch.path().join("again"));
    fs::create_dir_all(upper.join("dir/sub")).unwrap();
    fs::create_dir(&again).unwrap();
    fs::write(upper.join("dir/file"), "hello").unwrap();
    fs::set_permissions(upper.join("dir/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(upper.join("dir/file"), upper.join("dir/twin")).unwrap();
    symlink("../nowhere", upper.join("dir/link")).unwrap();
    let long = format!("dir/{}", "n".repeat(200));
    fs::write(upper.join(&long), "long").unwrap();
    whiteout(&upper.join("dir/gone"));
    let sub = fs::File::open(upper.join("dir/sub")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(&sub, OPAQUE, b"y", flags).unwrap();
    let file = fs::File::open(upper.join("dir/file")).unwrap();
    rustix::fs::fsetxattr(&file, "user.note", b"kept", flags).unwrap();

    let bytes = packed(&upper);
    assert_eq!(
        names(&bytes),
        [
            "dir/".to_owned(),
            "dir/.wh.gone".to_owned(),
            "dir/file".to_owned(),
            "dir/link".to_owned(),
            long.clone(),
            "dir/sub/".to_owned(),
            "dir/sub/.wh..wh..opq".to_owned(),
            "dir/twin".to_owned(),
        ]
    );
    let unpacked = unpack(bytes.as_slice(), &again).unwrap();
    assert_eq!(unpacked.entries, 8);
    assert_eq!(packed(&again), bytes);
    let twin = fs::metadata(again.join("dir/twin")).unwrap();
    assert_eq!((twin.mode() & 0o7777, twin.nlink()), (0o4755, 2));
    let gone = fs::symlink_metadata(again.join("dir/gone")).unwrap();
    assert_eq!((gone.rdev(), gone.mode() & 0o170_000), (0, 0o020_000));
    let mut zstd = Vec::new();
    zstd::stream::copy_encode(bytes.as_slice(), &mut zstd, 1).unwrap();
    let third = scratch.path().join("third");
    fs::create_dir(&third).unwrap();
    unpack(zstd.as_slice(), &third).unwrap();
    assert_eq!(packed(&third), bytes);
}

/// A tar of entries `(name, type, link)`, each file with its own name as content.
fn tar(entries: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, target) in entries {
        let is_file = *kind == b'0';
        let head = header::Head {
            name,
            kind: *kind,
            mode: 0o755,
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            size_bytes: if is_file { name.len() as u64 } else { 0 },
            mtime_s: 1,
            target,
            attributes: Vec::new(),
        };
        header::write(&head, &mut bytes).unwrap();
        if is_file {
            bytes.extend_from_slice(name);
            header::pad(name.len() as u64, &mut bytes).unwrap();
        }
    }
    header::end(&mut bytes).unwrap();
    bytes
}

/// Name, kind and target of each.
type Entries<'a> = &'a [(&'a [u8], u8, &'a [u8])];

#[test]
fn hostile_layers_are_refused_and_leave_nothing_outside() {
    let long = vec![b'x'; 300];
    let cases: [(&str, Entries<'_>); 16] = [
        ("parent", &[(b"../../evil", b'0', b"")]),
        ("parent inside", &[(b"a/../../b", b'0', b"")]),
        (
            "through a link",
            &[(b"l", b'2', b"/etc"), (b"l/x", b'0', b"")],
        ),
        ("hard link out", &[(b"h", b'1', b"../../etc/shadow")]),
        (
            "hard link through a link",
            &[(b"l", b'2', b"/etc"), (b"h", b'1', b"l/passwd")],
        ),
        (
            "hard link to a link",
            &[(b"l", b'2', b"/etc/passwd"), (b"h", b'1', b"l")],
        ),
        ("hard link to nothing", &[(b"h", b'1', b"missing")]),
        ("device", &[(b"d", b'3', b"")]),
        ("block device", &[(b"d", b'4', b"")]),
        ("hides nothing", &[(b".wh.", b'0', b"")]),
        ("hides itself", &[(b".wh..", b'0', b"")]),
        ("hides its parent", &[(b"a/.wh...", b'0', b"")]),
        ("hides the root", &[(b".wh..wh..opq", b'0', b"")]),
        ("name too long", &[(&long, b'0', b"")]),
        ("file over folder", &[(b"d/", b'5', b""), (b"d", b'0', b"")]),
        ("through a file", &[(b"f", b'0', b""), (b"f/x", b'0', b"")]),
    ];
    for (name, entries) in cases {
        let scratch = Scratch::new();
        let dest = scratch.path().join("a/dest");
        fs::create_dir_all(&dest).unwrap();
        assert!(unpack(tar(entries).as_slice(), &dest).is_err(), "{name}");
        let outside: Vec<_> = fs::read_dir(scratch.path()).unwrap().collect();
        assert_eq!(outside.len(), 1, "{name}");
    }
}

#[test]
fn odd_layers_are_read() {
    let read = |entries: &[(&[u8], u8, &[u8])]| {
        let scratch = Scratch::new();
        unpack(tar(entries).as_slice(), scratch.path()).unwrap();
        names(&packed(scratch.path()))
    };
    // Absolute names, a second entry, a folder in place of a link, marks of old tools.
    assert_eq!(read(&[(b"/a", b'0', b""), (b"./a", b'0', b"")]), ["a"]);
    assert_eq!(
        read(&[
            (b"l", b'2', b"/etc"),
            (b"l/", b'5', b""),
            (b"l/x", b'0', b"")
        ]),
        ["l/", "l/x"]
    );
    assert_eq!(
        read(&[(b".wh..wh.plnk", b'0', b""), (b"x/y", b'0', b"")]),
        ["x/", "x/y"]
    );
    // What this layer holds is not hidden by its own mark, wherever the mark stands.
    assert_eq!(read(&[(b"a", b'0', b""), (b".wh.a", b'0', b"")]), ["a"]);
    assert_eq!(
        read(&[
            (b".wh.d", b'0', b""),
            (b"d/", b'5', b""),
            (b"d/x", b'0', b"")
        ]),
        ["d/", "d/.wh..wh..opq", "d/x"]
    );
}

#[test]
fn what_is_too_much_is_refused() {
    let limits = |max_bytes, max_entries| crate::unpack::Limits {
        max_bytes,
        max_entries,
    };
    let bytes = tar(&[(b"aaaa", b'0', b""), (b"bbbb", b'0', b"")]);
    for (limits, fits) in [
        (limits(2_000, 2), true),
        (limits(2_000, 1), false),
        (limits(7, 2), false),
    ] {
        let scratch = Scratch::new();
        let done = unpack_within(bytes.as_slice(), scratch.path(), limits);
        assert_eq!(done.is_ok(), fits, "{limits:?}");
    }
    let scratch = Scratch::new();
    let cut = bytes.get(..600).unwrap();
    assert!(unpack(cut, scratch.path()).is_err());
}
