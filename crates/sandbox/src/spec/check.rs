//! The rules of a spec: all that can be told without looking at the machine.
//!
//! Run by the client before it sends, and by the nursery before it does anything.

use model::limits;
use model::network::SLOTS_MAX;

use super::{Base, Fault, Kind, Limits, Mount, Network, Place, Secrets, Spec, Upper};

fn fault<T>(text: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(text.into()))
}

impl Spec {
    /// Checks all that can be told without looking at the machine.
    pub fn check(&self) -> Result<(), Fault> {
        check_id(&self.id)?;
        self.check_kind()?;
        check_hostname(&self.hostname)?;
        check_layers(&self.lowers)?;
        if let Upper::Volume { volume, dir } = &self.upper {
            check_id(volume)?;
            check_relative(dir)?;
            if dir.is_empty() {
                return fault("the upper folder of a volume needs a name");
            }
        }
        self.check_mounts()?;
        self.check_command()?;
        self.limits.check()
    }

    fn check_kind(&self) -> Result<(), Fault> {
        match (self.kind, self.network) {
            (Kind::Dyno { slot }, _) if slot >= SLOTS_MAX => {
                fault(format!("slot {slot} is not below {SLOTS_MAX}"))
            }
            (Kind::Dyno { slot }, _) if self.id != format!("dyno-{slot}") => {
                fault(format!("the dyno of slot {slot} is named dyno-{slot}"))
            }
            (Kind::Dyno { .. }, Network::Build) => fault("the build network is for jobs"),
            (Kind::Job, Network::Isolated { .. }) => fault("an isolated network is for dynos"),
            (Kind::Job, Network::Central { .. }) => fault("a dyno net is for dynos"),
            (Kind::Job, _) if self.id.starts_with("dyno-") => fault("a job is not named dyno-…"),
            (_, Network::Isolated { port: 0 } | Network::Central { port: 0, .. }) => {
                fault("port 0 cannot be reached")
            }
            (
                _,
                Network::Central { net: 128.., .. }
                | Network::Central {
                    host: ..3 | 255, ..
                },
            ) => fault("the seat is not in a dyno net"),
            _ if self.watch_port == Some(0) => fault("port 0 cannot be watched"),
            _ => Ok(()),
        }
    }

    fn check_mounts(&self) -> Result<(), Fault> {
        if self.mounts.len() > limits::SANDBOX_MOUNTS_MAX {
            return fault("too many mounts");
        }
        for mount in &self.mounts {
            check_target(mount.to())?;
            match mount {
                Mount::Bind { from, .. } => from.check()?,
                Mount::Overlay { lowers, upper, .. } => {
                    check_layers(lowers)?;
                    upper.check()?;
                    if !matches!(upper.base, Base::Volume(_)) || upper.path.is_empty() {
                        return fault("the upper folder of an overlay is a named one in a volume");
                    }
                }
                Mount::Files { .. } | Mount::Tmpfs { .. } => {}
            }
        }
        let files = |m: &&Mount| matches!(m, Mount::Files { .. });
        if self.mounts.iter().filter(files).count() > 1 {
            return fault("secret files have one place");
        }
        Ok(())
    }

    fn check_command(&self) -> Result<(), Fault> {
        if self.argv.first().is_none_or(String::is_empty) {
            return fault("there is no program to run");
        }
        if self.argv.iter().any(|a| a.contains('\0')) {
            return fault("an argument holds a zero byte");
        }
        if !self.cwd.starts_with('/') || self.cwd.contains('\0') || self.cwd.len() > 4096 {
            return fault("the working directory is absolute");
        }
        if self.uid > 0xffff || self.gid > 0xffff {
            return fault("user and group are at most 65535");
        }
        if self.note.len() > limits::SANDBOX_NOTE_MAX_BYTES {
            return fault("the note is too long");
        }
        Ok(())
    }
}

impl Limits {
    fn check(&self) -> Result<(), Fault> {
        if self.memory_max_bytes < limits::SANDBOX_MEMORY_MIN_BYTES {
            return fault("the memory limit is below what the keeper itself needs");
        }
        if self.memory_max_bytes > i64::MAX as u64 {
            return fault("the memory limit is out of range");
        }
        if !(1..=limits::SANDBOX_PIDS_MAX).contains(&self.pids_max) {
            return fault(format!("processes are 1 to {}", limits::SANDBOX_PIDS_MAX));
        }
        if !(1..=10_000).contains(&self.cpu_weight) {
            return fault("the cpu weight is 1 to 10000");
        }
        Ok(())
    }
}

impl Place {
    fn check(&self) -> Result<(), Fault> {
        if let Base::Volume(id) = &self.base {
            check_id(id)?;
        }
        check_relative(&self.path)
    }
}

impl Secrets {
    /// Checks names and values: what could not be an environment or a file name is refused.
    pub fn check(&self) -> Result<(), Fault> {
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return fault("a variable's name or value cannot be put into an environment");
            }
        }
        for name in self.files.keys() {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
                return fault("a secret file has a plain name");
            }
        }
        Ok(())
    }
}

/// Checks the name of a sandbox or volume: `[a-z0-9][a-z0-9-]{0,39}`.
pub(crate) fn check_id(id: &str) -> Result<(), Fault> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let good = (1..=40).contains(&id.len())
        && id.bytes().next().is_some_and(plain)
        && id.bytes().all(|b| plain(b) || b == b'-');
    if good {
        Ok(())
    } else {
        fault("an id is 1 to 40 lower-case letters, digits and dashes")
    }
}

