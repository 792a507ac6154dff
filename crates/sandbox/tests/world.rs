//! The real nursery, asked through its socket: what runs, what it is held to, what stays after a
//! kill, and that nothing is left behind. Needs root.

#[path = "world/harness.rs"]
mod harness;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;

use harness::{World, dyno, eventually, job, secrets, wait_for_end};
use sandbox::{Base, Error, Mount, Network, Place, PortMode, Spec, Upper, Window};

#[test]
fn a_job_runs_and_tells_its_exit_code() {
    let world = World::new(202);
    assert_eq!(
        world.run(|_| (), &["say", "hello"]),
        ("hello\n".into(), "exit 0".into())
    );
    assert_eq!(world.run(|_| (), &["exit", "7"]).1, "exit 7");
    let (who, _) = world.run(|_| (), &["who"]);
    assert_eq!(who, "uid 1000 gid 1000 groups 0 pid 2 host run.1\n");
    let (fds, _) = world.run(|_| (), &["list", "/proc/self/fd"]);
    assert_eq!(fds, "0 1 2 3\n", "3 is the folder that is being listed");
}

#[test]
fn secrets_are_the_whole_environment_and_files_of_the_user_alone() {
    let world = World::new(203);
    let mut spec = job(&["env"]);
    spec.mounts = vec![Mount::Files {
        to: "/run/secrets".into(),
    }];
    let mut given = secrets(&[("A", "1"), ("PATH", "/bin")]);
    given.files.insert("key".into(), b"hidden".to_vec());
    let mut ran = world.start_job(&spec, &given);
    assert_eq!(ran.output(), "A=1\nPATH=/bin\n");
    let spec = Spec {
        argv: words(&["/inside", "read", "/run/secrets/key"]),
        ..spec
    };
    let spec = Spec {
        id: "reads".into(),
        ..spec
    };
    assert_eq!(world.start_job(&spec, &given).output(), "hidden\n");
    let spec = Spec {
        argv: words(&["/inside", "list", "/run/secrets"]),
        ..spec
    };
    let spec = Spec {
        id: "lists".into(),
        uid: 2000,
        ..spec
    };
    assert_eq!(
        world.start_job(&spec, &given).output(),
        "key\n",
        "they are its user's"
    );
}

type Change = fn(&mut Spec);

#[test]
fn what_cannot_start_says_why_and_leaves_nothing() {
    let world = World::new(204);
    let start = |change: fn(&mut Spec)| {
        let mut spec = dyno(3, &["say", "x"]);
        change(&mut spec);
        let error = world.client().start(&spec, &secrets(&[]), &[]).unwrap_err();
        (matches!(error, Error::Failed(_)), error.to_string())
    };
    let cases: [(Change, &str); 5] = [
        (
            |s| s.argv = vec!["/missing".into()],
            "run /missing: No such file",
        ),
        (
            |s| s.argv = vec!["missing".into()],
            "run missing: No such file",
        ),
        (
            |s| s.cwd = "/nowhere".into(),
            "change to /nowhere: No such file",
        ),
        (
            |s| {
                s.lowers = vec![Place {
                    base: Base::Stack,
                    path: "none/run".into(),
                }];
            },
            "open Stack \"none/run\": No such file",
        ),
        (
            |s| {
                let from = Place {
                    base: Base::Data,
                    path: "absent".into(),
                };
                s.mounts = vec![Mount::Bind {
                    from,
                    to: "/x".into(),
                    write: false,
                }];
            },
            "open Data \"absent\": No such file",
        ),
    ];
    for (change, wanted) in cases {
        let (is_failed, text) = start(change);
        assert!(is_failed && text.contains(wanted), "{text}");
    }
    // The slot is free again.
    let started = world.start_dyno(&dyno(3, &["exit", "0"]));
    wait_for_end(&started.pidfd);
    world.client().remove("dyno-3").unwrap();
}

#[test]
fn limits_hold() {
    let world = World::new(205);
    let roomy = |spec: &mut Spec| spec.limits.memory_max_bytes = 256 << 20;
    assert_eq!(world.run(|_| (), &["eat", "100"]).1, "oom signal 9");
    assert_eq!(
        world.run(|_| (), &["child-eats", "100"]).1,
        "oom signal 9",
        "all die together"
    );
    let (bred, _) = world.run(roomy, &["breed"]);
    assert_eq!(bred, "bred 31 then EAGAIN\n", "32 with the one that breeds");
    let (filled, _) = world.run(roomy, &["fill", "/tmp/x"]);
    assert_eq!(filled, format!("wrote {} then ENOSPC\n", 16 << 20));
    let (shm, _) = world.run(roomy, &["fill", "/dev/shm/x"]);
    assert_eq!(shm, format!("wrote {} then ENOSPC\n", 64 << 20));
    let (limit, _) = world.run(
        |_| (),
        &["read", "/sys/fs/cgroup/memory/memory.limit_in_bytes"],
    );
    assert_eq!(limit.trim(), (64 << 20).to_string());
}

