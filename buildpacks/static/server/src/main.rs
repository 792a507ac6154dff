//! The server of the static buildpack: the files of a site, by the rules of its `static.json`.
//!
//! `static-server FOLDER PORT` runs in a dyno, FOLDER being the app. `static-server --check FOLDER`
//! runs in `bin/compile` and tells what is wrong with the settings, before any visitor sees it.
//! It compresses nothing and keeps no cache: the router's and the browser's are enough.

mod settings;

mod pattern;

mod serve;

mod answer;

mod path;

mod files;

mod content_type;

mod conditions;

mod output;

use std::path::Path;
use std::process::ExitCode;

use crate::answer::Site;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["--check", folder] => check(Path::new(folder)),
        [folder, port] => match port.parse() {
            Ok(port) => run(Path::new(folder), port),
            Err(_) => output::usage(),
        },
        _ => output::usage(),
    }
}

fn check(folder: &Path) -> ExitCode {
    match Site::open(folder) {
        Ok(site) => output::settings(&site.settings),
        Err(faults) => output::faults(&faults),
    }
}

fn run(folder: &Path, port: u16) -> ExitCode {
    let site = match Site::open(folder) {
        Ok(site) => site,
        Err(faults) => return output::faults(&faults),
    };
    match serve::run(site, port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::failure(&error),
    }
}
