//! The host's own disk is full: who is refused, what they read, and that nothing is lost.

use crate::build_world::app_with_compile;
use crate::platform::Platform;

/// Fills the data folder's file system to the last block; dropped, there is room again.
struct Filled(std::path::PathBuf);

impl Filled {
    fn to_the_end(platform: &Platform) -> Self {
        use std::io::Write as _;
        let path = platform.folder.join("data/filler");
        let mut file = std::fs::File::create(&path).unwrap();
        for size_bytes in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![1; size_bytes]).is_ok() {}
        }
        file.sync_all().ok();
        Self(path)
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn a_build_on_a_full_disk_is_refused_and_the_next_one_works() {
    let platform = Platform::start_on_disk(2048, "");
    let app = platform.checkout("procfile-worker", "full");
    app.push().ok();
    let before = app.remote_commit("main");
    app.commit("once more");
    let filled = Filled::to_the_end(&platform);
    app.push().refused(128, &["the platform's disk is full"]);
    let again = app.paas(&["builds:create", "--again"]);
    let said = format!("{}{}", again.stdout, again.stderr);
    assert!(said.contains("platform's disk is full"), "{again:?}");
    assert_eq!(
        platform.get("full", "/").status,
        200,
        "the old release serves"
    );
    assert_eq!(app.remote_commit("main"), before);
    drop(filled);
    if again.stdout.contains("disk is full") {
        // It was begun; its end is written down now that there is room.
        app.log_says("Build failed");
    }
    app.push().ok();
    assert_eq!(app.remote_commit("main"), Some(app.commit_here()));
    assert_eq!(platform.get("full", "/").status, 200);
}

#[test]
fn a_build_that_meets_the_full_disk_half_way_makes_no_slug() {
    let platform = Platform::start_on_disk(2048, "");
    // More than there is, less than a build may use: the host's disk ends before its own.
    let app = app_with_compile(
        &platform,
        "halfway",
        "head -c 2200000000 /dev/urandom > \"$1/large\"; sync; echo compile has ended; exit 0",
    );
    app.push().refused(
        1,
        &[
            "Push rejected, the platform's disk is full.",
            "(build failed)",
        ],
    );
    assert_eq!(app.remote_commit("main"), None);
    app.log_says("Build failed");
    app.paas(&["buildpacks:clear"]).ok();
    app.push().ok();
    assert_eq!(platform.get("halfway", "/").status, 200);
}

#[test]
fn a_release_on_a_full_disk_leaves_the_old_one() {
    let platform = Platform::start_on_disk(2048, "");
    let app = platform.checkout("release-phase", "released");
    app.push().ok();
    // The release command waits until the disk is full, then its release has to be written down.
    app.write(
        "release",
        "#!/bin/bash\necho waits\nfor i in {1..400}; do [ -e /tmp/never ]; sleep 0.01; done\n",
    );
    app.commit("a slow release command");
    let mut pushing = platform
        .command("git")
        .args(["push", "paas", "main"])
        .current_dir(&app.folder)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(pushing.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("waits")));
    let filled = Filled::to_the_end(&platform);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let code = pushing.wait().unwrap().code();
    assert_eq!(platform.get("released", "/").status, 200, "{rest:?}");
    let set = app.paas(&["config:set", "NEW=1"]);
    drop(filled);
    // Whatever was said, it is so: a release that serves, or none and the branch as it was.
    let moved = app.remote_commit("main") == Some(app.commit_here());
    assert_eq!(code == Some(0), moved, "{rest:?}");
    let has = app.paas(&["config:get", "NEW"]).stdout;
    assert_eq!(set.code == 0, has == "1\n", "{set:?}");
    if set.code != 0 {
        assert!(set.stderr.contains("disk is full"), "{set:?}");
    }
    app.commit("and again");
    app.push().ok();
    let releases = app.paas(&["releases", "--json"]).ok().stdout;
    assert!(!releases.contains("\"pending\""), "{releases}");
}
