//! From an order to the spec that the nursery runs: pure, so that what a dyno gets can be read
//! here.

use crate::program;
use crate::way::{self, Way};
use model::dyno::{Purpose, Want};
use sandbox::{Kind, Limits, Network, Secrets, Spec, Upper, Window};
use std::collections::BTreeMap;

/// The share of a dyno's memory that its files may take: they live in memory.
const DISK_SHARE: u64 = 4;

/// Where an order will run, as far as it is known before the start.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// The slot.
    pub(crate) slot: u16,
    /// Unpacked slug: the name of its folder on the shelf; of an image nothing.
    pub(crate) app: String,
    /// Unpacked layers of an image: their names on the shelf, topmost first.
    pub(crate) image: Vec<String>,
    /// Unpacked runtime layers: name below `/layers` and name on the shelf.
    pub(crate) layers: Vec<(String, String)>,
}

/// The id under which the nursery knows the dyno of a slot.
pub(crate) fn sandbox_id(slot: u16) -> String {
    format!("dyno-{slot}")
}

/// Whether it runs beside its client as a job: an attached one-off without a terminal, whose
/// pipes cannot outlive the connection anyway.
pub(crate) fn is_job(want: &Want) -> bool {
    matches!(want.purpose, Purpose::Attached { window: None, .. })
}

/// The whole spec of a dyno.
pub(crate) fn spec(want: &Want, site: &Site, way: &Way) -> Spec {
    let facts = want.size.facts();
    let memory_max_bytes = facts.memory_mib * 1024 * 1024;
    let is_job = is_job(want);
    let is_web = want.purpose == Purpose::Formation && want.name.process_type.is_web();
    let disk_max_bytes = memory_max_bytes / DISK_SHARE;
    let program = program::of(want, site, disk_max_bytes);
    Spec {
        id: if is_job {
            format!("run-{}", want.dyno)
        } else {
            sandbox_id(site.slot)
        },
        kind: if is_job {
            Kind::Job
        } else {
            Kind::Dyno { slot: site.slot }
        },
        hostname: want.name.to_string(),
        lowers: program.lowers,
        upper: Upper::Memory {
            max_bytes: disk_max_bytes,
        },
        mounts: program.mounts,
        argv: program.argv,
        cwd: program.cwd,
        uid: program.uid,
        gid: program.gid,
        limits: Limits {
            memory_max_bytes,
            pids_max: facts.pids_max,
            cpu_weight: facts.cpu_weight,
        },
        network: if is_job {
            Network::Build
        } else {
            way.spec(site.slot)
        },
        terminal: terminal(&want.purpose),
        // Of a central dyno the kernel tells at no cost, and tells what it refused, too.
        watch_port: (is_web || way.is_central()).then(|| way.port(site.slot)),
        note: way::note(want.dyno, want.owner, way),
    }
}

fn terminal(purpose: &Purpose) -> Option<Window> {
    match purpose {
        Purpose::Attached {
            window: Some(window),
            ..
        } => Some(Window {
            rows: window.rows,
            columns: window.columns,
        }),
        _ => None,
    }
}

/// The environment of a dyno: what the platform sets, then config vars, which may replace it.
pub(crate) fn secrets(want: &Want, port: u16) -> Secrets {
    let mut env = program::environment(want);
    env.extend(want.config.clone());
    env.insert("DYNO".to_owned(), want.name.to_string());
    env.insert("PORT".to_owned(), port.to_string());
    Secrets {
        env,
        files: BTreeMap::new(),
    }
}

/// The command as the log shows it: `$PORT` already expanded.
pub(crate) fn shown(command: &str, port: u16) -> String {
    let port = port.to_string();
    model::process::shown(command)
        .replace("${PORT}", &port)
        .replace("$PORT", &port)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An order for `web.1` of a small app.
    pub(crate) fn want(purpose: &Purpose) -> Want {
        serde_json::from_value(serde_json::json!({
            "dyno": "00000000-0000-4000-8000-000000000002",
            "name": "web.1",
            "app": "00000000-0000-4000-8000-000000000001",
            "owner": "00000000-0000-4000-8000-000000000007",
            "app_name": "hello",
            "release": 3,
            "purpose": purpose,
            "command": "serve $PORT",
            "slug": {
                "stack": "debian-13",
                "app": {"digest": format!("sha256:{}", "ab".repeat(32)), "size_bytes": 7},
                "layers": [],
                "process_types": {"web": "serve $PORT"},
                "commit": null,
                "description": null,
            },
            "config": {"A": "1", "PATH": "/mine", "PORT": "80"},
            "size": "Standard-1X",
            "boot_timeout_ms": 60000,
        }))
        .unwrap()
    }

    fn site() -> Site {
        Site {
            slot: 4,
            app: "ab".repeat(32),
            image: Vec::new(),
            layers: vec![("node".to_owned(), "cd".repeat(32))],
        }
    }

    #[test]
    fn config_vars_replace_path_but_not_port() {
        let env = secrets(&want(&Purpose::Formation), 10_004).env;
        let get = |key: &str| env.get(key).map(String::as_str);
        assert_eq!(
            (get("A"), get("PATH"), get("PORT"), get("DYNO")),
            (Some("1"), Some("/mine"), Some("10004"), Some("web.1"))
        );
    }

    fn isolated() -> Way {
        Way::Isolated { fallback: None }
    }

    #[test]
    fn a_web_dyno_is_watched_and_a_release_dyno_is_not() {
        let order = want(&Purpose::Formation);
        let seats = crate::seats::Seats::default();
        let central = Way::Central(seats.take(order.owner).unwrap());
        let web = spec(&order, &site(), &central);
        assert_eq!(web.watch_port, Some(10_004));
        let (net, host, port) = (0, 3, 10_004);
        assert_eq!(web.network, Network::Central { net, host, port });
        let web = spec(&order, &site(), &isolated());
        assert_eq!(web.watch_port, Some(5000));
        let release = spec(&want(&Purpose::Release), &site(), &central);
        assert_eq!(release.watch_port, Some(10_004));
        assert_eq!(web.id, "dyno-4");
        assert_eq!(web.limits.memory_max_bytes, 512 * 1024 * 1024);
        assert_eq!(
            spec(&want(&Purpose::Release), &site(), &isolated()).watch_port,
            None
        );
    }

    #[test]
    fn an_attached_one_off_without_a_terminal_is_a_job() {
        let piped = spec(
            &want(&Purpose::Attached {
                time_to_live_s: 1,
                window: None,
            }),
            &site(),
            &isolated(),
        );
        assert_eq!((piped.kind, piped.network), (Kind::Job, Network::Build));
    }

    #[test]
    fn log_shows_the_port() {
        assert_eq!(shown("a $PORT ${PORT}", 5000), "a 5000 5000");
    }
}
