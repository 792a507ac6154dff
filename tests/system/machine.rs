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
    let folder = folder.to_str().unwrap();
    let mut found = processes(instance, folder);
    found.extend(mounts(instance, folder));
    found.extend(kernel_objects(instance));
    found
}

fn processes(instance: &str, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| std::fs::read(process.path().join(name)).unwrap_or_default();
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        // A dead process that its parent, the machine's init, has not noticed yet.
        if stat
            .rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with('Z'))
        {
            continue;
        }
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let cgroup = String::from_utf8_lossy(&read("cgroup")).into_owned();
        if command.contains(folder) || cgroup.contains(&format!("/{instance}")) {
            found.push(format!("process: {command} {stat}"));
        }
    }
    found
}

fn mounts(instance: &str, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for mount in std::fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
    {
        if mount.contains(instance) || mount.contains(folder) {
            found.push(format!("mount: {mount}"));
        }
    }
    for device in std::fs::read_dir("/sys/block").unwrap().flatten() {
        let file = device.path().join("loop/backing_file");
        let file = std::fs::read_to_string(file).unwrap_or_default();
        // The test's own disk goes when no nursery of another test, which began with a copy of all
        // mounts, holds it any more.
        let is_own_disk =
            file.trim_end().trim_end_matches(" (deleted)") == format!("{folder}/disk");
        if file.contains(folder) && !is_own_disk {
            let name = device.file_name();
            found.push(format!("loop device: {} on {file}", name.to_string_lossy()));
        }
    }
    found
}

fn kernel_objects(instance: &str) -> Vec<String> {
    let mut found = Vec::new();
    for tree in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let place = tree.path().join(instance);
        if place.exists() {
            found.push(format!("cgroup: {}", place.display()));
        }
    }
    for link in std::fs::read_dir("/sys/class/net").unwrap().flatten() {
        if link.file_name().to_string_lossy().starts_with(instance) {
            found.push(format!("interface: {}", link.file_name().to_string_lossy()));
        }
    }
    let tables = Command::new("nft")
        .args(["list", "tables"])
        .output()
        .unwrap();
    let tables = String::from_utf8_lossy(&tables.stdout).into_owned();
    for table in tables.lines().filter(|table| table.contains(instance)) {
        found.push(format!("nft {table}"));
    }
    for folder in ["/run", "/run/netns", "/usr/local/lib", "/sys/fs/cgroup"] {
        let place = Path::new(folder).join(instance);
        if place.exists() {
            found.push(format!("folder: {}", place.display()));
        }
    }
    found
}
