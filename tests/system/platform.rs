//! One platform for one test.

use crate::machine;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A running platform; dropping it takes it down and looks for what it left.
pub(crate) struct Platform {
    pub(crate) instance: String,
    pub(crate) folder: PathBuf,
    pub(crate) http_port: u16,
    /// Whether the data folder is a mount of its own.
    has_disk: bool,
    _range: File,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The command must have worked.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// The command must have failed with this exit code, saying each of these on standard error.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, said: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        for text in said {
            assert!(
                self.stderr.contains(text),
                "{text:?} is missing in:\n{}",
                self.stderr
            );
        }
        self
    }
}

impl Platform {
    /// Starts a platform and signs root in.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a platform with more lines in its config.toml.
    pub(crate) fn start_with(more: &str) -> Self {
        Self::start_in(more, None)
    }

    /// The same, with its data on a disk of its own of so many MiB.
    pub(crate) fn start_on_disk(size_mib: u32, more: &str) -> Self {
        Self::start_in(more, Some(size_mib))
    }

    fn start_in(more: &str, disk_mib: Option<u32>) -> Self {
        let instance = machine::instance();
        let (range, lock) = machine::range();
        let folder = std::env::temp_dir().join(&instance);
        let program = folder.join("program");
        install(&program);
        std::fs::create_dir_all(folder.join("data")).unwrap();
        std::fs::create_dir_all(folder.join("home")).unwrap();
        if let Some(size_mib) = disk_mib {
            mount_disk(&folder, size_mib);
        }
        let http_port = machine::free_port();
        let config = format!(
            "instance = \"{instance}\"\nhttp_port = {http_port}\nloopback_port = {}\nrendezvous_port = {}\nnetwork = \"{range}\"\nprogram_dir = \"{}\"\n{more}\n{}",
            machine::free_port(),
            machine::free_port(),
            program.display(),
            build_env(more),
        );
        std::fs::write(folder.join("data/config.toml"), config).unwrap();
        let platform = Self {
            instance,
            folder,
            http_port,
            has_disk: disk_mib.is_some(),
            _range: lock,
        };
        platform.paas(&["up", "--data", &platform.data()]).ok();
        platform
            .paas(&[
                "login",
                "--data",
                &platform.data(),
                "--email",
                "dev@example.com",
            ])
            .ok();
        platform
    }

    /// The data folder.
    pub(crate) fn data(&self) -> String {
        self.folder.join("data").to_str().unwrap().to_owned()
    }

    /// Runs our program as a user of this platform.
    pub(crate) fn paas(&self, arguments: &[&str]) -> Ended {
        self.run(
            self.command(self.folder.join("program/paas").to_str().unwrap())
                .args(arguments),
            "",
        )
    }

    /// A command with nothing of this machine's user in its environment.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.folder.join("home"))
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(&self.folder);
        command
    }

    /// Runs a prepared command to its end.
    #[expect(
        clippy::unused_self,
        reason = "reads like the other verbs of a platform"
    )]
    pub(crate) fn run(&self, command: &mut Command, input: &str) -> Ended {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read its input is no fault of the test.
        drop(std::io::Write::write_all(&mut stdin, input.as_bytes()));
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The roles by name with their process ids, as `paas status` tells them.
    pub(crate) fn role(&self, name: &str) -> i32 {
        let status = self.status();
        let roles = status["roles"].as_array().unwrap();
        let role = roles
            .iter()
            .find(|role| role["name"] == name)
            .unwrap_or_else(|| panic!("no role {name} in {status}"));
        i32::try_from(role["pid"].as_i64().unwrap()).unwrap()
    }

    /// What `paas status --json` says, whatever its exit code.
    pub(crate) fn status(&self) -> serde_json::Value {
        let ended = self.paas(&["status", "--json", "--data", &self.data()]);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
    }
}

/// A small ext4 on the data folder; its loop device goes with the mount.
fn mount_disk(folder: &Path, size_mib: u32) {
    let disk = format!(
        "truncate -s {size_mib}M disk && mkfs.ext4 -q -m 0 disk && mount -o loop disk data"
    );
    let made = Command::new("bash")
        .args(["-c", &disk])
        .current_dir(folder)
        .status();
    assert!(made.unwrap().success());
}

/// The installed folder as `make up` lays it out.
fn install(program: &Path) {
    std::fs::create_dir_all(program).unwrap();
    let paas = Path::new(env!("CARGO_BIN_EXE_paas"));
    copy(paas, &program.join("paas"));
    copy(&paas.with_file_name("nursery"), &program.join("nursery"));
    let buildpacks = Path::new(env!("CARGO_MANIFEST_DIR")).join("buildpacks");
    copy(&buildpacks, &program.join("buildpacks"));
    let server = program.join("buildpacks/static/bin/static-server");
    copy(&paas.with_file_name("static-server"), &server);
}

/// Copies what `make test` has built, by a process of its own: were it open for writing here, a
/// process that another test forks meanwhile would have it open, too, and it could not be run.
pub(crate) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(copied.unwrap().success(), "{}", from.display());
}

#[expect(
    clippy::disallowed_methods,
    reason = "the harness hands on what the machine says"
)]
/// What builds need on this machine to reach the package registries.
fn build_env(more: &str) -> String {
    if more.contains("[build.env]") {
        return String::new();
    }
    let lines = ["PIP_INDEX_URL", "UV_INDEX_URL", "NPM_CONFIG_REGISTRY"]
        .iter()
        .filter_map(|name| {
            std::env::var(name)
                .ok()
                .map(|value| format!("{name} = \"{value}\"\n"))
        });
    format!("[build.env]\n{}", lines.collect::<String>())
}

impl Drop for Platform {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        let down = self.paas(&["down", "--data", &self.data()]);
        if self.has_disk {
            let data = self.data();
            let unmounted = Command::new("umount").arg(&data).status().unwrap();
            assert!(unmounted.success() || std::thread::panicking());
        }
        let left = machine::traces(&self.instance, &self.folder);
        let removed = std::fs::remove_dir_all(&self.folder);
        if !std::thread::panicking() {
            assert_eq!(down.code, 0, "paas down: {}", down.stderr);
            assert!(left.is_empty(), "left on the machine:\n{}", left.join("\n"));
            removed.expect("the folder can be removed");
        }
    }
}

impl Platform {
    /// What a person would look at first when a test has failed.
    #[expect(clippy::print_stderr, reason = "for whoever reads a failed test")]
    fn tell(&self) {
        for role in ["up", "nursery", "api", "builder", "dynod", "router"] {
            let log = std::fs::read_to_string(self.folder.join(format!("data/log/{role}.log")))
                .unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "--- {role}\n{}",
                lines[lines.len().saturating_sub(30)..].join("\n")
            );
        }
        let apps = self.paas(&["apps", "--json"]).stdout;
        let apps: serde_json::Value = serde_json::from_str(&apps).unwrap_or_default();
        for app in apps
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|app| app["name"].as_str())
        {
            let logs = self.paas(&["logs", "-a", app, "--num", "40"]).stdout;
            eprintln!("--- the log of {app}\n{logs}");
        }
    }
}