fn check_hostname(name: &str) -> Result<(), Fault> {
    let good = (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-' || b == b'_');
    if good {
        Ok(())
    } else {
        fault("the hostname is 1 to 63 letters, digits, dots and dashes")
    }
}

fn check_layers(lowers: &[Place]) -> Result<(), Fault> {
    if !(1..=limits::SANDBOX_LAYERS_MAX).contains(&lowers.len()) {
        return fault(format!(
            "there are 1 to {} layers",
            limits::SANDBOX_LAYERS_MAX
        ));
    }
    lowers.iter().try_for_each(Place::check)
}

fn check_relative(path: &str) -> Result<(), Fault> {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if path.is_empty() || (path.len() <= 512 && path.split('/').all(plain)) {
        Ok(())
    } else {
        fault("a place is a relative path of plain names")
    }
}

/// Folders that are the platform's own inside.
const RESERVED: [&str; 3] = ["/proc", "/sys", "/dev"];

fn check_target(to: &str) -> Result<(), Fault> {
    let Some(relative) = to.strip_prefix('/').filter(|r| !r.is_empty()) else {
        return fault("a mount target is an absolute path below /");
    };
    check_relative(relative)?;
    let inside = |dir: &str| {
        to.strip_prefix(dir)
            .is_some_and(|r| r.is_empty() || r.starts_with('/'))
    };
    if RESERVED.iter().any(|dir| inside(dir)) {
        return fault("a mount target is not below /proc, /sys or /dev");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Spec {
        Spec {
            id: "dyno-7".into(),
            kind: Kind::Dyno { slot: 7 },
            hostname: "web.1".into(),
            lowers: vec![Place {
                base: Base::Stack,
                path: "debian-13/run".into(),
            }],
            upper: Upper::Memory { max_bytes: 1 << 20 },
            mounts: vec![],
            argv: vec!["/bin/true".into()],
            cwd: "/".into(),
            uid: 1000,
            gid: 1000,
            limits: Limits {
                memory_max_bytes: 64 << 20,
                pids_max: 10,
                cpu_weight: 100,
            },
            network: Network::None,
            terminal: None,
            watch_port: None,
            note: String::new(),
        }
    }

    const fn central(net: u8, host: u8, port: u16) -> Network {
        Network::Central { net, host, port }
    }

    #[test]
    fn good_specs_pass_and_travel() {
        let spec = good();
        assert_eq!(spec.check(), Ok(()));
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
        for seat in [central(0, 3, 10_000), central(127, 254, 18_191)] {
            let spec = Spec {
                network: seat,
                ..good()
            };
            assert_eq!(spec.check(), Ok(()), "{seat:?}");
        }
    }

    #[test]
    fn bad_specs_are_refused() {
        type Change = fn(&mut Spec);
        let cases: [(&str, Change); 20] = [
            ("id with slash", |s| s.id = "dyno-7/..".into()),
            ("id of another slot", |s| s.id = "dyno-8".into()),
            ("slot too high", |s| {
                s.kind = Kind::Dyno { slot: SLOTS_MAX };
                s.id = format!("dyno-{SLOTS_MAX}");
            }),
            ("job named as a dyno", |s| s.kind = Kind::Job),
            ("build network of a dyno", |s| s.network = Network::Build),
            ("dyno net of a job", |s| {
                s.kind = Kind::Job;
                s.id = "job".into();
                s.network = central(0, 3, 10_000);
            }),
            ("dyno net too high", |s| s.network = central(128, 3, 10_000)),
            ("gateway's seat", |s| s.network = central(0, 2, 10_000)),
            ("port 0", |s| s.network = central(0, 3, 0)),
            ("hostname", |s| s.hostname = "a\nb".into()),
            ("no layers", |s| s.lowers.clear()),
            ("parent folder", |s| {
                s.lowers = vec![Place {
                    base: Base::Data,
                    path: "a/../..".into(),
                }];
            }),
            ("absolute place", |s| {
                s.lowers = vec![Place {
                    base: Base::Data,
                    path: "/etc".into(),
                }];
            }),
            ("target proc", |s| {
                s.mounts = vec![Mount::Files {
                    to: "/proc/x".into(),
                }];
            }),
            ("target root", |s| {
                s.mounts = vec![Mount::Files { to: "/".into() }];
            }),
            ("no program", |s| s.argv.clear()),
            ("zero byte", |s| s.argv.push("a\0b".into())),
            ("uid", |s| s.uid = 65_536),
            ("memory", |s| s.limits.memory_max_bytes = 4096),
            ("pids", |s| s.limits.pids_max = 0),
        ];
        for (name, change) in cases {
            let mut spec = good();
            change(&mut spec);
            assert!(spec.check().is_err(), "{name}");
        }
    }

    #[test]
    fn secrets_never_print() {
        let mut secrets = Secrets::default();
        secrets.env.insert("A".into(), "hidden".into());
        assert_eq!(format!("{secrets:?}"), "Secrets(1 variables, 0 files)");
        assert_eq!(secrets.check(), Ok(()));
        secrets.env.insert("A=B".into(), String::new());
        assert!(secrets.check().is_err());
    }
}
