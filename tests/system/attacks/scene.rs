//! Who is there: an attacker, a sibling of the same owner, a stranger, the host, an outside.

use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::outside::Outside;
use super::step::{Mode, Only, Row, Step, Who};
use crate::checkout::Checkout;
use crate::platform::{Ended, Platform};

/// What `paas doctor` says where the kernel takes no BPF LSM programs.
const NO_LSM: &str = "BPF LSM programs are refused";

/// A platform with three apps on it.
pub(crate) struct Scene {
    pub(crate) outside: Outside,
    pub(crate) platform: Platform,
    pub(crate) mode: Mode,
    has_lsm: bool,
    /// What `{name}` stands for.
    names: Mutex<BTreeMap<String, String>>,
    listener: TcpListener,
    pub(crate) datagrams: UdpSocket,
}

impl Scene {
    pub(crate) fn start(mode: Mode) -> Self {
        let platform =
            Platform::start_with(&format!("[dynod]\nslug_network = \"{}\"\n", mode.word()));
        platform.login("stranger@example.com");
        platform.push_attacker("stranger");
        platform.login("dev@example.com");
        platform.push_attacker("attacker");
        platform.push_attacker("sibling");
        let second = platform.range().octets()[1];
        let outside = Outside::make(&platform.instance, second);
        let has_lsm = mode == Mode::Central && !platform.doctor().contains(NO_LSM);
        let scene = Self {
            outside,
            platform,
            mode,
            has_lsm,
            names: Mutex::default(),
            listener: TcpListener::bind("0.0.0.0:0").unwrap(),
            datagrams: UdpSocket::bind("0.0.0.0:0").unwrap(),
        };
        scene.learn();
        scene
    }

    /// Finds out all that the table has names for.
    pub(crate) fn learn(&self) {
        let mut names = BTreeMap::new();
        for app in ["attacker", "sibling", "stranger"] {
            self.platform.until_up(app);
            let address = self.platform.order(app, "/run", "own-address");
            let octets: Vec<&str> = address.split('.').collect();
            let is_central = octets[2].parse::<u8>().unwrap() < 128;
            assert_eq!(is_central, self.mode == Mode::Central, "{app}: {address}");
            names.insert(
                format!("{app}_loopback"),
                format!("127.64.{}.{}", octets[2], octets[3]),
            );
            names.insert(app.to_owned(), address);
            let port = self.platform.order(app, "/run", "variable PORT");
            names.insert(format!("{app}_port"), port);
        }
        names.insert("sibling_pid".into(), self.platform.pid_of("sibling"));
        names.insert("test_pid".into(), std::process::id().to_string());
        let port = self.listener.local_addr().unwrap().port();
        names.insert("host_port".into(), port.to_string());
        let port = self.datagrams.local_addr().unwrap().port();
        names.insert("host_udp".into(), port.to_string());
        names.insert("http_port".into(), self.platform.http_port.to_string());
        let instance = self.platform.instance.as_str();
        names.insert(
            "host_addresses".into(),
            host_addresses("-4", instance).join(" "),
        );
        names.insert("host_v6".into(), host_addresses("-6", instance).join(" "));
        names.insert("outside".into(), self.outside.address.to_string());
        names.insert("outside_port".into(), Outside::PORT.to_string());
        let [a, b, ..] = self.platform.range().octets();
        names.insert("broadcast".into(), format!("{a}.{b}.255.255"));
        let own_net = names["attacker"].rsplit_once('.').unwrap().0.to_owned();
        let gateway = match self.mode {
            Mode::Central => format!("{own_net}.1"),
            Mode::Isolated => format!("{a}.{b}.128.1"),
        };
        names.insert("gateway".into(), gateway);
        names.insert("own_net".into(), own_net);
        *self.names.lock().unwrap() = names;
    }

    /// Words with every `{name}` replaced.
    pub(crate) fn filled(&self, words: &str) -> String {
        let names = self.names.lock().unwrap();
        let filled = names.iter().fold(words.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        });
        assert!(!filled.contains('{'), "no such name: {filled}");
        filled
    }

    /// Tries a row; what went another way than it must.
    pub(crate) fn carry_out(&self, row: &Row) -> Vec<String> {
        let mut faults = Vec::new();
        for step in row.steps.iter().filter(|step| self.is_for_here(step)) {
            let words = self.filled(&step.words);
            let outcome = self.outcome(step.who, &words);
            faults.extend(step.fault(row, &outcome));
            let last = outcome.rsplit(' ').next().unwrap_or_default().to_owned();
            self.names.lock().unwrap().insert("last".into(), last);
        }
        for app in ["attacker", "sibling", "stranger"] {
            self.platform.order(app, "/drop", "");
        }
        faults
    }

    fn is_for_here(&self, step: &Step) -> bool {
        let here = match step.only {
            Only::Always => true,
            Only::In(mode) => mode == self.mode,
            Only::Lsm { is_there } => self.mode == Mode::Central && self.has_lsm == is_there,
        };
        here && !matches!(step.who, Who::Build | Who::Built | Who::Refused)
    }

    /// Lets somebody do something.
    pub(crate) fn outcome(&self, who: Who, words: &str) -> String {
        let app = match who {
            Who::Anybody | Who::Attacker => "attacker",
            Who::Sibling => "sibling",
            Who::Stranger => "stranger",
            Who::OneOff => return self.one_off(words),
            Who::Host => return self.on_host(words),
            Who::Built => "builder",
            Who::Refused => return self.refused_build(words),
            Who::Build => unreachable!("builds have a test of their own"),
        };
        match words.split_once(' ') {
            Some(("hold", rest)) => self.platform.order(app, "/hold", rest),
            Some(("heard", rest)) => self.platform.order(app, "/heard", rest),
            Some(("shout", rest)) => self.platform.order(app, "/shout", rest),
            _ => self.platform.order(app, "/run", words),
        }
    }

    fn one_off(&self, words: &str) -> String {
        let command = format!("./attempt {words}");
        let ended = self.platform.paas(&["run", "-a", "attacker", &command]);
        match ended.stdout.lines().last() {
            Some(line) if ended.code == 0 => line.trim().to_owned(),
            _ => format!("ended {}", ended.code),
        }
    }

    /// Pushes an app whose buildpack makes these attempts; their outcomes, one each.
    pub(crate) fn build(&self, words: &[String]) -> Vec<String> {
        let app = self.platform.attacker("builder");
        let said = push_attempts(&app, words).ok().stderr;
        let outcome = |words: &String| {
            let tried = format!("TRIED {words}: ");
            let line = said.lines().find_map(|line| line.split_once(&tried));
            let line = line.unwrap_or_else(|| panic!("no word of {words:?} in:\n{said}"));
            line.1.trim().to_owned()
        };
        words.iter().map(outcome).collect()
    }

    /// Pushes an app whose build leaves something that is refused; why it was.
    fn refused_build(&self, words: &str) -> String {
        let app = self.platform.attacker(words.rsplit(' ').next().unwrap());
        let said = push_attempts(&app, &[words.to_owned()])
            .refused(1, &[])
            .stderr;
        let line = said.lines().find_map(|line| line.split_once("pack app/"));
        let reason = line.and_then(|(_, line)| line.split_once(": "));
        let reason = reason.and_then(|(_, reason)| reason.split_once(','));
        reason.map_or(said.clone(), |(reason, _)| reason.to_owned())
    }
}

