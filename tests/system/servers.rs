//! Real servers, as Debian ships them and as their own documentation starts them: each listens on
//! PORT, is reached through the router, and has a loopback of its own that works as everywhere.

use crate::checkout::Checkout;
use crate::platform::{Ended, Platform};
use std::time::{Duration, Instant};

/// What the config var SERVER may be, and what the server's page holds.
const SERVERS: [(&str, &str); 9] = [
    ("gunicorn", "hello from gunicorn"),
    ("uvicorn", "hello from uvicorn"),
    ("asyncio", "hello from asyncio"),
    ("node", "hello from node"),
    ("puma", "hello from puma"),
    ("ruby", "hello from ruby"),
    ("nginx", "hello from nginx"),
    ("go", "Node Exporter"),
    ("java", "hello from java"),
];

/// Paths that make a server ask itself, and what it must find.
const INSIDE: [(&str, &str, &[&str]); 6] = [
    ("gunicorn", "/inside", EVERYTHING),
    ("asyncio", "/inside", EVERYTHING),
    (
        "node",
        "/inside",
        &[
            "own localhost 200",
            "everywhere localhost 200",
            "\n127.0.0.1 200",
            "::1 200",
            "dns found",
        ],
    ),
    (
        "puma",
        "/inside",
        &["localhost connected", "127.0.0.1 connected"],
    ),
    ("nginx", "/localhost", &["hello from nginx"]),
    ("nginx", "/ipv6", &["hello from nginx"]),
];

/// With `…` whoever answers is right: a listener on all addresses has one of its own in central
/// mode, and `localhost` reaches what listens on 127.0.0.1 under `::1`, too (docs/policy.md).
const EVERYTHING: &[&str] = &[
    "tcp 127.0.0.1: 127.0.0.1 answers 127.0.0.1",
    "tcp ::1: ::1 answers ::1",
    "tcp localhost: … answers",
    "tcp 0.0.0.0: … answers",
    "tcp ::: … answers",
    "udp 127.0.0.1: echo from 127.0.0.1",
    "udp ::1: echo from ::1",
    "port 127.0.0.1: 200",
    "port localhost: 200",
    "dns localhost: found",
    "dns outside: found",
];

#[test]
fn listen_on_port_and_reach_themselves() {
    let platform = Platform::start();
    let app = platform.checkout("servers", "servers");
    for script in ["detect", "compile", "release"] {
        let script = format!("buildpack/bin/{script}");
        app.git(&["update-index", "--chmod=+x", &script]).ok();
    }
    app.paas(&["buildpacks:add", "nodejs"]).ok();
    app.paas(&["buildpacks:add", "./buildpack"]).ok();
    app.paas(&["config:set", "SERVER=gunicorn"]).ok();
    app.push().ok();
    let faults: Vec<String> = SERVERS
        .iter()
        .flat_map(|(server, page)| faults_of(&app, server, page))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn faults_of(app: &Checkout<'_>, server: &str, page: &str) -> Vec<String> {
    app.paas(&["config:set", &format!("SERVER={server}")]).ok();
    if let Err(last) = until_served(app.platform, page) {
        let Ended { stdout, .. } = app.paas(&["logs", "--num", "15"]);
        return vec![format!("{server} is not reached: {last}\n{stdout}")];
    }
    let mut faults = Vec::new();
    for (_, path, found) in INSIDE.iter().filter(|(name, ..)| *name == server) {
        let said = app.platform.get("servers", path).body;
        let missing = found.iter().filter(|line| !is_said(&said, line));
        faults.extend(missing.map(|line| format!("{server}: {line:?} is missing in:\n{said}")));
    }
    faults
}

fn is_said(said: &str, expected: &str) -> bool {
    match expected.split_once('…') {
        Some((start, then)) => said
            .lines()
            .any(|line| line.starts_with(start) && line.contains(then)),
        None => said.contains(expected),
    }
}

/// Asks until the new release answers; the old one does until then.
fn until_served(platform: &Platform, page: &str) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let reply = platform.get("servers", "/");
        if reply.status == 200 && reply.body.contains(page) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{reply:?}"));
        }
    }
}
