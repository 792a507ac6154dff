//! A nursery of its own for one test: instance name, folders, a root of the test's own program;
//! and the check that it leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sandbox::{Base, Client, Kind, Limits, Network, Place, Secrets, Spec, Started, Upper};

/// Until something that takes milliseconds has happened for sure.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) instance: String,
    pub(crate) at: PathBuf,
    pub(crate) nursery: Child,
    network: String,
}

impl World {
    /// Starts a nursery. `network`: the third number of an address range of its own, 202 to 250.
    pub(crate) fn new(number: u8) -> Self {
        Self::prepared(number, |_| ())
    }

    /// Does something to the folders before the nursery starts.
    pub(crate) fn prepared(number: u8, prepare: impl FnOnce(&Path)) -> Self {
        let mut bytes = [0; 3];
        File::open("/dev/urandom")
            .unwrap()
            .read_exact(&mut bytes)
            .unwrap();
        let [a, b, c] = bytes;
        let instance = format!("pt{a:02x}{b:02x}{c:02x}");
        let at = std::env::temp_dir().join(&instance);
        for folder in ["run", "data", "program", "stacks/test-1/run"] {
            fs::create_dir_all(at.join(folder)).unwrap();
        }
        std::os::unix::fs::symlink("test-1", at.join("stacks/test")).unwrap();
        fill_root(&at.join("stacks/test-1/run"));
        let network = format!("10.{number}.0.0/16");
        prepare(&at);
        let nursery = spawn(&instance, &at, &network);
        let world = Self {
            instance,
            at,
            nursery,
            network,
        };
        drop(world.client());
        world
    }

    /// Kills the nursery as the kernel would for want of memory, and starts another.
    pub(crate) fn replace_nursery(&mut self) {
        // A test may have killed it before.
        drop(self.nursery.kill());
        self.nursery.wait().unwrap();
        fs::remove_file(self.at.join("run/nursery.sock")).unwrap();
        self.nursery = spawn(&self.instance, &self.at, &self.network);
        drop(self.client());
    }

    pub(crate) fn client(&self) -> Client {
        let path = self.at.join("run/nursery.sock");
        eventually("the nursery answers", || Client::connect(&path).ok())
    }

    /// Runs a word of `inside` as a job to its end: what it wrote, and the lines about its end.
    pub(crate) fn run(&self, change: impl FnOnce(&mut Spec), words: &[&str]) -> (String, String) {
        let mut spec = job(words);
        change(&mut spec);
        let mut job = self.start_job(&spec, &Secrets::default());
        (job.output(), job.end())
    }

    pub(crate) fn start_job(&self, spec: &Spec, secrets: &Secrets) -> Job {
        let (out, write) = nix::unistd::pipe().unwrap();
        let null = File::open("/dev/null").unwrap();
        let files = [null.as_fd(), write.as_fd(), write.as_fd()];
        let started = self.client().start(spec, secrets, &files).unwrap();
        Job {
            started,
            out: File::from(out),
        }
    }

    pub(crate) fn start_dyno(&self, spec: &Spec) -> Started {
        self.client().start(spec, &Secrets::default(), &[]).unwrap()
    }

    pub(crate) fn dyno_file(&self, slot: u16, name: &str) -> PathBuf {
        self.at.join(format!("run/dynos/{slot}/{name}"))
    }

    /// Waits for a line of the dyno's status that starts with a word.
    pub(crate) fn status(&self, slot: u16, word: &str) -> String {
        let path = self.dyno_file(slot, "status");
        eventually(&format!("status {word}"), || {
            let text = fs::read_to_string(&path).unwrap();
            text.lines()
                .find(|l| l.split(' ').next() == Some(word))
                .map(str::to_owned)
        })
    }

    /// Opens the dyno's output for reading.
    pub(crate) fn output(&self, slot: u16) -> BufReader<File> {
        let path = self.dyno_file(slot, "out");
        BufReader::new(
            File::options()
                .read(true)
                .custom_flags(0)
                .open(path)
                .unwrap(),
        )
    }

    /// Dynos and jobs that are still there.
    fn remains(&self) -> Vec<String> {
        let mut found = names(&self.at.join("run/dynos"));
        found.extend(self.groups("jobs"));
        found
    }

    /// The groups below a folder, in any tree.
    fn groups(&self, folder: &str) -> Vec<String> {
        let trees = ["memory", "cpu", "pids", "unified", "."];
        let at = |tree| Path::new("/sys/fs/cgroup").join(tree).join(&self.instance);
        let folders = trees.into_iter().map(|tree| at(tree).join(folder));
        folders.flat_map(|folder| names(&folder)).collect()
    }

    /// Processes in any group: cradles die with their nursery.
    fn processes(&self) -> Vec<String> {
        let folders = ["dynos/central", "dynos/isolated", "jobs"];
        let groups = folders.into_iter().flat_map(|folder| self.groups(folder));
        let with_processes = groups.filter(|group| {
            let listed = fs::read_to_string(Path::new(group).join("cgroup.procs"));
            listed.is_ok_and(|text| !text.is_empty())
        });
        with_processes.collect()
    }

