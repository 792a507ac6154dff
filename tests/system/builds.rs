//! Builds that are asked for over the API instead of a push: the same again, a folder, an archive.

use crate::build_world::app_with_compile;
use crate::checkout::Checkout;
use crate::platform::Platform;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

fn builds(app: &Checkout<'_>) -> Vec<serde_json::Value> {
    let listed = app.paas(&["builds", "--json"]).ok().stdout;
    serde_json::from_str(&listed).unwrap()
}

#[test]
fn the_same_again_makes_the_same_slug() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "again");
    app.paas(&["builds:create", "--again"])
        .refused(1, &["nothing of this app was built yet"]);
    app.push().ok();
    let said = app.paas(&["builds:create", "--again"]).ok().stdout;
    for line in ["Procfile declares types -> web, worker", "Released v4"] {
        assert!(said.contains(line), "{line:?} is missing in:\n{said}");
    }
    assert_eq!(platform.get("again", "/").status, 200);
    let all = builds(&app);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["slug"], all[1]["slug"]);
    assert_eq!(all[0]["source_blob"], all[1]["source_blob"]);
    assert_eq!(all[0]["source_blob"]["version"], app.commit_here());
    let releases = app.paas(&["releases"]).ok().stdout;
    assert!(releases.contains("Current: v4"), "{releases}");
}

#[test]
fn a_folder_is_uploaded_built_and_released_and_moves_no_branch() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "folder");
    app.push().ok();
    let pushed = app.commit_here();
    let server = std::fs::read_to_string(app.folder.join("server")).unwrap();
    app.write("server", &server.replace("hello from", "uploaded from"));
    app.write(".gitignore", "*.secret\n");
    app.write("x.secret", "left at home");
    let said = app.paas(&["builds:create", "--version", "v1.2"]).ok();
    assert!(said.stdout.contains("Released v4"), "{said:?}");
    assert_eq!(
        platform.get("folder", "/").body,
        "uploaded from procfile on web.1\n"
    );
    assert_eq!(app.remote_commit("main"), Some(pushed));
    assert_eq!(app.paas(&["run", "ls x.secret .git"]).code, 2);
    let info = app.paas(&["builds:info"]).ok().stdout;
    for line in ["Status:     succeeded", "Version:    v1.2"] {
        assert!(info.contains(line), "{info}");
    }
    let output = app.paas(&["builds:output"]).ok().stdout;
    assert_eq!(output, said.stdout);
    // The next push is a push as ever.
    app.commit("the same by git");
    app.push().ok();
}

#[test]
fn archives_that_cannot_be_built_say_why_and_change_nothing() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "archives");
    app.push().ok();
    let tar = |arguments: &[&str]| {
        let file = platform.folder.join("source.tgz");
        let made = Command::new("tar")
            .arg("-czf")
            .arg(&file)
            .args(arguments)
            .current_dir(&app.folder)
            .status();
        assert!(made.unwrap().success());
        file.to_str().unwrap().to_owned()
    };
    let refused = |arguments: &[&str], why: &str| {
        let ended = app.paas(&[&["builds:create"], arguments].concat());
        assert!(ended.stdout.contains(why), "{why:?} in {ended:?}");
        ended.refused(1, &["is failed"]);
    };
    let with_git = tar(&["."]);
    refused(
        &["--source-tar", &with_git],
        ".git would be a git repository inside the app",
    );
    let outside = tar(&["-P", "Procfile", "../archives/server"]);
    refused(&["--source-tar", &outside], "its name contains ..");
    refused(&["--source-tar", "Procfile"], "no archive");
    // Neither the host nor the platform can be reached by an address.
    let port = platform.http_port;
    let inside = format!("http://127.0.0.1:{port}/source.tgz");
    refused(&["--source-url", &inside], "cannot fetch the source");
    app.paas(&["builds:create", "--source-url", "ftp://x/y.tgz"])
        .refused(1, &["http or https"]);
    assert_eq!(
        platform.get("archives", "/").body,
        "hello from procfile on web.1\n"
    );
    let whole = tar(&["--exclude-vcs", "--transform", "s,^./,app-1.0/,", "."]);
    let said = app.paas(&["builds:create", "--source-tar", &whole]).ok();
    assert!(said.stdout.contains("Released v4"), "{said:?}");
}

#[test]
fn a_build_is_cancelled_and_the_next_one_runs() {
    let platform = Platform::start();
    let app = app_with_compile(&platform, "cancelled", "echo started to wait; sleep 600");
    let program = platform.folder.join("program/paas");
    let mut creating = platform
        .command(program.to_str().unwrap())
        .arg("builds:create")
        .current_dir(&app.folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(creating.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("started to wait")));
    app.push().refused(1, &["is running already"]);
    app.paas(&["builds:create"])
        .refused(1, &["being built already"]);
    app.paas(&["builds:cancel"]).ok();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(
        rest.iter()
            .any(|line| line.contains("the build was cancelled")),
        "{rest:?}"
    );
    assert_eq!(creating.wait().unwrap().code(), Some(1));
    assert_eq!(builds(&app)[0]["status"], "failed");
    app.paas(&["builds:cancel"])
        .refused(1, &["The build has ended already"]);
    app.paas(&["buildpacks:clear"]).ok();
    app.paas(&["builds:create"]).ok();
    assert_eq!(platform.get("cancelled", "/").status, 200);
}

#[test]
fn a_push_is_cancelled_like_any_build() {
    let platform = Platform::start();
    let app = app_with_compile(&platform, "pushed", "echo started to wait; sleep 600");
    let mut pushing = platform
        .command("git")
        .args(["push", "paas", "main"])
        .current_dir(&app.folder)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(pushing.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("started to wait")));
    app.paas(&["builds:cancel"]).ok();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(
        rest.iter().any(|line| line.contains("(build cancelled)")),
        "{rest:?}"
    );
    assert_eq!(pushing.wait().unwrap().code(), Some(1));
    assert_eq!(app.remote_commit("main"), None);
}
