//! A writer is killed with -9 again and again: what it had acknowledged is there, whole.
//!
//! The writer (this program with a path) commits two records of one number in one transaction and
//! then says the number. Whoever reads that kills it at once, while it is in the next commits.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use store::{Store, Transaction};

const ROUNDS: u64 = 25;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os()
        .skip(1)
        .find(|arg| Path::new(arg).is_absolute());
    match path {
        Some(path) => write(Path::new(&path)),
        None => kill_writers(),
    }
}

fn write(path: &Path) -> Result<(), Box<dyn Error>> {
    let store = Store::open(path)?;
    let first = store.revision()?.0 + 1;
    for number in first.. {
        let key = format!("many/{}", number % 50);
        let transaction = Transaction::new()
            .put("last", &number)?
            .put(&key, &vec![number; 100])?;
        store.commit(&transaction)?;
        writeln!(std::io::stdout(), "{number}")?;
    }
    Ok(())
}

fn kill_writers() -> Result<(), Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("store-killed-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let path = dir.join("store.db");
    for round in 0..ROUNDS {
        let mut writer = Command::new(std::env::current_exe()?)
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()?;
        let said = writer.stdout.take().ok_or("the writer has no output")?;
        let mut said = BufReader::new(said).lines();
        for _ in 0..=round {
            said.next().ok_or("the writer ended by itself")??;
        }
        writer.kill()?;
        writer.wait()?;
        // It went on until it was dead.
        let acknowledged = said.last().transpose()?.map(|number| number.parse::<u64>());
        check(&path, acknowledged.transpose()?.unwrap_or(round + 1))?;
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn check(path: &Path, acknowledged: u64) -> Result<(), Box<dyn Error>> {
    let store = Store::open(path)?;
    let last = store.get::<u64>("last")?.ok_or("the record is lost")?;
    let revision = store.revision()?;
    let key = format!("many/{}", last.value % 50);
    let beside = store.get::<Vec<u64>>(&key)?.ok_or("half a transaction")?;
    let is_whole = last.value >= acknowledged
        && last.revision == revision
        && revision.0 == last.value
        && beside.value == vec![last.value; 100];
    if is_whole {
        Ok(())
    } else {
        Err(format!("{acknowledged} was acknowledged, {last:?} and {beside:?} are there").into())
    }
}
