//! What takes too long is ended, says so, and leaves nothing behind.

use crate::build_world::app_with_compile;
use crate::platform::Platform;

#[test]
fn a_build_ends_at_its_limit() {
    let platform = Platform::start_with("[limits]\nbuild_s = 3\n");
    let app = app_with_compile(&platform, "slowly", "echo begun; sleep 600 & sleep 600");
    app.push().refused(
        1,
        &[
            "begun",
            "Push rejected, the build took too long.",
            "A build may take 3 s.",
            "(build failed)",
        ],
    );
    assert_eq!(app.remote_commit("main"), None);
    app.log_says("Build failed: A build may take 3 s.");
    app.paas(&["buildpacks:clear"]).ok();
    app.push().ok();
    assert_eq!(platform.get("slowly", "/").status, 200);
}

#[test]
fn a_release_phase_ends_at_its_limit_and_the_old_release_serves() {
    let platform = Platform::start_with("[limits]\nrelease_phase_s = 3\n");
    let app = platform.checkout("release-phase", "stuck");
    app.push().ok();
    let before = app.remote_commit("main");
    app.write(
        "release",
        "#!/bin/bash\necho begins to migrate\nsleep 600 &\nwait\n",
    );
    app.commit("a release command that does not end");
    app.push().refused(
        1,
        &[
            "begins to migrate",
            "the release command did not end within 3 s",
            "(release phase failed)",
        ],
    );
    assert_eq!(app.remote_commit("main"), before);
    assert_eq!(platform.get("stuck", "/").status, 200);
    let releases = app.paas(&["releases"]).ok().stdout;
    assert!(
        releases.contains("Current: v3") && releases.contains("failed"),
        "{releases}"
    );
    app.log_says("heroku[release.");
    let dynos = app.paas(&["ps", "--json"]).ok().stdout;
    assert!(!dynos.contains("release."), "{dynos}");
    app.write("release", "#!/bin/bash\nexit 0\n");
    app.commit("a release command that ends");
    app.push().ok();
}
