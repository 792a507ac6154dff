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

    app.paas(&["config:set", "RELEASE_EXIT=3"])
        .refused(1, &["release"]);
    assert_eq!(platform.get("phased", "/").status, 200);
    let releases = app.paas(&["releases"]).ok().stdout;
    assert!(releases.contains("failed"), "{releases}");
    app.log_says("app[release.");
}
