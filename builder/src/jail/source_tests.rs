//! Archives as GNU tar writes them, honest and hostile.

use super::*;
use crate::scratch::Scratch;
use std::os::unix::fs::symlink;
use std::process::Command;

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path().join("volume/src")).unwrap();
    fs::create_dir_all(scratch.path().join("app")).unwrap();
    scratch
}

/// `tar ARGUMENTS` in `app`, unpacked into `volume/src`.
fn run(scratch: &Scratch, arguments: &[&str]) -> Result<Report, String> {
    let archive = pack(scratch, arguments);
    unpack(
        archive.as_slice(),
        None,
        Way::Slug,
        &scratch.path().join("volume"),
    )
    .map_err(|error| error.to_string())
}

fn pack(scratch: &Scratch, arguments: &[&str]) -> Vec<u8> {
    let made = Command::new("tar")
        .args(arguments)
        .current_dir(scratch.path().join("app"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    made.stdout
}

fn file(scratch: &Scratch, path: &str, content: &str) {
    let path = scratch.path().join("app").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn out(scratch: &Scratch, path: &str) -> Option<String> {
    fs::read_to_string(scratch.path().join("volume/src").join(path)).ok()
}

#[test]
fn all_kinds_become_the_same_tree() {
    for pack in ["-c", "-cz", "--zstd -c"] {
        for names in ["Procfile lib .slugignore secret .buildpacks", "."] {
            let scratch = scratch();
            file(&scratch, "Procfile", "web: x\n");
            file(&scratch, "lib/tool", "#!/bin/sh\n");
            file(&scratch, "secret/key", "k");
            file(&scratch, ".slugignore", "secret/\n");
            file(&scratch, ".buildpacks", "https://x/y\n");
            symlink("../Procfile", scratch.path().join("app/lib/link")).unwrap();
            set_mode(&scratch.path().join("app/lib/tool"), 0o700).unwrap();
            set_mode(&scratch.path().join("app/Procfile"), 0o400).unwrap();
            let mut arguments: Vec<&str> = pack.split(' ').collect();
            arguments.push("--mtime=@1700000000");
            arguments.extend(names.split(' '));
            let report = run(&scratch, &arguments).unwrap();
            assert_eq!((report.time_s, report.size_bytes), (1_700_000_000, 37));
            assert_eq!(
                report.root_names,
                [".buildpacks", ".slugignore", "Procfile", "lib"]
            );
            assert_eq!(report.buildpacks.as_deref(), Some("https://x/y\n"));
            assert_eq!(out(&scratch, "lib/link").as_deref(), Some("web: x\n"));
            let mode = |path: &str| {
                let path = scratch.path().join("volume/src").join(path);
                fs::metadata(path).unwrap().mode() & 0o7777
            };
            assert_eq!((mode("lib/tool"), mode("Procfile")), (0o755, 0o644));
        }
    }
}

#[test]
fn a_single_folder_at_the_top_is_taken_off() {
    let scratch = scratch();
    file(&scratch, "app-1.0/Procfile", "web: x\n");
    run(&scratch, &["-cz", "app-1.0"]).unwrap();
    assert_eq!(out(&scratch, "Procfile").as_deref(), Some("web: x\n"));
}

#[test]
fn hostile_ones_are_refused() {
    let cases: [(&[&str], &str); 6] = [
        (&["-cP", "../app/Procfile"], "its name contains .."),
        (&["-cP", "/etc/hostname"], "its name is absolute"),
        (
            &["-c", "Procfile", ".git"],
            ".git would be a git repository",
        ),
        (
            &["-c", "Procfile", "out"],
            "out is a symbolic link that leads out",
        ),
        (
            &["-c", "Procfile", "abs"],
            "abs is a symbolic link to an absolute path",
        ),
        (&["-c", "Procfile", "pipe"], "it is a named pipe"),
    ];
    for (arguments, why) in cases {
        let scratch = scratch();
        file(&scratch, "Procfile", "web: x\n");
        file(&scratch, ".git/config", "");
        symlink("a/../../x", scratch.path().join("app/out")).unwrap();
        symlink("/etc", scratch.path().join("app/abs")).unwrap();
        let made = Command::new("mkfifo")
            .arg(scratch.path().join("app/pipe"))
            .status();
        assert!(made.unwrap().success());
        let error = run(&scratch, arguments).unwrap_err();
        assert!(error.contains(why), "{arguments:?}: {error}");
    }
}

#[test]
fn what_is_no_archive_and_what_was_changed() {
    let check = |bytes: &[u8], said: Option<Digest>, why: &str| {
        let scratch = scratch();
        let error = unpack(bytes, said, Way::Slug, &scratch.path().join("volume")).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    };
    check(b"", None, "holds no files");
    check(&[0; 1024], None, "no archive");
    check(b"PK\x03\x04rest", None, "a zip");
    check(b"\x1f\x8bx", None, "read the archive");
    let other = Digest::new([1; 32]);
    check(b"PK\x03\x04rest", Some(other), "not SHA256:0101");
}
