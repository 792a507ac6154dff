//! The command line of the nursery, and the socket that it is handed.

use std::os::fd::RawFd;
use std::path::PathBuf;

use model::instance::Name;
use model::network::Range;

/// Where the nursery works, and for whom.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) instance: Name,
    pub(super) run: PathBuf,
    pub(super) data: PathBuf,
    pub(super) stacks: PathBuf,
    pub(super) program: PathBuf,
    pub(super) network: Range,
    /// Users beside root that may ask.
    pub(super) allowed_uids: Vec<u32>,
    /// Where to listen; without it, the socket is handed over.
    pub(super) socket: Option<PathBuf>,
    /// The number of the socket that was handed over under the name `nursery`.
    pub(super) handed_over: Option<RawFd>,
}

#[derive(Default)]
struct Given {
    instance: Option<Name>,
    folders: [Option<PathBuf>; 4],
    network: Option<Range>,
    allowed_uids: Vec<u32>,
    socket: Option<PathBuf>,
}

const FOLDERS: [&str; 4] = ["--run", "--data", "--stacks", "--program"];

impl Arguments {
    /// Reads the arguments after the program's name, and `LISTEN_FDS` from the environment.
    pub(super) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let fds = environment("LISTEN_FDS");
        let names = environment("LISTEN_FDNAMES");
        Self::read(arguments, handed_over(fds.as_deref(), names.as_deref()))
    }

    fn read(
        mut arguments: impl Iterator<Item = String>,
        handed_over: Option<RawFd>,
    ) -> Result<Self, String> {
        let mut given = Given::default();
        while let Some(flag) = arguments.next() {
            let value = arguments
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))?;
            given.take(&flag, value)?;
        }
        let need = |flag: &str| format!("{flag} is missing");
        let [run, data, stacks, program] = given.folders;
        let folder = |folder: Option<PathBuf>, flag| folder.ok_or_else(|| need(flag));
        Ok(Self {
            instance: given.instance.ok_or_else(|| need("--instance"))?,
            run: folder(run, "--run")?,
            data: folder(data, "--data")?,
            stacks: folder(stacks, "--stacks")?,
            program: folder(program, "--program")?,
            network: given.network.ok_or_else(|| need("--network"))?,
            allowed_uids: given.allowed_uids,
            socket: given.socket,
            handed_over,
        })
    }
}

impl Given {
    fn take(&mut self, flag: &str, value: String) -> Result<(), String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{flag}: {error}");
        if let Some(place) = FOLDERS.iter().position(|f| *f == flag) {
            let path = PathBuf::from(value);
            if !path.is_absolute() {
                return Err(wrong(&"is an absolute path"));
            }
            if let Some(folder) = self.folders.get_mut(place) {
                *folder = Some(path);
            }
            return Ok(());
        }
        match flag {
            "--instance" => self.instance = Some(Name::parse(&value).map_err(|e| wrong(&e))?),
            "--network" => self.network = Some(Range::parse(&value).map_err(|e| wrong(&e))?),
            "--allow-uid" => self
                .allowed_uids
                .push(value.parse().map_err(|e| wrong(&e))?),
            "--socket" => self.socket = Some(PathBuf::from(value)),
            _ => return Err(format!("{flag} is no argument of the nursery")),
        }
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is where the nursery is configured, once"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `sd_listen_fds_with_names(3)`: numbers from 3 on, in the order of the names; a single one
/// without names is ours.
fn handed_over(count: Option<&str>, names: Option<&str>) -> Option<RawFd> {
    let count: usize = count?.parse().ok()?;
    let place = match names {
        Some(names) => names
            .split(':')
            .take(count)
            .position(|name| name == "nursery")?,
        None if count == 1 => 0,
        None => return None,
    };
    Some(3 + RawFd::try_from(place).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_whole_line() {
        let line = "--instance paas --run /run/paas --data /d --stacks /s --program /p \
                    --network 10.201.0.0/16 --allow-uid 990 --allow-uid 991";
        let read = |line: &str| Arguments::read(line.split(' ').map(str::to_owned), Some(3));
        let arguments = read(line).unwrap();
        assert_eq!(arguments.allowed_uids, [990, 991]);
        assert_eq!(arguments.stacks, PathBuf::from("/s"));
        for bad in [
            "--instance paas",
            "--run relative",
            "--x 1",
            "--allow-uid x",
            "--run",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn finds_its_socket() {
        assert_eq!(handed_over(Some("3"), Some("a:nursery:b")), Some(4));
        assert_eq!(handed_over(Some("1"), None), Some(3));
        assert_eq!(handed_over(Some("1"), Some("other")), None);
        assert_eq!(handed_over(Some("2"), None), None);
        assert_eq!(handed_over(None, None), None);
    }
}
