//! What a platform may leave on the machine: nothing. Looks at everything that carries its name.

use std::fs::File;
use std::path::Path;
use std::process::Command;

/// Six hex digits that no other running test has.
pub(crate) fn instance() -> String {
    let mut bytes = [0; 3];
    std::io::Read::read_exact(&mut File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
    format!("pt{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2])
}

/// A /16 between 10.202 and 10.250 that is ours for as long as the file is held.
pub(crate) fn range() -> (String, File) {
    for second in 202..=250 {
        let file = File::create(format!("/run/lock/paas-test-10.{second}")).unwrap();
        if file.try_lock().is_ok() && !is_routed(second) {
            return (format!("10.{second}.0.0/16"), file);
        }
    }
    panic!("all test ranges are taken: other tests run, or hung");
}

/// Whether the machine knows an address of 10.N already.
fn is_routed(second: u8) -> bool {
    let routes = std::fs::read_to_string("/proc/net/fib_trie").unwrap();
    routes.contains(&format!(" 10.{second}."))
}

/// A TCP port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Everything on the machine that carries this name, in words.
pub(crate) fn traces(instance: &str, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let folder = folder.to_str().unwrap();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let cgroup = std::fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // A dead process that its parent, the machine's init, has not noticed yet.
        if stat
            .rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with('Z'))
        {
            continue;
        }
        if command.contains(folder) || cgroup.contains(&format!("/{instance}")) {
            found.push(format!(
                "process {}: {command} {stat}",
                process.file_name().to_string_lossy()
            ));
        }
    }
    for mount in std::fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
    {
        if mount.contains(instance) || mount.contains(folder) {
            found.push(format!("mount: {mount}"));
        }
    }
    for tree in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        for place in [
            tree.path().join(instance),
            tree.path().join("paas.slice").join(instance),
        ] {
            if place.exists() {
                found.push(format!("cgroup: {}", place.display()));
            }
        }
    }
    for link in std::fs::read_dir("/sys/class/net").unwrap().flatten() {
        if link.file_name().to_string_lossy().starts_with(instance) {
            found.push(format!("interface: {}", link.file_name().to_string_lossy()));
        }
    }
    let rules = Command::new("nft")
        .args(["list", "tables"])
        .output()
        .unwrap();
    for table in String::from_utf8_lossy(&rules.stdout)
        .lines()
        .filter(|table| table.contains(instance))
    {
        found.push(format!("nft {table}"));
    }
    for place in [
        format!("/run/{instance}"),
        format!("/run/netns/{instance}"),
        format!("/usr/local/lib/{instance}"),
    ] {
        if Path::new(&place).exists() {
            found.push(format!("file: {place}"));
        }
    }
    let loops = std::fs::read_dir("/sys/block").unwrap().flatten();
    for device in loops {
        let file =
            std::fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        if file.contains(folder) {
            found.push(format!(
                "loop device: {} on {file}",
                device.file_name().to_string_lossy()
            ));
        }
    }
    found
}
