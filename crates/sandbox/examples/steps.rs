//! What each step of a start takes: `steps SOCKET STACK COUNT PROGRAM ARGS…`, against a nursery
//! that runs. Prints the median and the 99th percentile of each step in microseconds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use sandbox::{Base, Client, Kind, Limits, Network, Place, Secrets, Spec, Upper};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (socket, stack, count) = (arguments.next(), arguments.next(), arguments.next());
    let (Some(socket), Some(stack), Some(count)) = (socket, stack, count) else {
        return Err("steps SOCKET STACK COUNT PROGRAM ARGS…".into());
    };
    let mut client = Client::connect(Path::new(&socket))?;
    let argv: Vec<String> = arguments.collect();
    let mut taken: BTreeMap<(usize, String), Vec<u32>> = BTreeMap::new();
    for number in 0..count.parse()? {
        let mut all = 0;
        for (place, (name, us)) in run(&mut client, &stack, &argv, number)?
            .into_iter()
            .enumerate()
        {
            all += us;
            taken.entry((place, name)).or_default().push(us);
        }
        taken
            .entry((usize::MAX, "all".to_owned()))
            .or_default()
            .push(all);
    }
    let mut out = io::stdout().lock();
    for ((_, name), mut us) in taken {
        us.sort_unstable();
        let at = |share: usize| us.get(us.len() * share / 100).copied().unwrap_or_default();
        writeln!(out, "{name:10} p50 {:6} p99 {:6}", at(50), at(99))?;
    }
    Ok(())
}

fn run(
    client: &mut Client,
    stack: &str,
    argv: &[String],
    number: u32,
) -> Result<Vec<(String, u32)>, Box<dyn std::error::Error>> {
    let spec = Spec {
        id: format!("steps-{number}"),
        kind: Kind::Job,
        hostname: "steps.1".to_owned(),
        lowers: vec![Place {
            base: Base::Stack,
            path: stack.to_owned(),
        }],
        upper: Upper::Memory {
            max_bytes: 16 << 20,
        },
        mounts: Vec::new(),
        argv: argv.to_vec(),
        cwd: "/".to_owned(),
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
    };
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let files = [null.as_fd(), null.as_fd(), null.as_fd()];
    let mut started = client.start(&spec, &Secrets::default(), &files)?;
    if let Some(exit) = started.exit.take() {
        File::from(exit).read_to_string(&mut String::new())?;
    }
    Ok(started.steps)
}