#[test]
fn attacks_come_to_nothing() {
    let world = World::new(206);
    for uid in [1000, 0] {
        let (text, end) = world.run(
            |spec| {
                spec.uid = uid;
                spec.gid = uid;
            },
            &["attack"],
        );
        assert_eq!(end, "exit 0", "{text}");
        let may_work: &[&str] = if uid == 0 {
            &["write-hosts", "setuid", "stack", "adj"]
        } else {
            &["adj"]
        };
        for line in text.lines() {
            let (name, outcome) = line.split_once(' ').unwrap();
            assert!(
                outcome != "worked" || may_work.contains(&name),
                "uid {uid}: {line}"
            );
        }
    }
    let (content, _) = world.run(|_| (), &["say", "whole"]);
    assert_eq!(content, "whole\n", "the stack is as it was");
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

#[test]
fn a_dyno_outlives_the_nursery_and_tells_its_end() {
    let mut world = World::new(207);
    let line = dyno(5, &["flood", "3"]);
    let started = world.start_dyno(&line);
    let mut out = world.output(5);
    let mut text = String::new();
    while !text.ends_with("end\n") {
        assert!(out.read_line(&mut text).unwrap() > 0);
    }
    assert_eq!(
        fs::read_to_string(world.dyno_file(5, "spec")).unwrap(),
        "note of 5"
    );
    world.replace_nursery();
    let living = world.client().list().unwrap();
    assert_eq!(living.len(), 1, "{living:?}");
    let pid_file = fs::read_to_string(world.dyno_file(5, "pid")).unwrap();
    assert_eq!(
        pid_file,
        format!("{} {}\n", started.pid, living[0].start_time)
    );
    assert_eq!(
        (living[0].id.as_str(), living[0].pid),
        ("dyno-5", started.pid)
    );
    let usage = world.client().usage("dyno-5").unwrap();
    assert!(usage.memory_bytes > 0 && usage.pids == 2, "{usage:?}");
    assert!(matches!(
        world
            .client()
            .start(&dyno(5, &["wait"]), &secrets(&[]), &[]),
        Err(Error::Exists(_))
    ));
    world.client().signal("dyno-5", 15).unwrap();
    wait_for_end(&started.pidfd);
    assert!(world.status(5, "signal").starts_with("signal 15 "));
    assert_eq!(world.client().list().unwrap(), []);
    world.replace_nursery();
    assert!(
        world.status(5, "signal").starts_with("signal 15 "),
        "kept until it is removed"
    );
    world.client().usage("dyno-5").unwrap();
    world.client().remove("dyno-5").unwrap();
    world.client().remove("dyno-5").unwrap();
}

#[test]
fn its_last_words_wait_for_a_reader() {
    let world = World::new(208);
    let started = world.start_dyno(&dyno(0, &["say", "last words"]));
    assert!(world.status(0, "exit").starts_with("exit 0 "));
    let mut text = String::new();
    world.output(0).read_line(&mut text).unwrap();
    assert_eq!(text, "last words\n");
    wait_for_end(&started.pidfd);
    world.client().remove("dyno-0").unwrap();
}

#[test]
fn output_that_nobody_reads_is_dropped_and_counted() {
    let world = World::new(209);
    let lines = 30_000;
    let started = world.start_dyno(&dyno(0, &["flood", &lines.to_string()]));
    let dropped = world.status(0, "dropped");
    let mut out = world.output(0);
    let (mut read, mut line) = (0, String::new());
    while !line.ends_with("end\n") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "{dropped}");
        assert!(line.len() == 99 || line == "end\n", "whole lines: {line:?}");
        read += 1;
    }
    let status = fs::read_to_string(world.dyno_file(0, "status")).unwrap();
    let count = |line: &str| {
        line.strip_prefix("dropped ")?
            .split(' ')
            .next()?
            .parse::<u64>()
            .ok()
    };
    let dropped: u64 = status.lines().filter_map(count).sum();
    assert_eq!(dropped + read, lines + 1, "{status}");
    world.client().remove("dyno-0").unwrap();
    wait_for_end(&started.pidfd);
}

