//! The release phase runs before a release's dynos, and decides.

use crate::platform::Platform;

#[test]
fn it_runs_before_the_switch_and_can_refuse_it() {
    let platform = Platform::start();
    let app = platform.checkout("release-phase", "phased");
    let push = app.push().ok();
    assert!(
        push.stderr.contains("release command runs on release."),
        "{}",
        push.stderr
    );
    assert_eq!(
        platform.get("phased", "/").body,
        "file of the release dyno: not seen\n"
    );

    app.paas(&["config:set", "RELEASE_EXIT=3"]).ok();
    app.log_says("heroku[release.");
    app.log_says("Process exited with status 3");
    app.log_says("Release v4 failed");
    assert_eq!(platform.get("phased", "/").status, 200);
    let releases = app.paas(&["releases"]).ok().stdout;
    assert!(
        releases.contains("Current: v3") && releases.contains("failed"),
        "{releases}"
    );

    app.write("release", "#!/bin/bash\necho cannot migrate\nexit 5\n");
    app.commit("a release command that fails");
    app.push()
        .refused(1, &["(release phase failed)", "cannot migrate"]);
    assert_eq!(platform.get("phased", "/").status, 200);

    let said = app.paas(&["releases:output", "v5"]).ok();
    assert_eq!(said.stdout, "cannot migrate\n");
    let shown = app.paas(&["releases:info", "v5"]).ok().stdout;
    assert!(
        shown.contains("=== Release v5") && shown.contains("Status:  failed"),
        "{shown}"
    );
    app.paas(&["releases:info", "v99"]).refused(1, &["release"]);
    app.paas(&["ps:wait"]).ok();
}
