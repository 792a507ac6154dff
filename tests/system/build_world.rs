//! What a build sees and what it cannot reach, told by a buildpack that looks around.

use crate::checkout::Checkout;
use crate::platform::Platform;

/// An app with a buildpack of its own, whose compile is this script.
pub(crate) fn app_with_compile<'a>(
    platform: &'a Platform,
    name: &str,
    compile: &str,
) -> Checkout<'a> {
    let app = platform.checkout("procfile-worker", name);
    app.write("buildpack/bin/detect", "#!/bin/bash\necho Look\n");
    app.write(
        "buildpack/bin/compile",
        &format!("#!/bin/bash\n{compile}\n"),
    );
    app.write("buildpack/bin/release", "#!/bin/bash\necho '--- {}'\n");
    app.write("buildpack/beside", "found by relative path\n");
    app.git(&["add", "-A"]).ok();
    for script in ["detect", "compile", "release"] {
        app.git(&[
            "update-index",
            "--chmod=+x",
            &format!("buildpack/bin/{script}"),
        ])
        .ok();
    }
    app.commit("a buildpack of its own");
    app.paas(&["buildpacks:set", "./buildpack"]).ok();
    app
}

#[test]
fn the_buildpack_api_to_the_letter() {
    let platform = Platform::start();
    platform.paas(&["create", "looks"]).ok();
    platform
        .paas(&["destroy", "-a", "looks", "--confirm", "looks"])
        .ok();
    let app = app_with_compile(
        &platform,
        "looks",
        r#"echo "args $*"
echo "beside $(cat beside)"
echo "whoami $(id -u) home $HOME stack $STACK version $SOURCE_VERSION path $PATH"
echo "config $(cat "$3/WORD") in environment ${WORD:-not}"
echo "host ${PIP_FIND_LINKS:-nothing} ${CARGO_HOME:-nothing}"
echo "ca $(grep -c BEGIN "$SSL_CERT_FILE" | grep -qv '^0' && echo yes)"
mkdir -p /app/.heroku && echo "app is writable"
[ -e "$2/kept" ] && echo "cache is kept"
touch "$2/kept" "$1/made-by-the-build"
mkdir -p "$1/.profile.d" && echo 'export FROM_PROFILE=sourced' > "$1/.profile.d/look.sh"
chmod +x "$1"/server "$1"/worker.sh"#,
    );
    app.paas(&["config:set", "WORD=xyzzy"]).ok();
    let said = app.push().ok().stderr;
    for line in [
        "args /tmp/build /tmp/cache /tmp/env",
        "beside found by relative path",
        "whoami 1000 home /app stack heroku-24 version",
        "path /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "config xyzzy in environment not",
        "host nothing nothing",
        "ca yes",
        "app is writable",
    ] {
        assert!(said.contains(line), "{line:?} is missing in:\n{said}");
    }
    assert!(
        said.contains(&format!("version {}", app.commit_here())),
        "{said}"
    );
    let ran = app
        .paas(&["run", "ls made-by-the-build; echo $FROM_PROFILE"])
        .ok();
    assert_eq!(ran.stdout, "made-by-the-build\nsourced\n");
    app.commit("again");
    assert!(app.push().ok().stderr.contains("cache is kept"));
}

#[test]
fn a_build_reaches_neither_the_host_nor_the_platform() {
    let platform = Platform::start();
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let control = format!("/run/{}/control.sock", platform.instance);
    let compile = format!(
        r#"gateway=$(python3 -c 'import socket,struct
for line in open("/proc/net/route").readlines()[1:]:
    f = line.split()
    if f[1] == "00000000": print(socket.inet_ntoa(struct.pack("<L", int(f[2], 16))))')
for place in "$gateway:{port}" "192.0.2.2:{port}" "127.0.0.1:{port}" "169.254.169.254:80" "$gateway:{http}"; do
    if timeout 1 bash -c "exec 3<>/dev/tcp/${{place%:*}}/${{place#*:}}" 2>/dev/null; then echo "REACHED $place"; fi
done
[ -e {control} ] && echo "SEEN control.sock"
[ -e {data} ] && echo "SEEN data"
ls /proc | grep -cE '^[0-9]+$' | xargs echo "processes seen"
(mount -t tmpfs none /mnt && echo MOUNTED; unshare -U true && echo UNSHARED) 2>/dev/null
fallocate -l 5G "$1/huge" 2>&1 && echo "FILLED the disk"
python3 -c 'x = bytearray(3 << 30)' 2>/dev/null && echo "TOOK the memory"
exit 0"#,
        http = platform.http_port,
        data = platform.data(),
    );
    let app = app_with_compile(&platform, "jailed", &compile);
    let said = app.push().stderr;
    assert!(
        said.contains("processes seen") || said.contains("memory"),
        "{said}"
    );
    for word in ["REACHED", "SEEN", "MOUNTED", "UNSHARED", "FILLED", "TOOK"] {
        assert!(!said.contains(word), "{said}");
    }
}

#[test]
fn a_buildpack_that_fails_fails_the_push_with_its_words() {
    let platform = Platform::start();
    let app = app_with_compile(
        &platform,
        "fails",
        "echo 'the moon is in the wrong phase'; exit 4",
    );
    app.push().refused(
        1,
        &[
            "the moon is in the wrong phase",
            "Push rejected, failed to compile Look app",
            "(build failed)",
        ],
    );
    app.write(
        "buildpack/bin/compile",
        "#!/bin/bash\nfallocate -l 5G \"$1/huge\"\n",
    );
    app.commit("wants more disk than a build has");
    app.push()
        .refused(1, &["No space left on device", "(build failed)"]);
    let large = "#!/bin/bash\nhead -c 520000000 /dev/urandom > \"$1/large\"\n";
    app.write("buildpack/bin/compile", large);
    app.commit("makes a slug that is too large");
    app.push()
        .refused(1, &["is too large (max is 500M)", "(build failed)"]);
    app.paas(&["buildpacks:set", "nothere"]).ok();
    app.push().refused(1, &["nothere", "python"]);
}

#[test]
fn a_registry_that_is_down_is_named() {
    let platform =
        Platform::start_with("[build.env]\nPIP_INDEX_URL = \"http://127.0.0.1:9/simple\"\n");
    let app = platform.checkout("python-gunicorn", "offline");
    app.push()
        .refused(1, &["package index 127.0.0.1", "(build failed)"]);
    assert_eq!(app.remote_commit("main"), None);
}

#[test]
fn one_build_at_a_time_and_ctrl_c_cancels_it() {
    let platform = Platform::start();
    let app = app_with_compile(&platform, "slow", "echo started to wait; sleep 600");
    let mut pushing = platform
        .command("git")
        .args(["push", "--progress", "paas", "main"])
        .current_dir(&app.folder)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(pushing.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("started to wait")));
    app.push().refused(1, &["slow"]);
    // Ctrl-C reaches git's helper as well, whose end closes the connection.
    let helpers = format!("/proc/{0}/task/{0}/children", pushing.id());
    let children = std::fs::read_to_string(helpers).unwrap();
    let killed = platform
        .command("kill")
        .arg("-INT")
        .args(children.split_whitespace())
        .arg(pushing.id().to_string())
        .status();
    assert!(killed.unwrap().success());
    pushing.wait().unwrap();
    app.log_says("Build failed");
    assert_eq!(app.remote_commit("main"), None);
    app.paas(&["buildpacks:clear"]).ok();
    app.push().ok();
}