#[test]
fn a_dyno_is_up_once_the_outside_can_reach_its_port() {
    let world = World::new(210);
    let watched = |slot, words: &[&str]| Spec {
        watch_port: Some(5000),
        ..dyno(slot, words)
    };
    world.start_dyno(&watched(0, &["listen", "127.0.0.1:5000", "0.0.0.0:5001"]));
    world.start_dyno(&watched(1, &["listen", "[::]:5000"]));
    eventually("both are told", || {
        let status = fs::read_to_string(world.dyno_file(0, "status")).unwrap();
        let all = |line: &str| line.starts_with("listening 0.0.0.0:5001,127.0.0.1:5000 ");
        status.lines().any(all).then_some(())
    });
    world.status(1, "up");
    let status = fs::read_to_string(world.dyno_file(0, "status")).unwrap();
    assert!(!status.contains("up "), "{status}");
    for id in ["dyno-0", "dyno-1"] {
        world.client().remove(id).unwrap();
    }
}

#[test]
fn all_processes_die_with_their_command() {
    let world = World::new(211);
    let (text, end) = world.run(|_| (), &["family"]);
    assert!(text.contains("parent leaves"), "{text}");
    assert_eq!(end, "exit 5");
    let started = world.start_dyno(&dyno(0, &["stubborn"]));
    let mut out = world.output(0);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    world.client().signal("dyno-0", 15).unwrap();
    world.client().signal("dyno-0", 9).unwrap();
    wait_for_end(&started.pidfd);
    assert!(world.status(0, "signal").starts_with("signal 9 "));
    world.client().remove("dyno-0").unwrap();
}

#[test]
fn a_job_dies_with_its_lifeline_and_its_nursery_removes_it() {
    let mut world = World::new(212);
    let mut first = world.start_job(&job(&["stubborn"]), &secrets(&[]));
    assert_eq!(first.line(), "ready");
    drop(first.started.lifeline.take());
    wait_for_end(&first.started.pidfd);
    assert_eq!(first.end(), "", "nobody asked how it ended");
    let mut second = world.start_job(&job(&["stubborn"]), &secrets(&[]));
    assert_eq!(second.line(), "ready");
    world.replace_nursery();
    wait_for_end(&second.started.pidfd);
}

#[test]
fn a_volume_is_kept_between_jobs_and_no_longer() {
    let world = World::new(213);
    let volume = world.client().volume("build-1", 256 << 20).unwrap();
    let in_volume = |spec: &mut Spec| {
        spec.upper = Upper::Volume {
            volume: "build-1".into(),
            dir: "upper".into(),
        };
        let from = Place {
            base: Base::Volume("build-1".into()),
            path: String::new(),
        };
        spec.mounts = vec![Mount::Bind {
            from,
            to: "/volume".into(),
            write: true,
        }];
    };
    let write = |path: &str| world.run(in_volume, &["write", path, "kept"]).0;
    assert_eq!(write("/app/file"), "ok\n");
    assert_eq!(write("/volume/other"), "ok\n", "its root is the user's");
    assert_eq!(world.run(in_volume, &["read", "/app/file"]).0, "kept\n");
    assert_eq!(
        world.run(in_volume, &["read", "/volume/upper/app/file"]).0,
        "kept\n"
    );
    let layered = |spec: &mut Spec| {
        let place = |path: &str| Place {
            base: Base::Volume("build-1".into()),
            path: path.into(),
        };
        spec.mounts = vec![Mount::Overlay {
            lowers: vec![place("upper/app")],
            upper: place("second"),
            to: "/app".into(),
        }];
    };
    assert_eq!(world.run(layered, &["read", "/app/file"]).0, "kept\n");
    assert_eq!(world.run(layered, &["write", "/app/file", "new"]).0, "ok\n");
    assert_eq!(world.run(layered, &["read", "/app/file"]).0, "new\n");
    assert_eq!(
        world.run(in_volume, &["read", "/app/file"]).0,
        "kept\n",
        "lowers stay"
    );
    let (filled, _) = world.run(in_volume, &["fill", "/volume/big"]);
    assert!(filled.ends_with("then ENOSPC\n"), "{filled}");
    drop(volume);
    let mut spec = job(&["say", "x"]);
    in_volume(&mut spec);
    eventually("the volume is gone", || {
        let (null, id) = (fs::File::open("/dev/null").unwrap(), spec.id.clone());
        let files = [null.as_fd(), null.as_fd(), null.as_fd()];
        spec.id = format!("{id}x");
        world.client().start(&spec, &secrets(&[]), &files).err()
    });
}

