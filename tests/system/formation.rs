//! How many dynos of which type there are, and what their logs say.

use crate::platform::Platform;

#[test]
fn types_are_scaled_by_name_and_their_output_is_in_the_log() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "scaled");
    app.push().ok();
    let scaled = app.paas(&["ps:scale", "worker=1", "web=2"]).ok();
    assert!(
        scaled.stderr.contains("worker at 1:Standard-1X")
            && scaled.stderr.contains("web at 2:Standard-1X"),
        "{}",
        scaled.stderr
    );
    app.log_says("app[worker.1]: worker starts on worker.1");
    app.log_says("heroku[worker.1]: State changed from starting to up");
    app.log_says("heroku[web.2]: State changed from starting to up");
    assert!(
        app.paas(&["ps:scale"])
            .ok()
            .stdout
            .contains("web=2:Standard-1X")
    );

    let only_worker = app.paas(&["logs", "--dyno", "worker"]).ok().stdout;
    assert!(
        only_worker.lines().all(|line| line.contains("[worker.1]")),
        "{only_worker}"
    );
    let only_heroku = app
        .paas(&["logs", "--source", "heroku", "--num", "5"])
        .ok()
        .stdout;
    assert!(
        only_heroku.lines().count() <= 5
            && only_heroku.lines().all(|line| line.contains(" heroku[")),
        "{only_heroku}"
    );

    app.paas(&["ps:scale", "web=0"]).ok();
    let page = platform.get("scaled", "/");
    assert_eq!(page.status, 503);
    app.log_says("code=H14");
    app.paas(&["ps:scale", "worker=0"]).ok();
    app.log_says("app[worker.1]: worker stops");
    app.log_says("heroku[worker.1]: Process exited with status 0");
}

#[test]
fn bad_changes_change_nothing() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "unscaled");
    app.push().ok();
    app.paas(&["ps:scale", "web=x"]).refused(2, &["TYPE=N"]);
    app.paas(&["ps:scale", "nothing=1"])
        .refused(1, &["process type"]);
    app.paas(&["ps:scale", "web=2", "nothing=1"])
        .refused(1, &["process type"]);
    app.paas(&["ps:scale", "web-2"]).refused(1, &["quantity"]);
    app.paas(&["ps:scale", "web=101"]).refused(1, &["quantity"]);
    app.paas(&["ps:scale", "web=1:huge"]).refused(1, &["huge"]);
    assert!(
        app.paas(&["ps:scale"])
            .ok()
            .stdout
            .contains("web=1:Standard-1X")
    );
}
