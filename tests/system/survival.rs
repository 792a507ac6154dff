//! Every process of the platform may be killed with -9; dynos do not notice.

use crate::platform::Platform;
use std::process::Command;

/// The kernel's start time of a process: with its id, who it is.
fn start_time(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?
        .1
        .split(' ')
        .nth(19)
        .map(str::to_owned)
}

fn keeper(platform: &Platform) -> (i32, Option<String>) {
    let text = std::fs::read_to_string(format!("/run/{}/dynos/0/pid", platform.instance)).unwrap();
    let pid = text.split_whitespace().next().unwrap().parse().unwrap();
    (pid, start_time(pid))
}

/// Asks until the platform says that it is whole again; each answer is a new question to it.
/// All is well again, and none of these processes is among the roles: a supervisor that has not
/// noticed yet that one is dead calls all well, too.
fn until_healthy_without(platform: &Platform, killed: &[String]) {
    for _ in 0..2000 {
        let status = platform.status();
        let is_killed = |role: &serde_json::Value| killed.contains(&role["pid"].to_string());
        let roles = status["roles"].as_array().unwrap();
        if status["healthy"] == true && !roles.iter().any(is_killed) {
            return;
        }
    }
    panic!("the platform did not come back: {}", platform.status());
}

#[test]
fn each_role_killed_in_turn_and_all_at_once() {
    survive(&Platform::start());
}

#[test]
fn the_same_where_dynos_have_networks_of_their_own() {
    survive(&Platform::start_with(
        "[dynod]\nslug_network = \"isolated\"",
    ));
}

fn survive(platform: &Platform) {
    let app = platform.checkout("procfile-worker", "survivor");
    app.push().ok();
    let before = keeper(platform);
    for role in ["dynod", "nursery", "api", "builder", "router"] {
        let pid = platform.role(role);
        assert!(
            Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(
            platform.get("survivor", "/").status,
            200,
            "right after {role} was killed"
        );
        until_healthy_without(platform, &[pid.to_string()]);
        assert_ne!(platform.role(role), pid, "{role} is a new process");
        assert_eq!(
            keeper(platform),
            before,
            "the dyno did not notice that {role} was killed"
        );
        assert_eq!(platform.get("survivor", "/").status, 200);
    }
    let all: Vec<String> = ["dynod", "nursery", "api", "builder", "router"]
        .map(|role| platform.role(role).to_string())
        .into();
    assert!(
        Command::new("kill")
            .arg("-9")
            .args(&all)
            .status()
            .unwrap()
            .success()
    );
    until_healthy_without(platform, &all);
    assert_eq!(keeper(platform), before);
    assert_eq!(
        platform.get("survivor", "/").body,
        "hello from procfile on web.1\n"
    );
    app.commit("after all that");
    app.push().ok();
    assert!(app.paas(&["releases"]).ok().stdout.contains("Current: v4"));
}

#[test]
fn a_dyno_that_ends_while_nobody_looks_is_started_again() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "unseen");
    app.push().ok();
    let (keeper, _) = keeper(&platform);
    let dynod = platform.role("dynod");
    let children =
        std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
    assert!(
        Command::new("kill")
            .args(["-9", &dynod.to_string()])
            .status()
            .unwrap()
            .success()
    );
    assert!(
        Command::new("kill")
            .arg("-9")
            .args(children.split_whitespace())
            .status()
            .unwrap()
            .success()
    );
    app.log_says("heroku[web.1]: Process exited with status 137");
    app.log_says("heroku[web.1]: State changed from up to crashed");
    app.log_says("heroku[web.1]: State changed from crashed to starting");
    assert_eq!(platform.get("unseen", "/").status, 200);
}
