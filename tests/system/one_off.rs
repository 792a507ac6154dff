//! One-off dynos: `paas run`.

use crate::platform::Platform;

#[test]
fn a_command_has_its_exit_code_its_input_and_all_of_its_output() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "oneoff");
    app.paas(&["run", "true"])
        .refused(1, &["nothing to run yet"]);
    app.push().ok();
    app.paas(&["config:set", "WORD=from-config"]).ok();

    let ended = app.paas(&["run", "echo $WORD $DYNO; exit 7"]);
    assert_eq!(ended.code, 7, "{ended:?}");
    assert!(ended.stdout.starts_with("from-config run."), "{ended:?}");
    assert!(ended.stderr.contains("up, run."), "{ended:?}");

    let many = app.paas(&["run", "seq 30000"]).ok();
    let numbers: Vec<&str> = many.stdout.lines().map(str::trim_end).collect();
    assert_eq!(
        (numbers.len(), numbers[0], numbers[29_999]),
        (30_000, "1", "30000")
    );

    let program = platform.folder.join("program/paas");
    let echoed = platform.run(
        platform
            .command(program.to_str().unwrap())
            .args(["run", "-a", "oneoff", "cat"]),
        "two\nlines\n",
    );
    assert_eq!(
        (echoed.code, echoed.stdout.as_str()),
        (0, "two\nlines\n"),
        "{}",
        echoed.stderr
    );

    let env = app
        .paas(&["run", "-e", "A=1;B=2", "--", "bash", "-c", "echo $A-$B"])
        .ok();
    assert_eq!(env.stdout, "1-2\n");
    let greedy = app.paas(&["run", "python3 -c 'x = bytearray(600 << 20)'"]);
    assert_ne!(greedy.code, 0, "{greedy:?}");
    app.log_says("Error R15 (Memory quota vastly exceeded)");
    assert!(
        !app.paas(&["ps"]).ok().stdout.contains("run."),
        "an ended one-off is gone"
    );
    app.log_says("heroku[run.");
}

#[test]
fn a_terminal_is_a_terminal() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "terminal");
    app.push().ok();
    // `script` gives our client a terminal of its own, 33 rows and 77 columns.
    let program = platform.folder.join("program/paas");
    let command = format!(
        "stty rows 33 cols 77; {} run -a terminal 'tty; stty size; test -t 0'",
        program.display()
    );
    let ended = platform.run(
        platform
            .command("script")
            .args(["-qec", &command, "/dev/null"]),
        "",
    );
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stdout.contains("/dev/pts/") && ended.stdout.contains("33 77"),
        "{ended:?}"
    );
}

#[test]
fn a_detached_one_speaks_in_the_log_and_can_be_stopped() {
    let platform = Platform::start();
    let app = platform.checkout("procfile-worker", "detached");
    app.push().ok();
    let begun = app
        .paas(&[
            "run:detached",
            "-e",
            "WORD=plugh",
            "--json",
            "echo $WORD; exec sleep 600",
        ])
        .ok();
    let dyno: serde_json::Value = serde_json::from_str(&begun.stdout).unwrap();
    let name = dyno["name"].as_str().unwrap();
    app.log_says(&format!("app[{name}]: plugh"));
    assert!(app.paas(&["ps"]).ok().stdout.contains(name), "it is listed");
    app.paas(&["ps:stop", name]).ok();
    app.log_says(&format!("heroku[{name}]: Process exited with status 143"));
    app.paas(&["ps:stop", "run.none"]).refused(1, &["dyno"]);
    app.paas(&["ps:stop"])
        .refused(2, &["paas ps:stop run.1234"]);

    app.paas(&["ps:stop", "web"]).ok();
    let waited = app.paas(&["ps:wait"]).ok();
    assert!(
        waited.stderr.contains("1 of 1 dynos are up with v3"),
        "{waited:?}"
    );
    assert_eq!(platform.get("detached", "/").status, 200);
}
