//! Buildpacks from elsewhere: a git URL with #ref, and a `.tgz`, served by a host of the test's own
//! in a net namespace, which builds reach as they reach the outside.

use crate::platform::Platform;
use std::path::Path;
use std::process::{Child, Command};

/// A web server outside the platform and outside this host's own addresses.
struct Outside {
    name: String,
    address: String,
    server: Child,
}

fn run(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let ended = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(
        ended.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

impl Outside {
    fn serving(platform: &Platform, folder: &Path) -> Self {
        let name = format!("{}out", platform.instance);
        let cable = format!("{}-o", platform.instance);
        // The second number of the platform's range is ours alone, so this one is, too.
        let config = std::fs::read_to_string(platform.folder.join("data/config.toml")).unwrap();
        let number = config
            .split("network = \"10.")
            .nth(1)
            .unwrap()
            .split('.')
            .next()
            .unwrap();
        let (gateway, address) = (format!("198.18.{number}.1"), format!("198.18.{number}.2"));
        run(&format!("ip netns add {name}"));
        run(&format!(
            "ip link add {cable} type veth peer name eth0 netns {name}"
        ));
        run(&format!("ip addr add {gateway}/30 dev {cable}"));
        run(&format!("ip link set {cable} up"));
        run(&format!("ip -n {name} addr add {address}/30 dev eth0"));
        run(&format!("ip -n {name} link set eth0 up"));
        run(&format!("ip -n {name} route add default via {gateway}"));
        let server = Command::new("ip")
            .args([
                "netns",
                "exec",
                &name,
                "python3",
                "-u",
                "-m",
                "http.server",
                "80",
                "--directory",
            ])
            .arg(folder)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut outside = Self {
            name,
            address,
            server,
        };
        // It says "Serving HTTP" once it listens.
        let said = outside.server.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut String::new())
            .unwrap();
        outside
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        run(&format!("ip netns del {}", self.name));
    }
}

/// Writes a buildpack that says a word.
fn write_buildpack(folder: &Path, word: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    for (name, text) in [
        ("detect", "echo Remote"),
        ("compile", word),
        ("release", "echo '--- {}'"),
    ] {
        let path = folder.join("bin").join(name);
        let text = if name == "compile" {
            format!("echo compiled by {text}")
        } else {
            text.to_owned()
        };
        std::fs::write(&path, format!("#!/bin/bash\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn from_a_git_url_with_a_ref_and_from_an_archive() {
    let platform = Platform::start();
    let served = platform.folder.join("served");
    let source = platform.tree("buildpack-source");
    write_buildpack(&source.folder, "the-tagged-commit");
    source.commit("one");
    source.git(&["tag", "v1"]).ok();
    write_buildpack(&source.folder, "the-newest-commit");
    source.commit("two");
    let bare = served.join("pack.git");
    source
        .git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()])
        .ok();
    source
        .git(&["-C", bare.to_str().unwrap(), "update-server-info"])
        .ok();
    write_buildpack(&platform.folder.join("tar/top"), "the-archive");
    let archive = served.join("pack.tgz");
    run(&format!(
        "tar -czf {} -C {} top",
        archive.display(),
        platform.folder.join("tar").display()
    ));

    let outside = Outside::serving(&platform, &served);
    let app = platform.checkout("procfile-worker", "remotepack");
    for (reference, word) in [
        ("pack.git#v1", "the-tagged-commit"),
        ("pack.git", "the-newest-commit"),
        ("pack.tgz", "the-archive"),
    ] {
        let url = format!("http://{}/{reference}", outside.address);
        app.paas(&["buildpacks:set", &url]).ok();
        app.commit(word);
        let said = app.push().ok().stderr;
        assert!(
            said.contains(&format!("compiled by {word}")),
            "{reference}: {said}"
        );
    }
    app.paas(&[
        "buildpacks:set",
        &format!("http://{}/nothere.tgz", outside.address),
    ])
    .ok();
    app.commit("not there");
    app.push().refused(1, &["nothere.tgz", "(build failed)"]);
    drop(outside);
}
