//! A newcomer's first minutes: create, push, look.

use crate::platform::Platform;

#[test]
fn a_pushed_app_answers_through_the_router() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "hello");

    assert_eq!(
        platform.get("hello", "/").status,
        503,
        "nothing was pushed yet"
    );
    let push = app.push().ok();
    for line in [
        "-----> Building on the debian-13 stack",
        "Procfile declares types -> web, worker",
        "Released v3",
        "http://hello.paas.localhost",
        "deployed to paas",
        "Verifying deploy... done.",
    ] {
        assert!(
            push.stderr.contains(line),
            "{line:?} is missing in:\n{}",
            push.stderr
        );
    }
    assert_eq!(app.remote_commit("main"), Some(app.commit_here()));

    let page = platform.get("hello", "/");
    assert_eq!(
        (page.status, page.body.as_str()),
        (200, "hello from procfile on web.1\n")
    );
    assert_eq!(platform.get("nobody", "/").status, 404);

    let dynos: serde_json::Value =
        serde_json::from_str(&app.paas(&["ps", "--json"]).ok().stdout).unwrap();
    assert_eq!(
        (
            dynos[0]["name"].as_str(),
            dynos[0]["state"].as_str(),
            dynos.as_array().unwrap().len()
        ),
        (Some("web.1"), Some("up"), 1)
    );
    let releases = app.paas(&["releases"]).ok().stdout;
    assert!(
        releases.contains("Current: v3") && releases.contains("Deploy "),
        "{releases}"
    );
    app.log_says("heroku[router]: at=info method=GET path=\"/\" host=hello.paas.localhost");

    assert!(app.push().ok().stderr.contains("Everything up-to-date"));
    app.paas(&["destroy", "--confirm", "hello"]).ok();
    assert_eq!(platform.get("hello", "/").status, 404);
    app.paas(&["info"]).refused(1, &["no app named hello"]);
}

#[test]
fn a_push_to_a_free_name_makes_the_app() {
    let platform = Platform::start();
    let app = platform.tree("fresh");
    app.write("Procfile", "web: python3 -m http.server $PORT\n");
    app.commit("first");
    let url = format!("http://git.paas.localhost:{}/fresh.git", platform.http_port);
    app.git(&["remote", "add", "paas", &url]).ok();
    let push = app.push().ok();
    assert!(push.stderr.contains("fresh"), "{}", push.stderr);
    assert_eq!(platform.get("fresh", "/").status, 200);
    let clone = platform.folder.join("clone");
    platform
        .run(
            platform
                .command("git")
                .args(["clone", "-q", &url])
                .arg(&clone),
            "",
        )
        .ok();
    assert!(clone.join("Procfile").exists());
}

#[test]
fn another_branch_is_stored_and_does_not_build() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "branches");
    app.git(&["checkout", "-q", "-b", "topic"]).ok();
    let push = app.git(&["push", "paas", "topic"]).ok();
    assert!(push.stderr.contains("skipping build"), "{}", push.stderr);
    assert_eq!(app.remote_commit("topic"), Some(app.commit_here()));
    assert_eq!(app.remote_commit("main"), None);
}
