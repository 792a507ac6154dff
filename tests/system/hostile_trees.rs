//! Trees that want out: refused with the path named, nothing written anywhere.

use crate::checkout::Checkout;
use crate::platform::Platform;
use std::io::Write as _;
use std::process::Stdio;

/// Makes a commit of one entry that `git add` would never make.
fn commit_raw(app: &Checkout<'_>, mode: &str, kind: &str, object: &str, name: &str) {
    let mut command = app.platform.command("git");
    command
        .args(["mktree", "--missing"])
        .current_dir(&app.folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(
        child.stdin.take().unwrap(),
        "{mode} {kind} {object}\t{name}"
    )
    .unwrap();
    let tree = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let commit = app
        .git(&["commit-tree", "-m", "hostile", tree.trim()])
        .ok()
        .stdout;
    app.git(&["update-ref", "refs/heads/main", commit.trim()])
        .ok();
}

fn blob(app: &Checkout<'_>, content: &str) -> String {
    app.write("content", content);
    app.git(&["hash-object", "-w", "content"])
        .ok()
        .stdout
        .trim()
        .to_owned()
}

#[test]
fn each_is_refused_and_named() {
    let platform = Platform::start();
    let cases = [
        ("dotdot", "100644", "blob", "x", "..", ".."),
        ("dotgit", "100644", "blob", "x", ".git", ".git"),
        ("dotgitcase", "100644", "blob", "x", ".GIT", ".git"),
        ("absolute", "120000", "blob", "/etc/passwd", "link", "link"),
        (
            "escaping",
            "120000",
            "blob",
            "../../etc/passwd",
            "link",
            "link",
        ),
        ("submodule", "160000", "commit", "", "module", "module"),
    ];
    for (name, mode, kind, content, entry, named) in cases {
        let app = platform.tree(name);
        platform.paas(&["create", name]).ok();
        app.git(&[
            "remote",
            "add",
            "paas",
            &format!(
                "http://git.paas.localhost:{}/{name}.git",
                platform.http_port
            ),
        ])
        .ok();
        let object = if kind == "commit" {
            "1".repeat(40)
        } else {
            blob(&app, content)
        };
        commit_raw(&app, mode, kind, &object, entry);
        let push = app.push();
        assert_eq!(push.code, 1, "{name}: {push:?}");
        assert!(push.stderr.contains(named), "{name}: {}", push.stderr);
        assert_eq!(app.remote_commit("main"), None, "{name}");
    }
}
