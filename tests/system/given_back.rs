//! Disk that nobody needs any more is given back.

use crate::build_world::app_with_compile;
use crate::platform::Platform;
use std::process::Command;

#[test]
fn objects_of_refused_pushes_are_collected() {
    let platform = Platform::start();
    let app = app_with_compile(&platform, "refused", "echo no; exit 1");
    let large = app.folder.join("large");
    let made = Command::new("dd")
        .args(["if=/dev/urandom", "bs=1M", "count=4", "status=none"])
        .arg(format!("of={}", large.display()))
        .status();
    assert!(made.unwrap().success());
    app.commit("a large file");
    app.push().refused(1, &["(build failed)"]);
    let shell = |script: &str| {
        let output = Command::new("bash")
            .args(["-c", script])
            .current_dir(platform.folder.join("data/git"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let size_kb = || -> u64 {
        let said = shell("du -sk --exclude=empty.git . | cut -f1");
        said.trim().parse().unwrap()
    };
    assert!(size_kb() > 4_000, "{}", size_kb());
    app.git(&["rm", "-q", "--cached", "large"]).ok();
    app.git(&[
        "commit",
        "-q",
        "--amend",
        "--allow-empty",
        "-m",
        "without it",
    ])
    .ok();
    // What came in the last minutes stays. An hour goes by, also for what git notes beside a pack.
    let hour = "find . -name '*.mtimes' -delete; \
                find . -path '*/objects/*' -type f -exec touch -d '1 hour ago' {} + || true";
    let is_collected = (0..5).any(|_| {
        shell(hour);
        // The next one waits until the repository is tidied after it.
        app.push().refused(1, &["(build failed)"]);
        size_kb() < 1_000
    });
    assert!(is_collected, "{}", size_kb());
    app.paas(&["buildpacks:clear"]).ok();
    app.push().ok();
    assert_eq!(app.remote_commit("main"), Some(app.commit_here()));
}
