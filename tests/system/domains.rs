//! An app's names: its own host names, another name, the maintenance page.

use crate::platform::Platform;

#[test]
fn an_app_answers_to_its_names() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "named");
    app.push().ok();
    let status = |host: &str| {
        platform
            .ask(&format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            ))
            .status
    };
    let added = app.paas(&["domains:add", "WWW.Example.com"]).ok();
    assert!(
        added
            .stderr
            .contains("www.example.com to named.paas.localhost"),
        "{}",
        added.stderr
    );
    app.paas(&["domains:add", "*.example.org"]).ok();
    assert_eq!(status("www.example.com"), 200);
    assert_eq!(status("any.example.org:8080"), 200);
    assert_eq!(status("example.org"), 404);
    let shown = app.paas(&["domains"]).ok().stdout;
    assert!(
        shown.contains("Domain Name") && shown.contains("*.example.org"),
        "{shown}"
    );
    app.paas(&["domains:add", "www.example.com"])
        .refused(1, &["www.example.com is added already"]);
    app.paas(&["domains:add", "git.paas.localhost"])
        .refused(1, &["belongs to the platform"]);
    app.paas(&["domains:remove", "no.example.com"])
        .refused(1, &["Couldn't find that domain"]);
    app.paas(&["domains:remove", "www.example.com"]).ok();
    assert_eq!(status("www.example.com"), 404);

    let renamed = app.paas(&["apps:rename", "renamed"]).ok();
    assert!(
        renamed.stderr.contains("set git remote paas to"),
        "{}",
        renamed.stderr
    );
    assert_eq!(platform.get("named", "/").status, 404);
    assert_eq!(platform.get("renamed", "/").status, 200);
    assert_eq!(status("any.example.org"), 200);
    app.write("more", "\n");
    app.commit("more");
    let push = app.push().ok();
    assert!(
        push.stderr.contains("renamed.paas.localhost"),
        "{}",
        push.stderr
    );
    app.paas(&["apps:rename", "no_name"])
        .refused(1, &["app names are"]);

    app.paas(&["maintenance:on"]).ok();
    assert_eq!(platform.get("renamed", "/").status, 503);
    app.log_says("code=H80");
    assert_eq!(app.paas(&["maintenance"]).ok().stdout, "on\n");
    app.paas(&["maintenance:off"]).ok();
    assert_eq!(platform.get("renamed", "/").status, 200);
    app.paas(&["domains:clear"]).ok();
    assert_eq!(status("any.example.org"), 404);
}
