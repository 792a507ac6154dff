//! Config vars: one release for one change, seen by dynos, never in the clear on disk.

use crate::platform::Platform;

#[test]
fn a_change_makes_one_release_and_reaches_the_dynos() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "vars");
    app.write("server", "#!/bin/bash\nexec python3 -c '\nimport http.server, os\nclass H(http.server.BaseHTTPRequestHandler):\n  def do_GET(self):\n    b = os.environ.get(\"SECRET_WORD\", \"none\").encode()\n    self.send_response(200); self.send_header(\"Content-Length\", str(len(b))); self.end_headers(); self.wfile.write(b)\nhttp.server.HTTPServer((\"\", int(os.environ[\"PORT\"])), H).serve_forever()'\n");
    app.commit("says its secret");
    app.push().ok();
    assert_eq!(platform.get("vars", "/").body, "none");
    let set = app
        .paas(&["config:set", "SECRET_WORD=xyzzy-plugh-42", "OTHER=a b"])
        .ok();
    assert!(set.stderr.contains("done, v4"), "{}", set.stderr);
    assert_eq!(platform.get("vars", "/").body, "xyzzy-plugh-42");
    assert!(
        app.paas(&["config:set", "OTHER=a b"])
            .ok()
            .stderr
            .contains("v4"),
        "equal values make no release"
    );
    assert_eq!(app.paas(&["config:get", "OTHER"]).ok().stdout, "a b\n");
    assert!(
        app.paas(&["config", "--shell"])
            .ok()
            .stdout
            .contains("OTHER='a b'")
    );
    assert!(
        app.paas(&["releases"])
            .ok()
            .stdout
            .contains("Set OTHER, SECRET_WORD config vars")
    );

    let found = platform.run(
        platform.command("grep").args([
            "-rl",
            "xyzzy-plugh-42",
            &platform.data(),
            &format!("/run/{}", platform.instance),
        ]),
        "",
    );
    assert_eq!(found.stdout, "", "a secret lies in the clear on disk");

    app.paas(&["config:unset", "SECRET_WORD"]).ok();
    assert_eq!(platform.get("vars", "/").body, "none");
    app.paas(&["rollback", "v4"]).ok();
    assert_eq!(
        platform.get("vars", "/").body,
        "xyzzy-plugh-42",
        "a rollback brings config back"
    );

    let program = platform.folder.join("program/paas");
    let edit = |editor: &str| {
        let mut paas = platform.command(program.to_str().unwrap());
        paas.args(["config:edit", "-a", "vars"])
            .env("VISUAL", editor);
        platform.run(&mut paas, "")
    };
    let edited = edit(r"sed -i 's/^OTHER=.*/NEW=\x27it is new\x27/'");
    assert!(edited.ok().stderr.contains("Changing NEW, OTHER"));
    assert_eq!(app.paas(&["config:get", "NEW"]).ok().stdout, "it is new\n");
    assert_eq!(app.paas(&["config:get", "OTHER"]).ok().stdout, "\n");
    let same = edit("true").ok();
    assert!(same.stderr.contains("No changes"), "{}", same.stderr);
    edit("false").refused(1, &["false", "nothing was changed"]);

    app.paas(&["config:set", "1BAD=x"]).refused(1, &["1BAD"]);
    app.paas(&["config:set", "NOVALUE"])
        .refused(2, &["NOVALUE"]);
    let huge = format!("HUGE={}", "x".repeat(70_000));
    app.paas(&["config:set", &huge]).refused(1, &["65536"]);
}
