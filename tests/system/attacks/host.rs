//! What the test itself does on the host, in the table's words.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollTimeout, poll};

use super::scene::{Scene, processes_of};
use super::step::Who;

const PATIENCE: Duration = Duration::from_millis(1500);
/// Requests whose times are compared.
const REQUESTS: usize = 40;
/// Below this, times are the machine's noise.
const NOISE: Duration = Duration::from_millis(60);

impl Scene {
    /// Carries out words that begin with a verb of the host.
    pub(crate) fn on_host(&self, words: &str) -> String {
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        let arguments: Vec<&str> = rest.split(' ').collect();
        match (verb, arguments.as_slice()) {
            ("connect", [address, port]) => connect(address, port),
            ("doctor", _) => self.doctor_says(rest),
            ("get", [app, count]) => self.get_all(app, count.parse().unwrap()),
            ("files", [app]) => self.platform.get(app, "/files").body,
            ("kill", [role]) => self.kill(role),
            ("outside-hears", [last]) => self.outside.heard(last),
            ("log", _) => self.log(rest),
            ("calm-during", _) => self.is_calm_during(rest),
            ("growth-of", _) => self.growth_during(rest),
            ("forget", [app]) => self.forget(app),
            ("restart", [app]) => self.restart(app),
            ("socket-without-entry", _) => self.socket_without_entry(),
            ("refused", _) => self.refused(&arguments),
            ("leave-unseen", [code]) => self.leave_unseen(code),
            ("gone", [app]) => self.gone(app),
            ("freeze-and-stop", [app]) => self.freeze_and_stop(app),
            ("hears", [last]) => self.hears(last),
            ("stop", [app]) => self.scale(app, 0),
            ("start", [app]) => self.scale(app, 1),
            _ => panic!("the host does not know {words:?}"),
        }
    }

    fn doctor_says(&self, words: &str) -> String {
        let said = self.platform.doctor();
        let found = said.lines().find(|line| line.contains(words));
        found.map_or(format!("nothing of it in:\n{said}"), |_| {
            "says so".to_owned()
        })
    }

    /// Through the router; every answer must be the app's own.
    fn get_all(&self, app: &str, count: usize) -> String {
        let wrong = (0..count)
            .map(|_| self.platform.get(app, "/"))
            .find(|reply| reply.status != 200 || reply.body != app);
        wrong.map_or("all its own".to_owned(), |reply| format!("{reply:?}"))
    }

    /// All that came to the host's own UDP port, up to what the test now says to itself.
    fn hears(&self, last: &str) -> String {
        let own = self.datagrams.local_addr().unwrap().port();
        let sent = self.datagrams.send_to(last.as_bytes(), ("127.0.0.1", own));
        sent.unwrap();
        let mut all = Vec::new();
        let mut buffer = [0; 100];
        while all.last().is_none_or(|text| text != last) {
            let count = self.datagrams.recv(&mut buffer).unwrap();
            all.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
        }
        all.join(" ")
    }

    fn kill(&self, role: &str) -> String {
        let pid = self.platform.role(role).to_string();
        let mut kill = self.platform.command("kill");
        self.platform.run(kill.args(["-9", &pid]), "").ok();
        let deadline = Instant::now() + Duration::from_mins(1);
        while Instant::now() < deadline {
            let status = ["status", "--json", "--data", &self.platform.data()];
            if self.platform.paas(&status).code == 0 {
                return "back".to_owned();
            }
        }
        format!("not back: {}", self.platform.status())
    }

    /// `APP TEXT`
    fn log(&self, rest: &str) -> String {
        let (app, text) = rest.split_once(' ').unwrap();
        let folder = self.platform.folder.join("work").join(app);
        let platform = &self.platform;
        crate::checkout::Checkout { platform, folder }.log_says(text);
        "says so".to_owned()
    }

    /// A neighbour is asked before and during an attack of `WHO WORDS`.
    fn is_calm_during(&self, attack: &str) -> String {
        let before = self.median_while(|_| false);
        let (ended, during) = std::thread::scope(|scope| {
            let attack = scope.spawn(|| self.attack_by(attack));
            let during = self.median_while(|asked| asked < REQUESTS && !attack.is_finished());
            (attack.join().unwrap(), during)
        });
        if during < (before * 2).max(NOISE) {
            format!("calm, {ended}")
        } else {
            format!("{during:?} in place of {before:?}, {ended}")
        }
    }

    /// `WHO WORDS`
    fn attack_by(&self, attack: &str) -> String {
        let (who, words) = attack.split_once(' ').unwrap();
        let who = match who {
            "attacker" => Who::Attacker,
            "one-off" => Who::OneOff,
            _ => panic!("{who:?} does not attack"),
        };
        self.outcome(who, words)
    }

