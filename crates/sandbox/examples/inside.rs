//! What the tests run inside sandboxes: one small deed per word, its outcome on standard output.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::Pid;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match act(&words) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tell(&format!("error {error}"));
            ExitCode::from(99)
        }
    }
}

fn tell(line: &str) {
    let mut out = io::stdout().lock();
    drop(out.write_all(format!("{line}\n").as_bytes()));
    drop(out.flush());
}

fn act(words: &[&str]) -> io::Result<u8> {
    match words {
        ["exit", code] => return code.parse().map_err(io::Error::other),
        ["say", text] => tell(text),
        ["env"] => std::env::vars().for_each(|(name, value)| tell(&format!("{name}={value}"))),
        ["read", path] => tell(&outcome(fs::read_to_string(path))),
        ["write", path, text] => tell(&outcome(fs::write(path, text).map(|()| "ok".to_owned()))),
        ["list", path] => tell(&list(path)?),
        ["who"] => tell(&who()),
        ["echo"] => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            tell(&text);
        }
        ["line"] => {
            let mut text = String::new();
            io::stdin().read_line(&mut text)?;
            tell(&format!("got {}", text.trim()));
        }
        ["eat", megabytes] => {
            let count: usize = megabytes.parse().map_err(io::Error::other)?;
            let memory = vec![1_u8; count << 20];
            tell(&format!(
                "ate {}",
                memory.iter().map(|b| usize::from(*b)).sum::<usize>()
            ));
        }
        ["child-eats", megabytes] => {
            Command::new("/inside")
                .args(["eat", megabytes])
                .spawn()?
                .wait()?;
            wait();
        }
        ["breed"] => tell(&breed()),
        ["fill", path] => tell(&fill(path)?),
        ["when", path, rest @ ..] => {
            let path = std::path::Path::new(path);
            while !path.exists() {
                nix::poll::poll(&mut [], 5_u8).map_err(io::Error::from)?;
            }
            return act(rest);
        }
        ["flood", lines] => {
            let count: usize = lines.parse().map_err(io::Error::other)?;
            (0..count).for_each(|n| tell(&format!("{n:098}")));
            tell("end");
            wait();
        }
        ["wait"] => wait(),
        ["stubborn"] => {
            // Programs inherit what is blocked; only SIGKILL gets through.
            SigSet::all().thread_set_mask()?;
            tell("ready");
            wait();
        }
        ["family"] => {
            Command::new("/inside").arg("stubborn").spawn()?;
            tell("parent leaves");
            return Ok(5);
        }
        ["attack"] => attack(),
        other => act_on_network(other)?,
    }
    Ok(0)
}

fn act_on_network(words: &[&str]) -> io::Result<()> {
    match words {
        ["listen", addresses @ ..] => {
            let listeners: io::Result<Vec<_>> = addresses.iter().map(TcpListener::bind).collect();
            let listeners = listeners?;
            tell(&format!("listening on {}", listeners.len()));
            wait();
        }
        ["connect", address] => {
            let outcome = outcome(TcpStream::connect(address).map(|_| "ok".to_owned()));
            tell(&outcome);
            wait();
        }
        other => return Err(io::Error::other(format!("{other:?} is no word"))),
    }
    Ok(())
}

fn wait() {
    loop {
        nix::unistd::pause();
    }
}

fn outcome(result: io::Result<String>) -> String {
    match result {
        Ok(text) => text,
        Err(error) => match error.raw_os_error() {
            Some(number) => format!("{:?}", Errno::from_raw(number)),
            None => error.to_string(),
        },
    }
}

fn list(path: &str) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

fn who() -> String {
    let groups = nix::unistd::getgroups().map_or(usize::MAX, |g| g.len());
    let host = nix::unistd::gethostname().unwrap_or_default();
    format!(
        "uid {} gid {} groups {groups} pid {} host {}",
        nix::unistd::getuid(),
        nix::unistd::getgid(),
        nix::unistd::getpid(),
        host.to_string_lossy()
    )
}

fn breed() -> String {
    let mut children = Vec::new();
    loop {
        match Command::new("/inside").arg("wait").spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                let count = children.len();
                for mut child in children {
                    drop(child.kill());
                    drop(child.wait());
                }
                return format!("bred {count} then {}", outcome(Err(error)));
            }
        }
    }
}

fn fill(path: &str) -> io::Result<String> {
    let mut file = fs::File::create(path)?;
    let mut written = 0;
    loop {
        match file.write(&[7; 8_192]) {
            Ok(count) => written += count,
            Err(error) => return Ok(format!("wrote {written} then {}", outcome(Err(error)))),
        }
    }
}

