//! Cases of the judgement; numbers are those of docs/router.md, "Decisions".

use super::*;

const GET: Line<'_> = Line {
    method: "GET",
    scheme: None,
    authority: None,
    path: "/",
    is_http_11: true,
    has_body: false,
};

fn judge<'a>(line: &Line<'a>, fields: &'a [(&'a str, &'a str)]) -> Result<Judged<'a>, Refusal> {
    request(line, fields.iter().map(|(n, v)| (*n, v.as_bytes())))
}

/// 200 stands for a request that is passed on.
fn status(line: &Line<'_>, fields: &[(&str, &str)]) -> u16 {
    judge(line, fields).map_or_else(|refusal| refusal.status.as_u16(), |_| 200)
}

#[test]
fn framing() {
    let host = ("Host", "a.b");
    for (fields, wanted) in [
        (vec![host], 200),
        (vec![host, ("Content-Length", "5")], 200),
        (vec![host, ("Content-Length", "007")], 200), // 88
        (
            vec![host, ("Content-Length", "5"), ("content-length", "5")],
            200,
        ), // 87
        (
            vec![host, ("Content-Length", "5"), ("content-length", "6")],
            400,
        ), // 4
        (vec![host, ("Content-Length", "5, 5")], 400), // 5
        (vec![host, ("Content-Length", "+5")], 400),  // 7
        (vec![host, ("Content-Length", "")], 400),    // 13
        (vec![host, ("Content-Length", "99999999999999999999")], 400), // 17
        (
            vec![
                host,
                ("Content-Length", "5"),
                ("Transfer-Encoding", "chunked"),
            ],
            400,
        ), // 83
        (
            vec![
                host,
                ("Transfer-Encoding", "chunked"),
                ("Content-Length", "0"),
            ],
            400,
        ), // 86
        (vec![host, ("Transfer-Encoding", "Chunked")], 200),
        (vec![host, ("Transfer-Encoding", "chunked, chunked")], 400), // 91
        (
            vec![
                host,
                ("Transfer-Encoding", "chunked"),
                ("Transfer-Encoding", "chunked"),
            ],
            400, // 92
        ),
        (vec![host, ("Transfer-Encoding", ",chunked")], 400), // 93
        (vec![host, ("Transfer-Encoding", "gzip, chunked")], 501), // 94
        (vec![host, ("Transfer-Encoding", "xchunked")], 501), // 76
    ] {
        assert_eq!(status(&GET, &fields), wanted, "{fields:?}");
    }
}

#[test]
fn hosts() {
    for (value, wanted) in [
        ("hello.paas.localhost", Some("hello.paas.localhost")),
        ("HELLO.paas.localhost:8080", Some("hello.paas.localhost")),
        ("hello.paas.localhost.", Some("hello.paas.localhost")),
        ("hello.paas.localhost.:80", Some("hello.paas.localhost")),
        ("a_b.c", Some("a_b.c")),
        ("127.0.0.1:5080", Some("127.0.0.1")),
        ("[::1]:80", Some("[::1]")),
        ("a:", Some("a")),
        ("a b", None), // 144 and on
        ("a/b", None),
        ("a@b", None),
        ("a,b", None),
        ("a?b", None),
        ("a\\b", None),
        ("a:80abc", None),
        ("a:65536", None),
        ("a:+80", None),
        ("", None),
        (".", None),
        (":80", None),
        ("[::1", None),
        ("[x]", None),
        ("[::1]80", None),
        ("\u{e4}.b", None),
    ] {
        let fields = [("host", value)];
        let host = judge(&GET, &fields)
            .ok()
            .map(|judged| judged.host.into_owned());
        assert_eq!(host.as_deref(), wanted, "{value}");
    }
    assert_eq!(status(&GET, &[]), 400, "139");
    let old = Line {
        is_http_11: false,
        ..GET
    };
    assert_eq!(status(&old, &[]), 400, "140");
    for second in ["a.b", "other"] {
        assert_eq!(
            status(&GET, &[("Host", "a.b"), ("Host", second)]),
            400,
            "141"
        );
    }
}

#[test]
fn targets() {
    let line = |method, scheme, authority, path| Line {
        method,
        scheme,
        authority,
        path,
        ..GET
    };
    let long = "/".repeat(8192);
    let fits = "/".repeat(8192 - "GET  HTTP/1.1".len());
    let method = "A".repeat(128);
    for (line, wanted) in [
        (line("GET", None, None, "/a/../b//c%00?x=1"), 200), // 134
        (line("TRACE", None, None, "/"), 200),               // 136
        (line("CONNECT", None, Some("a:443"), ""), 405),     // 135
        (line("GET", None, Some("a"), ""), 400),             // 132
        (line("GET", None, None, "/x#y"), 400),              // 133
        (line("OPTIONS", None, None, "*"), 200),
        (line("GET", None, None, "*"), 400),
        (line("GET", Some("http"), Some("a.b"), "/"), 200), // 153
        (line("GET", Some("ftp"), Some("a.b"), "/"), 400),  // 137
        (line("GET", Some("http"), Some("u:p@a.b"), "/"), 400), // 155
        (line("GET", None, None, &fits), 200),
        (line("GET", None, None, &long), 400), // 131
        (line(&method, None, None, "/"), 400),
    ] {
        assert_eq!(status(&line, &[("Host", "a.b")]), wanted, "{line:?}");
    }
    let absolute = line("GET", Some("http"), Some("C.d:1"), "/");
    let fields = [("Host", "a.b")];
    let judged = judge(&absolute, &fields).unwrap();
    assert_eq!(
        (judged.host.as_ref(), judged.authority),
        ("c.d", "C.d:1"),
        "153"
    );
}

