//! Central mode, as people see it: where a dyno is reached, by whom, and what it is refused.

use crate::checkout::Checkout;
use crate::platform::Platform;
use serde_json::Value;

/// Tries what the path says, from inside the dyno, and answers with how that ended.
const PROBE: &str = r#"#!/usr/bin/env python3
import errno, http.server, os, socket

def tried(address, port):
    try:
        socket.create_connection((address, int(port)), timeout=3).close()
        return "connected"
    except TimeoutError:
        return "timed out"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        parts = self.path.strip("/").split("/")
        text = tried(*parts) if len(parts) == 2 else os.environ["PORT"]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#;

fn probe<'a>(platform: &'a Platform, name: &str) -> Checkout<'a> {
    use std::os::unix::fs::PermissionsExt as _;
    let app = platform.tree(name);
    app.write("Procfile", "web: ./probe\nworker: sleep infinity\n");
    app.write("probe", PROBE);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(app.folder.join("probe"), mode).unwrap();
    app.commit("first");
    app.paas(&["create", name]).ok();
    app
}

fn json(app: &Checkout<'_>, arguments: &[&str]) -> Value {
    let said = app.paas(&[arguments, &["--json"]].concat()).ok().stdout;
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"))
}

fn numbers(port: &Value) -> (String, u64) {
    let address = port["address"].as_str().unwrap().to_owned();
    (address, port["port"].as_u64().unwrap())
}

#[test]
fn dynos_of_one_owner_share_a_network_and_cannot_reach_each_other() {
    let platform = Platform::start();
    let app = probe(&platform, "alpha");
    let push = app.push().ok();
    assert!(!push.stderr.contains("isolated"), "{}", push.stderr);
    let port = json(&app, &["ps:port", "web.1"]);
    assert_eq!(port["network"]["mode"], "central", "{port}");
    let (address, number) = numbers(&port);
    assert!(number >= 10_000, "{port}");
    let listening = serde_json::json!([format!("{address}:{number}")]);
    assert_eq!(port["listening"], listening, "{port}");
    assert_eq!(platform.get("alpha", "/").body, number.to_string());

    let neighbour = probe(&platform, "beta");
    neighbour.push().ok();
    let (beside, _) = numbers(&json(&neighbour, &["ps:port", "web.1"]));
    let net = |address: &str| address.rsplit_once('.').unwrap().0.to_owned();
    assert_eq!(net(&beside), net(&address), "one network of one owner");
    let path = format!("/{address}/{number}");
    assert_eq!(platform.get("beta", &path).body, "ECONNREFUSED");
    assert_eq!(platform.get("alpha", "/").status, 200, "the router can");
    neighbour.log_says(&format!(
        "heroku[web.1]: Refused: connect to {address}:{number}"
    ));
    let said = json(&neighbour, &["ps:port", "web.1"]);
    let refusal = &said["refusals"][0];
    assert_eq!(
        (&refusal["error"], &refusal["count"]),
        (&"ECONNREFUSED".into(), &1.into()),
        "{said}"
    );
    assert!(said["bytes_in"].as_u64().unwrap() > 0, "{said}");
    let read = neighbour.paas(&["ps:port", "web.1"]).ok().stdout;
    for text in [
        "=== web.1 of beta: up",
        "Mode:        central",
        "ECONNREFUSED",
    ] {
        assert!(read.contains(text), "{text:?} is missing in:\n{read}");
    }

    app.paas(&["ps:scale", "worker=1"]).ok();
    app.log_says("heroku[worker.1]: State changed from starting to up");
    let worker = json(&app, &["ps:port", "worker.1"]);
    assert_eq!(worker["network"]["mode"], "central");
    assert_eq!(worker["listening"], serde_json::json!([]));
    app.paas(&["ps:port", "web.9"]).refused(
        1,
        &["no dyno named web.9 on alpha", "its dynos: web.1, worker.1"],
    );
}

#[test]
fn each_step_of_a_start_is_told() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "steps");
    app.push().ok();
    let said = json(&app, &["inspect", "--start", "web.1"]);
    let steps = said["steps"].as_array().unwrap();
    let names: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["name"].as_str())
        .collect();
    assert!(names.len() > 3 && names.last() == Some(&"boot"), "{said}");
    let took = |step: &Value| step["duration_us"].as_u64().unwrap();
    let whole_us: u64 = steps.iter().map(took).sum();
    assert!((1_000..60_000_000).contains(&whole_us), "{said}");
    let read = app.paas(&["inspect", "--start", "web.1"]).ok().stdout;
    assert!(read.contains("microseconds"), "{read}");
    assert!(
        read.lines().last().unwrap().starts_with("together"),
        "{read}"
    );
    app.paas(&["inspect", "--start", "web.9"])
        .refused(1, &["no dyno named web.9 on steps"]);
    app.paas(&["inspect", "web.1"]).refused(2, &["--start"]);
}

#[test]
fn a_platform_that_runs_slugs_isolated_says_so_once() {
    let platform = Platform::start_with("[dynod]\nslug_network = \"isolated\"");
    let app = probe(&platform, "apart");
    let push = app.push().ok();
    let said = "run isolated, not central: config.toml says so";
    assert_eq!(push.stderr.matches(said).count(), 1, "{}", push.stderr);
    assert_eq!(platform.get("apart", "/").body, "5000");
    app.paas(&["ps:scale", "web=2"]).ok();
    app.log_says("heroku[web.2]: State changed from starting to up");
    let list = app.paas(&["ps"]).ok();
    assert_eq!(list.stderr.matches(said).count(), 1, "{}", list.stderr);
    let port = json(&app, &["ps:port", "web.1"]);
    assert_eq!(port["network"]["mode"], "isolated");
    let (address, number) = numbers(&port);
    assert_eq!(number, 5000);
    let other = probe(&platform, "other");
    other.push().ok();
    let reached = platform.get("other", &format!("/{address}/{number}"));
    assert_ne!(reached.body, "connected");
    assert_eq!(platform.get("apart", "/").status, 200);
}
