//! `paas up` again: after a change, after its own death. No connection is refused meanwhile.

use crate::platform::Platform;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

const ROLES: [&str; 5] = ["nursery", "api", "builder", "dynod", "router"];

fn pids(platform: &Platform) -> BTreeMap<&'static str, i32> {
    ROLES.map(|role| (role, platform.role(role))).into()
}

fn supervisor(platform: &Platform) -> i64 {
    let path = format!("/run/{}/state.json", platform.instance);
    let state: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    state["up"]["pid"].as_i64().unwrap()
}

/// The same bytes in a new file, which is what an installation of a new build is.
fn install_again(platform: &Platform, name: &str) {
    let program = platform.folder.join("program").join(name);
    let new = program.with_extension("new");
    crate::platform::copy(&program, &new);
    std::fs::rename(&new, &program).unwrap();
}

fn up(platform: &Platform) {
    platform.paas(&["up", "--data", &platform.data()]).ok();
}

/// Ends the visitor, also when the test fails: a scope waits for its threads.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_changed_build_and_a_killed_supervisor() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "steady");
    app.push().ok();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let visitor = scope.spawn(|| {
            let mut visits = 0;
            while !is_over.load(Ordering::Relaxed) {
                let reply = platform.get("steady", "/");
                assert_eq!(reply.status, 200, "visit {visits}: {reply:?}");
                visits += 1;
            }
            visits
        });
        let end = End(&is_over);
        let first = pids(&platform);
        up(&platform);
        assert_eq!(pids(&platform), first, "nothing changed");

        install_again(&platform, "paas");
        install_again(&platform, "nursery");
        let up_before = supervisor(&platform);
        up(&platform);
        assert_eq!(
            supervisor(&platform),
            up_before,
            "it became the new program"
        );
        let second = pids(&platform);
        for role in ROLES {
            assert_ne!(second[role], first[role], "{role} is of the new build");
        }

        let killed = Command::new("kill")
            .args(["-9", &up_before.to_string()])
            .status();
        assert!(killed.unwrap().success());
        up(&platform);
        assert_ne!(supervisor(&platform), up_before);
        assert_eq!(pids(&platform), second, "all were adopted");

        let config = platform.folder.join("data/config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, format!("{text}# changed\n")).unwrap();
        up(&platform);
        for (role, pid) in pids(&platform) {
            assert_ne!(pid, second[role], "{role} has read the new configuration");
        }
        drop(end);
        assert!(visitor.join().unwrap() > 0);
    });
}

#[test]
fn roles_have_no_privilege() {
    let platform = Platform::start();
    for (role, pid) in pids(&platform) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in {status}")).trim()
        };
        if role == "nursery" {
            continue;
        }
        assert_eq!(field("CapPrm:"), "0000000000000000", "{role}");
        assert_eq!(field("NoNewPrivs:"), "1", "{role}");
        assert_eq!(field("Groups:"), "", "{role}");
        assert!(!field("Uid:").starts_with('0'), "{role}");
    }
}