#[test]
fn sizes() {
    let host = ("Host", "a.b");
    let value = "v".repeat(8189);
    let name = "n".repeat(1001);
    let many = vec![("x", "1"); 1000];
    for (fields, wanted) in [
        (vec![host, ("x", value.as_str())], 200),
        (vec![host, ("xy", value.as_str())], 400), // 128
        (vec![host, (name.as_str(), "1")], 400),
        ([vec![host], many].concat(), 400), // 130
        ([vec![host], vec![("x", value.as_str()); 33]].concat(), 400),
    ] {
        assert_eq!(status(&GET, &fields), wanted, "{} fields", fields.len());
    }
}

#[test]
fn upgrades() {
    let body = Line {
        has_body: true,
        ..GET
    };
    let old = Line {
        is_http_11: false,
        ..GET
    };
    for (line, connection, upgrade, wanted) in [
        (GET, "Upgrade", "websocket", Some("websocket")),
        (GET, "keep-alive, upgrade", "a, b", Some("a, b")),
        (GET, "keep-alive", "websocket", None),
        (GET, "upgrade", "h2c", None),
        (GET, "upgrade", "H2C, websocket", None),
        (body, "upgrade", "websocket", None), // 163
        (old, "upgrade", "websocket", None),
    ] {
        let fields = [
            ("Host", "a"),
            ("Connection", connection),
            ("Upgrade", upgrade),
        ];
        assert_eq!(judge(&line, &fields).unwrap().upgrade, wanted, "{fields:?}");
    }
}

#[test]
fn expectations() {
    assert_eq!(expect([].into_iter()), Ok(()));
    assert_eq!(expect([&b"100-Continue"[..]].into_iter()), Ok(()));
    assert_eq!(expect([&b"x"[..]].into_iter()), Err(Failure::BadExpect));
}

#[test]
fn responses() {
    let length = Err(Failure::Restriction(Restriction::ContentLength));
    let cookie = "c".repeat(8192);
    let huge = "h".repeat(512 * 1024);
    for (fields, wanted) in [
        (vec![("content-length", "5")], Ok(())),
        (vec![("transfer-encoding", "chunked")], Ok(())),
        (
            vec![("transfer-encoding", "chunked"), ("content-length", "5")],
            length,
        ), // 169
        (
            vec![("content-length", "5"), ("content-length", "6")],
            length,
        ), // 170
        (vec![("content-length", "5, 5")], length), // 171
        (vec![("content-length", "+2")], length),   // 172
        (vec![("content-length", "-2")], length),
        (vec![("content-length", "99999999999999999999")], length),
        (
            vec![("transfer-encoding", "gzip")],
            Err(Failure::UnknownFraming),
        ), // 175
        (
            vec![("transfer-encoding", "gzip, chunked")],
            Err(Failure::UnknownFraming),
        ),
        (
            vec![("set-cookie", cookie.as_str())],
            Err(Failure::Restriction(Restriction::Cookie)),
        ),
        (vec![("x", cookie.as_str())], Ok(())),
        (
            vec![("x", huge.as_str())],
            Err(Failure::Restriction(Restriction::Header)),
        ),
    ] {
        let line = StatusLine {
            status: StatusCode::OK,
            reason: None,
            asked: None,
        };
        let fields = fields.iter().map(|(n, v)| (*n, v.as_bytes()));
        assert_eq!(response(&line, fields), wanted);
    }
}

#[test]
fn status_lines() {
    let long = [b'r'; 8192];
    for (reason, wanted) in [
        (None, Ok(())),
        (Some(&b"Fine"[..]), Ok(())),
        (Some(&b""[..]), Err(Failure::BadResponse)),
        (
            Some(&long[..]),
            Err(Failure::Restriction(Restriction::StatusLine)),
        ),
    ] {
        let line = StatusLine {
            status: StatusCode::OK,
            reason,
            asked: None,
        };
        assert_eq!(response(&line, [].into_iter()), wanted);
    }
    for (asked, to, wanted) in [
        (Some("websocket"), Some("WebSocket"), Ok(())),
        (Some("a, b"), Some("b"), Ok(())),
        (
            Some("websocket"),
            Some("other"),
            Err(Failure::UnknownFraming),
        ), // 184
        (Some("websocket"), None, Err(Failure::UnknownFraming)),
        (None, Some("websocket"), Err(Failure::UnknownFraming)),
    ] {
        let line = StatusLine {
            status: StatusCode::SWITCHING_PROTOCOLS,
            reason: None,
            asked,
        };
        let fields = to.iter().map(|to| ("upgrade", to.as_bytes()));
        assert_eq!(response(&line, fields), wanted, "{asked:?} {to:?}");
    }
}
