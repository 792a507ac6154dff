//! Bad input: a message that names the thing and the next step, and nothing is left behind.

use crate::platform::Platform;

#[test]
fn names_tokens_and_apps() {
    let platform = Platform::start();
    platform.paas(&["create", "A"]).refused(1, &["lower-case"]);
    platform.paas(&["create", "api"]).refused(1, &["reserved"]);
    platform.paas(&["create", "taken"]).ok();
    platform.paas(&["create", "taken"]).refused(1, &["taken"]);
    platform
        .paas(&["info", "-a", "takn"])
        .refused(1, &["no app named takn", "did you mean taken?"]);
    platform.paas(&["info"]).refused(2, &["--app"]);
    platform
        .paas(&["destroy", "-a", "taken", "--confirm", "other"])
        .refused(2, &["nothing was changed"]);

    let app = platform.tree("wrong");
    app.write("Procfile", "web: true\n");
    app.commit("first");
    let with = |token: &str, name: &str| {
        format!(
            "http://paas:{token}@git.paas.localhost:{}/{name}.git",
            platform.http_port
        )
    };
    let bad = app.git(&[
        "-c",
        "credential.helper=",
        "push",
        &with("not-a-token", "taken"),
        "main",
    ]);
    assert!(
        bad.code != 0 && bad.stderr.contains("Authentication failed"),
        "{bad:?}"
    );
    let token = platform.paas(&["auth:token"]).ok().stdout.trim().to_owned();
    app.git(&["push", &with(&token, "Bad_Name"), "main"])
        .refused(128, &["app names are"]);
    app.git(&["fetch", &with(&token, "nothere")])
        .refused(128, &["not found"]);
    let mut signed_out = platform.command(platform.folder.join("program/paas").to_str().unwrap());
    platform
        .run(signed_out.arg("apps").env("HOME", "/nonexistent"), "")
        .refused(3, &["paas login"]);
}

#[test]
fn refs_that_are_no_branch_of_an_app() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "refs");
    app.git(&["tag", "v1"]).ok();
    app.git(&["push", "paas", "v1"]).refused(1, &["v1", "main"]);
    app.push().ok();
    app.git(&["push", "paas", ":main"]).refused(1, &["main"]);
    assert_eq!(app.remote_commit("main"), Some(app.commit_here()));
    let empty = platform.tree("empty");
    empty
        .git(&[
            "remote",
            "add",
            "paas",
            &format!("http://git.paas.localhost:{}/refs.git", platform.http_port),
        ])
        .ok();
    assert_ne!(empty.push().code, 0);
}

#[test]
fn sources_that_cannot_be_built() {
    let platform = Platform::start();
    let nothing = platform.tree("nothing");
    nothing.write("notes.txt", "no app\n");
    nothing.commit("first");
    nothing.paas(&["create", "nothing"]).ok();
    nothing.push().refused(
        1,
        &[
            "[remote rejected] main -> main (build failed)",
            "No default language could be detected",
        ],
    );
    assert_eq!(nothing.remote_commit("main"), None);
    assert_eq!(platform.get("nothing", "/").status, 503);

    let bad = platform.checkout("bad-procfile", "badprocfile");
    bad.push().refused(1, &["no valid line"]);

    let failing = platform.checkout("python-gunicorn", "nopackage");
    failing.write(
        "requirements.txt",
        "this-package-does-not-exist-on-any-index==9.9.9\n",
    );
    failing.commit("bad requirement");
    failing.push().refused(
        1,
        &[
            "requirements.txt",
            "this-package-does-not-exist-on-any-index",
        ],
    );
}

#[test]
fn web_processes_that_do_not_serve() {
    // A short boot time, so that the test need not wait a minute for each.
    let platform = Platform::start();
    let cases = [
        (
            "exits-at-once",
            vec!["exited with status 3", "cannot find my database"],
        ),
        ("wrong-port", vec!["8000", "not on $PORT"]),
        (
            "loopback-only",
            vec!["it listens on 127.0.0.1:", "0.0.0.0:$PORT"],
        ),
        ("never-listens", vec!["listens on no port", "R10"]),
    ];
    std::thread::scope(|scope| {
        for (sample, said) in &cases {
            let platform = &platform;
            scope.spawn(move || {
                let app = platform.checkout(sample, sample);
                app.push()
                    .refused(1, said)
                    .refused(1, &["dynos did not boot"]);
                assert_eq!(app.remote_commit("main"), None);
            });
        }
    });
}

#[test]
fn a_dyno_that_ignores_sigterm_is_killed() {
    let platform = Platform::start();
    let app = platform.checkout("ignores-sigterm", "stubborn");
    app.push().ok();
    app.paas(&["ps:scale", "web=0"]).ok();
    app.log_says("Error R12 (Exit timeout)");
    app.log_says("heroku[web.1]: Process exited with status 137");
}