#[test]
fn a_read_only_root_takes_binds_of_folders_and_files() {
    let world = World::new(214);
    fs::create_dir(world.at.join("data/in")).unwrap();
    fs::write(world.at.join("data/in/a"), "from outside").unwrap();
    fs::create_dir(world.at.join("data/out")).unwrap();
    std::os::unix::fs::chown(world.at.join("data/out"), Some(1000), Some(1000)).unwrap();
    let place = |path: &str| Place {
        base: Base::Data,
        path: path.into(),
    };
    let jail = |spec: &mut Spec| {
        let bind = |path: &str, to: &str, write| Mount::Bind {
            from: place(path),
            to: to.into(),
            write,
        };
        spec.upper = Upper::ReadOnly;
        spec.cwd = "/".into();
        spec.mounts = vec![
            bind("in", "/made/in", false),
            bind("in/a", "/file", false),
            bind("out", "/out", true),
            Mount::Tmpfs {
                to: "/out/deep/tmp".into(),
                max_bytes: 1 << 20,
            },
        ];
    };
    assert_eq!(world.run(jail, &["read", "/made/in/a"]).0, "from outside\n");
    assert_eq!(world.run(jail, &["read", "/file"]).0, "from outside\n");
    assert_eq!(world.run(jail, &["write", "/made/in/b", "x"]).0, "EROFS\n");
    assert_eq!(world.run(jail, &["write", "/app/x", "x"]).0, "EROFS\n");
    assert_eq!(world.run(jail, &["write", "/tmp/x", "x"]).0, "ok\n");
    assert_eq!(
        world.run(jail, &["write", "/out/deep/tmp/x", "x"]).0,
        "ok\n"
    );
    assert_eq!(world.run(jail, &["write", "/out/x", "result"]).0, "ok\n");
    let made = fs::metadata(world.at.join("data/out/x")).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&made),
        1000,
        "inside ids on disk"
    );
    std::os::unix::fs::symlink("/etc", world.at.join("stacks/test-1/run/link")).unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let files = [null.as_fd(), null.as_fd(), null.as_fd()];
    let through = Spec {
        mounts: vec![Mount::Tmpfs {
            to: "/link/x".into(),
            max_bytes: 1 << 20,
        }],
        ..job(&["exit", "0"])
    };
    let refused = world.client().start(&through, &secrets(&[]), &files);
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
}

#[test]
fn a_terminal_has_a_size_and_takes_input() {
    let world = World::new(215);
    let window = Some(Window {
        rows: 30,
        columns: 100,
    });
    let spec = Spec {
        terminal: window,
        ..dyno(0, &["line"])
    };
    let started = world.start_dyno(&spec);
    let mut terminal = fs::File::from(started.terminal.unwrap());
    terminal.write_all(b"hello\n").unwrap();
    let mut lines = BufReader::new(terminal).lines().map_while(Result::ok);
    assert_eq!(lines.next().unwrap(), "hello");
    assert_eq!(lines.next().unwrap(), "got hello");
    assert_eq!(lines.next(), None, "EIO once the inner side is closed");
    assert!(world.status(0, "exit").starts_with("exit 0 "));
    wait_for_end(&started.pidfd);
    world.client().remove("dyno-0").unwrap();
}

#[test]
fn an_isolated_dyno_is_reached_on_its_port() {
    let world = World::new(216);
    let spec = Spec {
        network: Network::Isolated { port: 5000 },
        watch_port: Some(5000),
        ..dyno(4, &["listen", "0.0.0.0:5000"])
    };
    let started = world.start_dyno(&spec);
    world.status(4, "up");
    std::net::TcpStream::connect("10.216.128.6:5000").unwrap();
    let (hosts, _) = world.run(|s| s.network = Network::Build, &["read", "/etc/hosts"]);
    assert!(hosts.contains("10.216.192.2 run.1"), "{hosts}");
    let kept = world.client().start_steps("dyno-4").unwrap();
    let (boot, steps) = kept.split_last().unwrap();
    assert_eq!((boot.0.as_str(), steps), ("boot", &started.steps[..]));
    let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.contains(&"cradle") && names.ends_with(&["exec"]),
        "{names:?}"
    );
    let port = world.client().port("dyno-4").unwrap();
    assert_eq!((port.mode, port.port), (PortMode::Isolated, 5000));
    assert_eq!(port.address.to_string(), "10.216.128.6");
    assert_eq!(port.listening, ["0.0.0.0:5000".parse().unwrap()]);
    assert!(port.bytes_in > 0 && port.bytes_out > 0, "{port:?}");
    let facts = world.client().facts().unwrap();
    assert_eq!(facts.isolated, None);
    world.client().remove("dyno-4").unwrap();
}