    /// What is still on this machine when everything was torn down.
    fn leftovers(&self) -> Vec<String> {
        let mut found = self.groups(".");
        let name = self.instance.clone();
        // Tearing down leaves this thread in a mount namespace of its own, but not the first one.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = mounts.lines().filter(|l| l.contains(&name));
        found.extend(mounts.map(str::to_owned));
        for entry in fs::read_dir("/sys/block").unwrap() {
            let backing = entry.unwrap().path().join("loop/backing_file");
            let text = fs::read_to_string(backing).unwrap_or_default();
            if text.contains(&name) {
                found.push(text);
            }
        }
        let name = model::instance::Name::parse(&self.instance).unwrap();
        found.extend(sandbox::net::Host::strays(&name).unwrap());
        found
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let is_panicking = std::thread::panicking();
        let settled = |look: &dyn Fn() -> Vec<String>| {
            let none = patiently(|| Some(look()).filter(|left| left.is_empty() || is_panicking));
            none.unwrap_or_else(look)
        };
        let mut left = settled(&|| self.remains());
        self.nursery.kill().unwrap();
        self.nursery.wait().unwrap();
        left.extend(settled(&|| self.processes()));
        let name = model::instance::Name::parse(&self.instance).unwrap();
        sandbox::tear_down(&name, &self.at.join("run")).unwrap();
        left.extend(settled(&|| self.leftovers()));
        fs::remove_dir_all(&self.at).unwrap();
        assert!(is_panicking || left.is_empty(), "left behind: {left:?}");
    }
}

fn names(at: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(at) else {
        return Vec::new();
    };
    let entries = entries
        .map(Result::unwrap)
        .filter(|e| e.file_type().unwrap().is_dir());
    entries.map(|e| e.path().display().to_string()).collect()
}

fn spawn(instance: &str, at: &Path, network: &str) -> Child {
    let folder = |name: &str| at.join(name);
    Command::new(env!("CARGO_BIN_EXE_nursery"))
        .args(["--instance", instance, "--network", network])
        .arg("--run")
        .arg(folder("run"))
        .arg("--data")
        .arg(folder("data"))
        .arg("--stacks")
        .arg(folder("stacks"))
        .arg("--program")
        .arg(folder("program"))
        .arg("--socket")
        .arg(folder("run/nursery.sock"))
        .spawn()
        .unwrap()
}

/// A root file system that holds the test's own program and what it is linked with.
fn fill_root(root: &Path) {
    let mut program = std::env::current_exe().unwrap();
    program.pop();
    program.pop();
    let program = program.join("examples/inside");
    for folder in ["proc", "sys", "dev", "tmp", "var/tmp", "etc", "app"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for folder in ["tmp", "var/tmp"] {
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        fs::set_permissions(root.join(folder), everybody).unwrap();
    }
    std::os::unix::fs::chown(root.join("app"), Some(1000), Some(1000)).unwrap();
    fs::copy(&program, root.join("inside")).unwrap();
    let linked = Command::new("ldd").arg(&program).output().unwrap();
    for word in String::from_utf8(linked.stdout).unwrap().split_whitespace() {
        if word.starts_with('/') {
            let to = root.join(word.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(word, to).unwrap();
        }
    }
}

/// A job's files.
pub(crate) struct Job {
    pub(crate) started: Started,
    pub(crate) out: File,
}

impl Job {
    pub(crate) fn output(&mut self) -> String {
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::with_capacity(1, &self.out)
            .read_line(&mut line)
            .unwrap();
        line.trim().to_owned()
    }

    pub(crate) fn end(&mut self) -> String {
        let mut text = String::new();
        let exit = self.started.exit.take().unwrap();
        File::from(exit).read_to_string(&mut text).unwrap();
        text.trim().replace('\n', " ")
    }
}

pub(crate) fn job(words: &[&str]) -> Spec {
    let mut argv = vec!["/inside"];
    argv.extend(words);
    Spec {
        id: format!("job-{}", unique()),
        kind: Kind::Job,
        hostname: "run.1".into(),
        lowers: vec![Place {
            base: Base::Stack,
            path: "test/run".into(),
        }],
        upper: Upper::Memory {
            max_bytes: 16 << 20,
        },
        mounts: Vec::new(),
        argv: argv.into_iter().map(str::to_owned).collect(),
        cwd: "/app".into(),
        uid: 1000,
        gid: 1000,
        limits: Limits {
            memory_max_bytes: 64 << 20,
            pids_max: 32,
            cpu_weight: 100,
        },
        network: Network::None,
        terminal: None,
        watch_port: None,
        note: String::new(),
    }
}

pub(crate) fn dyno(slot: u16, words: &[&str]) -> Spec {
    Spec {
        id: format!("dyno-{slot}"),
        kind: Kind::Dyno { slot },
        hostname: format!("web.{slot}"),
        note: format!("note of {slot}"),
        ..job(words)
    }
}

pub(crate) fn secrets(env: &[(&str, &str)]) -> Secrets {
    let env = env
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    Secrets {
        env,
        files: BTreeMap::new(),
    }
}

pub(crate) fn wait_for_end(pidfd: &OwnedFd) {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(
        poll(&mut fds, PollTimeout::from(20_000_u16)).unwrap(),
        1,
        "it ends"
    );
}

fn unique() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Looks again and again until there is something.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    patiently(look).unwrap_or_else(|| panic!("{what}: not within {PATIENCE:?}"))
}

fn patiently<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if since.elapsed() > PATIENCE {
            return None;
        }
        poll(&mut [], PollTimeout::from(2_u8)).unwrap();
    }
}
