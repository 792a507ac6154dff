//! An app with a Dockerfile: built to an image, run, and rebuilt from the cache.

use crate::platform::Platform;

#[test]
fn a_dockerfile_becomes_an_image_that_answers_through_the_router() {
    let platform = Platform::start();
    let app = platform.checkout("dockerfile", "boxed");
    let push = app.push().ok();
    for line in [
        "-----> Building an image from Dockerfile",
        "[1/4] FROM paas/debian-13",
        "[2/4] WORKDIR /srv",
        "[3/4] COPY . .",
        "[4/4] RUN sh make-words",
        "deployed to paas",
        "Verifying deploy... done.",
    ] {
        assert!(
            push.stderr.contains(line),
            "{line:?} is missing in:\n{}",
            push.stderr
        );
    }
    let page = platform.get("boxed", "/");
    assert_eq!(
        (page.status, page.body.as_str()),
        (200, "hello from web.1: made by a RUN, uid 33 in /srv\n")
    );
    let info = app.paas(&["info"]).ok().stdout;
    assert!(info.contains("container"), "{info}");
    let user = app.paas(&["run", "id -un; ls secret.txt built-by; cat built-by"]);
    assert!(
        user.stdout.contains("www-data") && user.stdout.contains("built-by\n0"),
        "{user:?}"
    );

    // The same tree again, and then one line of it.
    app.git(&["commit", "--allow-empty", "-q", "-m", "again"])
        .ok();
    let again = app.push().ok().stderr;
    assert_eq!(again.matches("cached").count(), 3, "{again}");
    app.write("words", "made by another RUN\n");
    app.commit("other words");
    let changed = app.push().ok().stderr;
    assert_eq!(changed.matches("cached").count(), 1, "{changed}");
    let page = platform.get("boxed", "/");
    assert_eq!(
        page.body,
        "hello from web.1: made by another RUN, uid 33 in /srv\n"
    );
}

#[test]
fn what_is_wrong_is_shown_with_its_line() {
    let platform = Platform::start();
    let app = platform.checkout("dockerfile", "faulty");
    let refused = |dockerfile: &str, said: &[&str]| {
        app.write("Dockerfile", dockerfile);
        app.commit("another Dockerfile");
        let push = app.push();
        assert_ne!(push.code, 0, "{dockerfile}");
        for text in said {
            assert!(
                push.stderr.contains(text),
                "{text:?} is missing in:\n{}",
                push.stderr
            );
        }
    };
    refused(
        "FROM paas/debian-13\nFNTRYPOINT x\n",
        &[
            "Dockerfile:2:1: unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)",
            "   2 | >>> FNTRYPOINT x",
            "Nothing was released.",
        ],
    );
    refused(
        "FROM nowhere:1\n",
        &[
            "Dockerfile:1:6: image nowhere:1 is not on this machine",
            "paas/debian-13",
        ],
    );
    refused(
        "FROM paas/debian-13\nCOPY secret.txt /\n",
        &["Dockerfile:2:6: \"secret.txt\": not found; it is excluded by .dockerignore"],
    );
    refused(
        "FROM paas/debian-13\nRUN echo about to fail && exit 37\n",
        &[
            "         about to fail",
            "process \"/bin/sh -c echo about to fail && exit 37\" did not complete successfully: \
             exit code: 37",
        ],
    );
    refused(
        "FROM paas/debian-13\nUSER nosuch\nRUN id\n",
        &["unable to find user nosuch: no matching entries in passwd file"],
    );
}

#[test]
fn the_stack_decides_what_is_built() {
    let platform = Platform::start();
    let app = platform.checkout("dockerfile", "both");
    app.write("Procfile", "web: python3 -u server.py\n");
    app.commit("a slug, too");
    app.paas(&["config:set", "GREETING=slug"]).ok();
    app.write("words.txt", "no RUN at all\n");
    app.write("requirements.txt", "");
    app.commit("words");
    app.paas(&["stack:set", "debian-13"]).ok();
    app.push().ok();
    let page = platform.get("both", "/");
    assert_eq!(
        page.body,
        "slug from web.1: no RUN at all, uid 1000 in /app\n"
    );

    app.paas(&["stack:set", "container"]).ok();
    app.git(&["commit", "--allow-empty", "-q", "-m", "image"])
        .ok();
    app.push().ok();
    let page = platform.get("both", "/");
    assert_eq!(
        page.body,
        "slug from web.1: made by a RUN, uid 33 in /srv\n"
    );
    let chosen = app.paas(&["stack"]).ok().stdout;
    assert!(chosen.contains("* container"), "{chosen}");

    // Back to the slug by the release, then forward by the stack that was chosen.
    app.paas(&["rollback", "v4"]).ok();
    assert_eq!(
        platform.get("both", "/").body,
        "slug from web.1: no RUN at all, uid 1000 in /app\n"
    );
}

#[test]
fn a_procfile_adds_types_that_run_in_the_image() {
    let platform = Platform::start();
    let app = platform.checkout("dockerfile", "types");
    app.write("Procfile", "worker: exec sleep 1000\nno type at all\n");
    app.commit("a worker");
    let push = app.push().ok().stderr;
    let ignored = "Procfile line 2 is not `name: command` and is ignored";
    assert!(push.contains(ignored), "{push}");
    app.paas(&["ps:scale", "worker=1"]).ok();
    let dynos = app.paas(&["ps"]).ok().stdout;
    assert!(dynos.contains("exec sleep 1000"), "{dynos}");
    assert!(dynos.contains("python3 -u server.py"), "{dynos}");
    let made = "from web.1: made by a RUN, uid 33 in /srv\n";
    assert_eq!(platform.get("types", "/").body, format!("hello {made}"));

    // Its web wins over the image's own command.
    app.write(
        "Procfile",
        "web: GREETING=typed exec python3 -u server.py\n",
    );
    app.commit("another web");
    app.push().ok();
    assert_eq!(platform.get("types", "/").body, format!("typed {made}"));

    app.write("Procfile", "nothing\n");
    app.commit("no types");
    let refused = app.push();
    assert_ne!(refused.code, 0);
    let why = "the Procfile has no valid line";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
}
