//! What a person reads: lines of the build output (`--check`) and of the dyno's log.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program's own output"
)]

use std::process::ExitCode;

use crate::serve::Failure;
use crate::settings::{Fault, Settings};

pub(crate) fn settings(settings: &Settings) -> ExitCode {
    match settings.root.as_str() {
        "." => println!("       Serving the files of the app's root folder"),
        root => println!("       Serving the files of the folder {root}"),
    }
    let counts = [
        (settings.redirects.len(), "redirect"),
        (settings.routes.len(), "route"),
        (settings.headers.len(), "header rule"),
    ];
    for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
        println!(
            "       {count} {what}{}",
            if *count == 1 { "" } else { "s" }
        );
    }
    for key in &settings.unknown {
        println!(" !     static.json: \"{key}\" is not known and has no effect");
    }
    ExitCode::SUCCESS
}

pub(crate) fn faults(faults: &[Fault]) -> ExitCode {
    for fault in faults {
        eprintln!(" !     {fault}");
    }
    ExitCode::FAILURE
}

pub(crate) fn failure(failure: &Failure) -> ExitCode {
    eprintln!("static-server: failed to {failure}");
    ExitCode::FAILURE
}

pub(crate) fn listening(port: u16) {
    println!("static-server listens on port {port}");
}

pub(crate) fn usage() -> ExitCode {
    eprintln!("Usage: static-server FOLDER PORT, or static-server --check FOLDER");
    ExitCode::from(2)
}

pub(crate) fn cut() {
    eprintln!("static-server stops with answers unfinished");
}

pub(crate) fn no_answer(path: &str, error: &std::io::Error) {
    eprintln!("static-server: failed to answer {path}: {error}");
}
