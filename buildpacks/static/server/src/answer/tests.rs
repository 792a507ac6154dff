//! A site on disk, asked as browsers and strangers ask.

use std::path::PathBuf;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Folder {
        let path = std::env::temp_dir().join(format!("static-{name}-{}", std::process::id()));
        for (file, content) in files {
            let file = path.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        }
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn ask(site: &Site, method: &str, target: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = http::Request::builder()
        .method(method)
        .uri(target)
        .header("host", "h.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    site.answer(&request.body(()).unwrap().into_parts().0)
        .unwrap()
}

/// Status, then the bytes or the place that the answer names.
fn told(response: Response<Body>) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let status = response.status().as_u16();
    if let Some(location) = response.headers().get(LOCATION) {
        return format!("{status} -> {}", location.to_str().unwrap());
    }
    match response.into_body() {
        Body::Text(_) => format!("{status}"),
        Body::Nothing => format!("{status} nothing"),
        Body::File {
            mut content,
            from,
            count,
        } => {
            let mut bytes = String::new();
            content.file.seek(SeekFrom::Start(from)).unwrap();
            content.file.take(count).read_to_string(&mut bytes).unwrap();
            format!("{status} {bytes}")
        }
    }
}

#[test]
fn a_site_without_settings() {
    let folder = Folder::new(
        "plain",
        &[
            ("index.html", "home"),
            ("a b.txt", "blank"),
            ("docs/index.html", "docs"),
            ("empty/x.css", "css"),
            ("Procfile", "p"),
            (".git/config", "g"),
            (".well-known/x", "known"),
        ],
    );
    let site = Site::open(&folder.0).unwrap();
    let cases = [
        ("/", "200 home"),
        ("/index.html", "200 home"),
        ("/a%20b.txt", "200 blank"),
        ("/docs/", "200 docs"),
        ("/docs", "301 -> /docs/"),
        ("/docs?a=1", "301 -> /docs/?a=1"),
        ("//docs", "301 -> /docs/"),
        ("/empty/", "404"),
        ("/empty/x.css", "200 css"),
        ("/index.html/", "404"),
        ("/missing", "404"),
        ("/Procfile", "404"),
        ("/static.json", "404"),
        ("/.git/config", "404"),
        ("/.well-known/x", "200 known"),
        ("/../etc/passwd", "400"),
        ("/%2e%2e/etc/passwd", "400"),
    ];
    for (target, expected) in cases {
        assert_eq!(told(ask(&site, "GET", target, &[])), expected, "{target}");
    }
    assert_eq!(told(ask(&site, "HEAD", "/", &[])), "200 nothing");
    assert_eq!(told(ask(&site, "POST", "/", &[])), "405");
    assert_eq!(ask(&site, "HEAD", "/", &[]).headers()[CONTENT_LENGTH], "4");
}

const RULES: &str = r#"{
  "root": "site", "clean_urls": true, "https_only": true, "error_page": "errors/404.html",
  "routes": { "/assets/*": "/assets/", "/app/**": "index.html" },
  "redirects": { "/old/**": { "url": "/new/" }, "/away": { "url": "https://e.test/", "status": 302 } },
  "headers": {
    "/**": { "Cache-Control": "no-cache", "X-All": "1" },
    "/assets/*": { "Cache-Control": "max-age=9" }
  }
}"#;

fn site_with_rules(name: &str) -> (Folder, Site) {
    let folder = Folder::new(
        name,
        &[
            ("static.json", RULES),
            ("secret.txt", "s"),
            ("site/index.html", "home"),
            ("site/about.html", "about"),
            ("site/about/index.html", "folder"),
            ("site/assets/a.css", "css"),
            ("site/errors/404.html", "lost"),
        ],
    );
    let site = Site::open(&folder.0).unwrap();
    (folder, site)
}

#[test]
fn a_site_with_rules() {
    let (_folder, site) = site_with_rules("rules");
    let cases = [
        ("/about", "200 about"),
        ("/about/", "200 folder"),
        ("/app/deep/link", "200 home"),
        ("/assets/a.css", "200 css"),
        ("/assets/b.css", "404 lost"),
        ("/old/x/y", "301 -> /new/"),
        ("/away", "302 -> https://e.test/"),
        ("/nowhere", "404 lost"),
        ("/secret.txt", "404 lost"),
    ];
    for (target, expected) in cases {
        assert_eq!(told(ask(&site, "GET", target, &[])), expected, "{target}");
    }
    let plain = ask(&site, "GET", "/a?b=c", &[("x-forwarded-proto", "http")]);
    assert_eq!(told(plain), "301 -> https://h.test/a?b=c");
    let secure = ask(&site, "GET", "/", &[("x-forwarded-proto", "https")]);
    assert_eq!(told(secure), "200 home");
}

#[test]
fn the_last_header_rule_wins() {
    let (_folder, site) = site_with_rules("headers");
    for (target, expected) in [("/", "no-cache"), ("/assets/a.css", "max-age=9")] {
        let response = ask(&site, "GET", target, &[]);
        assert_eq!(response.headers()["cache-control"], expected, "{target}");
        assert_eq!(response.headers()["x-all"], "1", "{target}");
    }
}

#[test]
fn parts_and_known_files() {
    let folder = Folder::new("parts", &[("index.html", "0123456789")]);
    let site = Site::open(&folder.0).unwrap();
    let etag = ask(&site, "GET", "/", &[]).headers()[ETAG]
        .to_str()
        .unwrap()
        .to_owned();
    let cases: &[(&str, &str, &str)] = &[
        ("range", "bytes=2-4", "206 234"),
        ("range", "bytes=-1", "206 9"),
        ("range", "bytes=10-", "416"),
        ("if-none-match", &etag, "304 nothing"),
        ("if-none-match", "\"other\"", "200 0123456789"),
    ];
    for (name, value, expected) in cases {
        assert_eq!(
            told(ask(&site, "GET", "/", &[(name, value)])),
            *expected,
            "{name}: {value}"
        );
    }
    let stale = [("range", "bytes=2-4"), ("if-range", "\"other\"")];
    assert_eq!(told(ask(&site, "GET", "/", &stale)), "200 0123456789");
}

#[test]
fn a_missing_root_is_told() {
    let folder = Folder::new("noroot", &[("static.json", "{}")]);
    let faults = Site::open(&folder.0).unwrap_err();
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "the folder public_html, which static.json names as root, could not be opened: \
          No such file or directory (os error 2)"
        ]
    );
}