/// Tries what must not work , one line each: NAME OUTCOME.
fn attack() {
    attack_calls();
    attack_sockets();
    attack_reads();
    attack_writes();
}

fn say(name: &str, result: Result<(), Errno>) {
    match result {
        Ok(()) => tell(&format!("{name} worked")),
        Err(errno) => tell(&format!("{name} {errno:?}")),
    }
}

fn attack_calls() {
    let none = None::<&str>;
    say(
        "mount",
        mount(none, "/tmp", Some("tmpfs"), MsFlags::empty(), none),
    );
    say("umount", umount2("/proc", MntFlags::MNT_DETACH));
    say("pivot_root", nix::unistd::pivot_root("/tmp", "/tmp"));
    for (name, flag) in [
        ("unshare-user", CloneFlags::CLONE_NEWUSER),
        ("unshare-ns", CloneFlags::CLONE_NEWNS),
        ("unshare-net", CloneFlags::CLONE_NEWNET),
    ] {
        say(name, unshare(flag));
    }
    let net = fs::File::open("/proc/self/ns/net").expect("one's own namespaces can be opened");
    say("setns", nix::sched::setns(net, CloneFlags::empty()));
    say("sethostname", nix::unistd::sethostname("x"));
    say(
        "mknod",
        mknod("/tmp/disk", SFlag::S_IFBLK, Mode::S_IRWXU, makedev(254, 0)),
    );
    say("kill-init", kill(Pid::from_raw(1), Signal::SIGKILL));
    say("signal-init", kill(Pid::from_raw(1), Signal::SIGTERM));
    say("setuid", nix::unistd::setuid(nix::unistd::Uid::from_raw(0)));
}

fn attack_sockets() {
    for (name, family, kind, protocol) in [
        (
            "raw",
            AddressFamily::Inet,
            SockType::Raw,
            Some(SockProtocol::Icmp),
        ),
        (
            "ping",
            AddressFamily::Inet,
            SockType::Datagram,
            Some(SockProtocol::Icmp),
        ),
        ("packet", AddressFamily::Packet, SockType::Datagram, None),
        ("vsock", AddressFamily::Vsock, SockType::Stream, None),
        ("alg", AddressFamily::Alg, SockType::SeqPacket, None),
        (
            "sock-diag",
            AddressFamily::Netlink,
            SockType::Raw,
            Some(SockProtocol::NetlinkSockDiag),
        ),
        (
            "uevent",
            AddressFamily::Netlink,
            SockType::Raw,
            Some(SockProtocol::NetlinkKObjectUEvent),
        ),
    ] {
        say(
            name,
            socket(family, kind, SockFlag::empty(), protocol).map(drop),
        );
    }
}

fn attack_reads() {
    for (name, path) in [
        ("kcore", "/proc/kcore"),
        ("keys", "/proc/keys"),
        ("init-environ", "/proc/1/environ"),
        ("init-mem", "/proc/1/mem"),
        ("init-exe", "/proc/1/exe"),
        ("mem", "/dev/mem"),
        ("kmsg", "/dev/kmsg"),
        ("disk", "/dev/vda"),
    ] {
        let mut content = Vec::new();
        let read = fs::File::open(path).and_then(|f| f.take(16).read_to_end(&mut content));
        match read {
            Ok(0) => tell(&format!("{name} empty")),
            other => say(name, other.map(drop).map_err(|e| errno(&e))),
        }
    }
}

/// What is masked is the null device, which takes everything and does nothing.
fn is_null(file: &fs::File) -> bool {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    file.metadata()
        .is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == makedev(1, 3))
}

fn attack_writes() {
    for (name, path) in [
        ("write-sysctl", "/proc/sys/kernel/core_pattern"),
        ("write-userns", "/proc/sys/user/max_user_namespaces"),
        ("sysrq", "/proc/sysrq-trigger"),
        ("write-dev", "/dev/x"),
        ("write-hosts", "/etc/hosts"),
        (
            "write-cgroup",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        ),
        ("join-cgroup", "/sys/fs/cgroup/memory/cgroup.procs"),
        ("exe", "/proc/self/exe"),
        ("stack", "/inside"),
        ("adj", "/proc/self/oom_score_adj"),
    ] {
        let open = fs::OpenOptions::new()
            .write(true)
            .create(name == "write-dev")
            .open(path);
        if open.as_ref().is_ok_and(is_null) {
            tell(&format!("{name} masked"));
            continue;
        }
        let written = open.and_then(|mut f| f.write_all(b"-1"));
        say(name, written.map_err(|e| errno(&e)));
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
