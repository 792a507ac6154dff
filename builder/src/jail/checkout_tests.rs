//! Trees of all kinds, hostile ones written as raw objects: no git would make them.

use super::*;
use crate::scratch::Scratch;
use git2::Signature;
use std::os::unix::fs::MetadataExt as _;

/// mode, name, content; a folder's content is entries of its own.
enum Entry<'a> {
    Blob(&'a str, &'a str, &'a str),
    Folder(&'a str, Vec<Entry<'a>>),
    /// A commit of another repository.
    Module(&'a str),
}

fn write_tree(repository: &Repository, entries: &[Entry<'_>]) -> Oid {
    let odb = repository.odb().unwrap();
    let mut raw = Vec::new();
    for entry in entries {
        let (mode, name, id) = match entry {
            Entry::Blob(mode, name, content) => {
                (*mode, *name, repository.blob(content.as_bytes()).unwrap())
            }
            Entry::Folder(name, inner) => ("40000", *name, write_tree(repository, inner)),
            Entry::Module(name) => ("160000", *name, Oid::from_bytes(&[1; 20]).unwrap()),
        };
        raw.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        raw.extend_from_slice(id.as_bytes());
    }
    odb.write(ObjectType::Tree, &raw).unwrap()
}

/// Checks out a commit of these entries into `<scratch>/dest`.
fn run(scratch: &Scratch, entries: &[Entry<'_>]) -> Result<Report, String> {
    let repo = scratch.path().join("repo.git");
    let repository = Repository::init_bare(&repo).unwrap();
    let tree = write_tree(&repository, entries);
    let raw = format!(
        "tree {tree}\nauthor a <a@b> 1700000000 +0000\ncommitter a <a@b> 1700000000 +0000\n\nx\n"
    );
    let odb = repository.odb().unwrap();
    let commit = odb.write(ObjectType::Commit, raw.as_bytes()).unwrap();
    let dest = scratch.path().join("dest");
    fs::create_dir(&dest).unwrap();
    checkout(&repo.join("objects"), &commit.to_string(), Way::Slug, &dest)
        .map(|(report, _)| report)
        .map_err(|error| error.to_string())
}

#[test]
fn a_plain_tree() {
    use Entry::{Blob, Folder};
    let scratch = Scratch::new();
    let entries = [
        Blob("100644", ".slugignore", "*.psd\n/docs\n"),
        Blob("100644", "Procfile", "web: x"),
        Folder("bin", vec![Blob("100755", "run", "#!")]),
        Folder("docs", vec![Blob("100644", "big", "xx")]),
        Blob("100644", "logo.psd", "xx"),
        Blob("120000", "link", "bin/run"),
    ];
    let report = run(&scratch, &entries).unwrap();
    assert_eq!(report.time_s, 1_700_000_000);
    assert_eq!((report.entries, report.size_bytes), (5, 20));
    assert_eq!(report.root_names.len(), 6);
    let dest = scratch.path().join("dest");
    for (path, mode) in [("Procfile", 0o644), ("bin", 0o755), ("bin/run", 0o755)] {
        let meta = fs::metadata(dest.join(path)).unwrap();
        assert_eq!(meta.mode() & 0o7777, mode, "{path}");
        assert_eq!(meta.mtime(), 1_700_000_000, "{path}");
    }
    assert_eq!(
        fs::read_link(dest.join("link")).unwrap(),
        Path::new("bin/run")
    );
    assert!(!dest.join("docs").exists() && !dest.join("logo.psd").exists());
}

#[test]
fn hostile_trees() {
    use Entry::{Blob, Folder, Module};
    let file = |name| Blob("100644", name, "x");
    let cases: Vec<(Vec<Entry<'_>>, &str)> = vec![
        (vec![file("..")], ".. is no name for a file"),
        (vec![file(".")], ". is no name for a file"),
        (vec![file("a/b")], "a/b is no name for a file"),
        (vec![file("/etc/x")], "/etc/x is no name for a file"),
        (
            vec![Folder("..", vec![file("x")])],
            ".. is no name for a file",
        ),
        (
            vec![Folder("a", vec![Folder(".GIT", vec![file("config")])])],
            "a/.GIT would be a git repository inside the app",
        ),
        (
            vec![file("git~1")],
            "git~1 would be a git repository inside the app",
        ),
        (
            vec![Blob("120000", "l", "/etc/passwd")],
            "l is a symbolic link to an absolute path; make it relative",
        ),
        (
            vec![Folder("a", vec![Blob("120000", "l", "../../x")])],
            "a/l is a symbolic link that leads out of the app",
        ),
        (
            vec![Folder("vendor", vec![Module("lib")])],
            "vendor/lib is a submodule; submodules are not fetched: add its files to this \
             repository",
        ),
        (
            vec![Blob("60000", "dev", "x")],
            "dev is neither a file, a folder nor a symbolic link",
        ),
        // The way of CVE-2021-21300: a link, then a folder of the same name.
        (
            vec![Blob("120000", "d", "."), Folder("d", vec![file("x")])],
            "write d",
        ),
        (vec![file("a"), file("a")], "write a"),
    ];
    for (entries, message) in cases {
        let scratch = Scratch::new();
        let error = run(&scratch, &entries).unwrap_err();
        assert_eq!(error, message);
        assert!(!scratch.path().join("x").exists());
    }
}

#[test]
fn an_unknown_commit() {
    let scratch = Scratch::new();
    let repository = Repository::init_bare(scratch.path().join("r.git")).unwrap();
    let who = Signature::now("a", "a@b").unwrap();
    drop((repository, who));
    let error = checkout(
        &scratch.path().join("r.git/objects"),
        &"1".repeat(40),
        Way::Slug,
        scratch.path(),
    );
    assert!(matches!(error, Err(CheckoutError::Objects(_))));
}
