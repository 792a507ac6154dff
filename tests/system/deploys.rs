//! A deploy replaces dynos without a gap, and a bad one changes nothing.

use crate::platform::Platform;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn no_request_fails_while_a_new_release_takes_over() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "rolling");
    app.push().ok();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut statuses = Vec::new();
            while !over.load(Ordering::Relaxed) {
                statuses.push(platform.get("rolling", "/").status);
            }
            statuses
        });
        app.commit("same again");
        let push = app.push();
        app.paas(&["config:set", "A=1"]).ok();
        app.paas(&["ps:scale", "web=2"]).ok();
        app.paas(&["ps:restart"]).ok();
        app.paas(&["ps:scale", "web=1"]).ok();
        over.store(true, Ordering::Relaxed);
        push.ok();
        let statuses = client.join().unwrap();
        assert!(
            statuses.len() > 20,
            "the client asked {} times",
            statuses.len()
        );
        let failed = statuses.iter().filter(|status| **status != 200).count();
        assert_eq!(
            failed,
            0,
            "{failed} of {} requests failed: {statuses:?}",
            statuses.len()
        );
    });
}

#[test]
fn a_release_whose_dynos_do_not_boot_is_not_switched_to() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "steady");
    app.push().ok();
    let serving = app.commit_here();
    app.write(
        "Procfile",
        "web: echo \"cannot find my database\" >&2; exit 3\n",
    );
    app.commit("broken");
    app.push().refused(
        1,
        &[
            "[remote rejected] main -> main (dynos did not boot)",
            "exited with status 3",
            "cannot find my database",
            "v3",
        ],
    );
    assert_eq!(app.remote_commit("main"), Some(serving));
    assert_eq!(
        platform.get("steady", "/").body,
        "hello from procfile on web.1\n"
    );
    let releases = app.paas(&["releases"]).ok().stdout;
    assert!(
        releases.contains("Current: v3") && releases.contains("failed"),
        "{releases}"
    );

    app.write("Procfile", "web: ./server\n");
    app.commit("mended");
    app.push().ok();
    assert!(app.paas(&["releases"]).ok().stdout.contains("Current: v5"));
    app.paas(&["rollback", "v3"]).ok();
    assert!(
        app.paas(&["releases"])
            .ok()
            .stdout
            .contains("Rollback to v3")
    );
    assert_eq!(platform.get("steady", "/").status, 200);
}