/// Pushes an app with a buildpack that makes these attempts.
fn push_attempts(app: &Checkout<'_>, words: &[String]) -> Ended {
    app.write("attempts.txt", &(words.join("\n") + "\n"));
    app.write("buildpack/bin/detect", "#!/bin/bash\necho Attacker\n");
    let compile = "#!/bin/bash\ncd \"$1\" && ./attempt - < attempts.txt\n";
    app.write("buildpack/bin/compile", compile);
    app.write("buildpack/bin/release", "#!/bin/bash\necho '--- {}'\n");
    app.git(&["add", "-A"]).ok();
    for script in ["detect", "compile", "release"] {
        let script = format!("buildpack/bin/{script}");
        app.git(&["update-index", "--chmod=+x", &script]).ok();
    }
    // What `git add` would do with the mode is nothing: only what is in the index counts.
    app.git(&["commit", "-q", "-m", "a buildpack that tries"])
        .ok();
    app.paas(&["buildpacks:set", "./buildpack"]).ok();
    app.push()
}

/// All addresses of this machine but loopback's, and but those of other tests' platforms, which
/// come and go.
fn host_addresses(family: &str, instance: &str) -> Vec<String> {
    let shown = Command::new("ip")
        .args([family, "-o", "address"])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let address = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let interface = words.next()?;
        let is_other_test = interface.starts_with("pt") && !interface.starts_with(instance);
        let address = words.nth(1)?.split('/').next()?;
        (interface != "lo" && !is_other_test).then(|| address.to_owned())
    };
    shown.lines().filter_map(address).collect()
}

/// Host pids of whatever runs in an instance's cgroups.
pub(crate) fn processes_of(instance: &str) -> Vec<String> {
    let in_it = |pid: &String| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
        groups.is_ok_and(|groups| groups.contains(&format!("/{instance}/")))
    };
    let names = std::fs::read_dir("/proc").unwrap().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let pids = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    pids.filter(in_it).collect()
}

impl Platform {
    fn login(&self, email: &str) {
        self.paas(&["login", "--data", &self.data(), "--email", email])
            .ok();
    }

    /// The instance's range, by its first address.
    pub(crate) fn range(&self) -> std::net::Ipv4Addr {
        let config = std::fs::read_to_string(self.folder.join("data/config.toml")).unwrap();
        let config: toml::Table = config.parse().unwrap();
        let range = config["network"].as_str().unwrap();
        range.split('/').next().unwrap().parse().unwrap()
    }

    /// An app that does what it is told, and says its name.
    fn attacker(&self, name: &str) -> Checkout<'_> {
        let app = self.checkout("attacker", name);
        app.write("name", name);
        app.commit("named");
        app
    }

    fn push_attacker(&self, name: &str) {
        self.attacker(name).push().ok();
    }

    /// Waits until an attacker's web dyno answers.
    fn until_up(&self, app: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.get(app, "/").body != app {
            assert!(Instant::now() < deadline, "{app} does not come back");
        }
    }

    /// Tells an attacker's web dyno what to do.
    pub(crate) fn order(&self, app: &str, path: &str, words: &str) -> String {
        let reply = self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: {app}.paas.localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{words}",
            words.len()
        ));
        match reply.status {
            200 => reply.body.trim().to_owned(),
            other => format!("HTTP {other}"),
        }
    }

    /// On the host, of the command of an app's web dyno.
    pub(crate) fn pid_of(&self, app: &str) -> String {
        let name = self.folder.join("work").join(app).join("name");
        let wanted = std::fs::read(name).unwrap();
        let is_it = |pid: &str| {
            let its = std::fs::read(format!("/proc/{pid}/root/app/name"));
            its.is_ok_and(|its| its == wanted)
        };
        let mut pids = processes_of(&self.instance).into_iter();
        pids.find(|pid| is_it(pid))
            .unwrap_or_else(|| panic!("no process of {app}"))
    }

    /// What `paas doctor` says.
    pub(crate) fn doctor(&self) -> String {
        self.paas(&["doctor", "--data", &self.data()]).stdout
    }
}