    /// The median of at least a quarter of the requests, and of more as long as that holds.
    fn median_while(&self, more: impl Fn(usize) -> bool) -> Duration {
        let mut times = Vec::new();
        while times.len() < REQUESTS / 4 || more(times.len()) {
            let since = Instant::now();
            let reply = self.platform.get("sibling", "/");
            assert_eq!(reply.body, "sibling", "{reply:?}");
            times.push(since.elapsed());
        }
        times.sort_unstable();
        times[times.len() / 2]
    }

    /// `ROLE WHO WORDS`: how much more memory a role has after an attack, in whole units of 64 MiB.
    fn growth_during(&self, rest: &str) -> String {
        let (role, attack) = rest.split_once(' ').unwrap();
        let resident = || {
            let status = format!("/proc/{}/status", self.platform.role(role));
            let status = std::fs::read_to_string(status).unwrap();
            let line = status.lines().find(|line| line.starts_with("VmRSS:"));
            let kib = line.unwrap().split_whitespace().nth(1).unwrap();
            kib.parse::<u64>().unwrap()
        };
        let before = resident();
        let ended = self.attack_by(attack);
        let units = resident().saturating_sub(before) / (64 * 1024);
        format!("{units} units, {ended}")
    }

    fn refused(&self, arguments: &[&str]) -> String {
        match self.platform.paas(arguments).code {
            0 => "taken".to_owned(),
            _ => "refused".to_owned(),
        }
    }

    /// Takes the entry of a running dyno away.
    fn forget(&self, app: &str) -> String {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/system/attacks/forget.py"
        );
        let map = format!("/run/{}/bpf/maps/dynos", self.platform.instance);
        let group = v2_group(&self.platform.pid_of(app));
        let mut python = self.platform.command("python3");
        python.args([script, &map]).arg(group);
        self.platform.run(&mut python, "").ok();
        "forgotten".to_owned()
    }

    fn restart(&self, app: &str) -> String {
        self.platform.paas(&["ps:restart", "-a", app]).ok();
        self.learn();
        "restarted".to_owned()
    }

    /// A process that is put beside the dynos, in a cgroup that nobody admitted.
    fn socket_without_entry(&self) -> String {
        let dyno = v2_group(&self.platform.pid_of("attacker"));
        let stray = dyno.parent().unwrap().join("stray");
        std::fs::create_dir(&stray).unwrap();
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec 3<>/dev/tcp/192.0.2.200/9",
            stray.display()
        );
        let mut bash = self.platform.command("bash");
        let ended = self.platform.run(bash.args(["-c", &script]), "");
        std::fs::remove_dir(&stray).unwrap();
        if ended.stderr.contains("Operation not permitted") {
            "EPERM".to_owned()
        } else {
            ended.stderr
        }
    }

    /// The attacker's dyno ends while dynod cannot look, then dynod is killed.
    fn leave_unseen(&self, code: &str) -> String {
        let dynod = self.platform.role("dynod").to_string();
        let mut stop = self.platform.command("kill");
        self.platform.run(stop.args(["-STOP", &dynod]), "").ok();
        let left = self.platform.order("attacker", "/exit", code);
        self.kill("dynod");
        // The new one may have another address.
        self.learn();
        left
    }

    fn scale(&self, process: &str, count: usize) -> String {
        let scaled = format!("{process}={count}");
        let ended = self.platform.paas(&["ps:scale", "-a", "attacker", &scaled]);
        ended.ok();
        "scaled".to_owned()
    }

    /// Freezes the process type's dyno by the kernel's means, then stops it.
    fn freeze_and_stop(&self, process: &str) -> String {
        let group = v2_group(&self.pid_with(process).expect("it runs"));
        std::fs::write(group.join("cgroup.freeze"), "1").unwrap();
        self.scale(process, 0)
    }

    /// Waits until no process of a process type is left.
    fn gone(&self, process: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(45);
        while Instant::now() < deadline {
            if self.pid_with(process).is_none() {
                return "gone".to_owned();
            }
            poll(&mut [], PollTimeout::from(50_u8)).unwrap();
        }
        "still there".to_owned()
    }

    /// The host's pid of a process that has this word in its command.
    fn pid_with(&self, word: &str) -> Option<String> {
        processes_of(&self.platform.instance)
            .into_iter()
            .find(|pid| {
                let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&command).contains(word)
            })
    }
}

/// The v2 cgroup of a process, where the host sees it.
fn v2_group(pid: &str) -> std::path::PathBuf {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(std::path::Path::new);
    let root = roots
        .into_iter()
        .find(|root| root.join("cgroup.procs").exists());
    root.unwrap().join(own.unwrap())
}

fn connect(address: &str, port: &str) -> String {
    let address = SocketAddr::new(address.parse().unwrap(), port.parse().unwrap());
    match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(_) => "connected".to_owned(),
        Err(error) => match error.raw_os_error() {
            Some(number) => format!("{:?}", Errno::from_raw(number)),
            None => "timed out".to_owned(),
        },
    }
}
