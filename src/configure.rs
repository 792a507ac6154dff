//! `paas configure`: the part of `make up` that writes `config.toml`.
//!
//! It adds what is missing and changes what it is told to; everything else in the file, comments
//! included, stays as a person left it.

use crate::output;
use anyhow::Context as _;
use link::config::Config;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `paas configure`
#[derive(Debug, clap::Args)]
pub(crate) struct Configure {
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_DATA_DIR)]
    data: PathBuf,
    #[arg(long)]
    domain: Option<String>,
    #[arg(long)]
    http_port: Option<u16>,
    /// What `pip config list` says
    #[arg(long, default_value = "")]
    pip: String,
    /// What `npm config get registry` says
    #[arg(long, default_value = "")]
    npm_registry: String,
    /// What `npm config get fetch-timeout` says, milliseconds
    #[arg(long, default_value = "")]
    npm_timeout: String,
}

/// npm's own values, which need not be written down.
const NPM_REGISTRY: &str = "https://registry.npmjs.org/";
const NPM_TIMEOUT_MS: &str = "300000";
/// pip's option, and the variable that says the same in a build.
const PIP: [(&str, &str); 5] = [
    ("index-url", "PIP_INDEX_URL"),
    ("extra-index-url", "PIP_EXTRA_INDEX_URL"),
    ("trusted-host", "PIP_TRUSTED_HOST"),
    ("timeout", "PIP_DEFAULT_TIMEOUT"),
    ("default-timeout", "PIP_DEFAULT_TIMEOUT"),
];

/// Runs `paas configure`.
pub(crate) fn run(configure: &Configure) -> anyhow::Result<ExitCode> {
    crate::up::only_root("paas configure")?;
    std::fs::create_dir_all(&configure.data)
        .with_context(|| format!("cannot make {}", configure.data.display()))?;
    let path = configure.data.join("config.toml");
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let after = change(&before, configure);
    if after != before {
        write(&path, &after).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let config = Config::load(&configure.data)?;
    output::line(&format!("{}", config.http_port));
    Ok(ExitCode::SUCCESS)
}

fn change(before: &str, configure: &Configure) -> String {
    let mut text = before.to_owned();
    if let Some(domain) = &configure.domain {
        text = set(&text, "domain", &quoted(domain));
    }
    let port = configure.http_port.or_else(|| {
        let is_there = top(&text).any(|line| key(line) == Some("http_port"));
        (!is_there).then(free_port)
    });
    if let Some(port) = port {
        text = set(&text, "http_port", &port.to_string());
    }
    if !text.lines().any(|line| line.trim() == "[build.env]") {
        text.push_str("\n# The environment of builds: mirrors, proxies. Host paths are not there.\n[build.env]\n");
        for (name, value) in build_env(configure) {
            writeln!(text, "{name} = {}", quoted(&value)).expect("writing to a String cannot fail");
        }
    }
    text
}

/// 80 if it is free, else 8080, so that addresses are short where they can be.
fn free_port() -> u16 {
    match TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)) {
        Ok(_) => 80,
        Err(_) => 8080,
    }
}

/// The lines before the first table.
fn top(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| !line.trim_start().starts_with('['))
}

fn key(line: &str) -> Option<&str> {
    line.split_once('=').map(|(key, _)| key.trim())
}

/// Replaces the line of a key of the top table, or adds one after the last key there: comments
/// further down belong to the first table.
fn set(text: &str, name: &str, value: &str) -> String {
    let line = format!("{name} = {value}");
    let mut lines: Vec<&str> = text.lines().collect();
    let there = top(text).position(|old| key(old) == Some(name));
    if let Some(old) = there.and_then(|at| lines.get_mut(at)) {
        *old = &line;
    } else {
        let keys = top(text).map(|old| key(old).is_some_and(|key| !key.starts_with('#')));
        let last = keys.enumerate().filter(|(_, is_key)| *is_key).last();
        lines.insert(last.map_or(0, |(at, _)| at + 1), &line);
    }
    lines.join("\n") + "\n"
}

/// Index, registry and time-out of the host's pip and npm; certificates come with the build.
fn build_env(configure: &Configure) -> Vec<(&'static str, String)> {
    let mut env: Vec<(&str, String)> = Vec::new();
    for (option, name) in PIP {
        if env.iter().any(|(known, _)| *known == name) {
            continue;
        }
        env.extend(pip(&configure.pip, option).map(|value| (name, value)));
    }
    let registry = configure.npm_registry.trim();
    if registry.starts_with("http") && registry != NPM_REGISTRY {
        env.push(("NPM_CONFIG_REGISTRY", registry.to_owned()));
    }
    let timeout = configure.npm_timeout.trim();
    if timeout.parse::<u64>().is_ok() && timeout != NPM_TIMEOUT_MS {
        env.push(("NPM_CONFIG_FETCH_TIMEOUT", timeout.to_owned()));
    }
    env
}

/// `global.index-url='https://…'`; the environment (`:env:.index-url`) goes before files.
fn pip(list: &str, option: &str) -> Option<String> {
    let lines = list.lines().filter_map(|line| line.split_once('='));
    let mut found: Vec<(bool, &str)> = lines
        .filter(|(name, _)| {
            name.rsplit_once('.')
                .is_some_and(|(_, last)| last == option)
        })
        .map(|(name, value)| (name.starts_with(":env:"), value.trim().trim_matches('\'')))
        .collect();
    found.sort_by_key(|(is_env, _)| !is_env);
    let value = found.first()?.1.replace("\\n", " ");
    (!value.is_empty()).then_some(value)
}

fn quoted(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

/// Mirrors may have passwords: root and the roles read it, and whoever starts `paas` as root.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(&part)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    file.set_permissions(std::fs::Permissions::from_mode(0o640))?;
    if let Ok(group) = crate::up::accounts::group() {
        nix::unistd::chown(&part, None, Some(group))?;
    }
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configure(domain: Option<&str>, http_port: Option<u16>) -> Configure {
        Configure {
            data: PathBuf::new(),
            domain: domain.map(str::to_owned),
            http_port,
            pip: "global.cert='/etc/x'\nglobal.index-url='http://files/simple'\n\
                  :env:.default-timeout='180'\n:env:.index-url='http://env/simple'"
                .to_owned(),
            npm_registry: "http://npm/".to_owned(),
            npm_timeout: "300000".to_owned(),
        }
    }

    #[test]
    fn a_first_file_and_a_change() {
        let first = change("", &configure(None, Some(8080)));
        let text = "http_port = 8080\n\n# The environment of builds: mirrors, proxies. Host paths are not there.\n\
                    [build.env]\nPIP_INDEX_URL = \"http://env/simple\"\nPIP_DEFAULT_TIMEOUT = \"180\"\n\
                    NPM_CONFIG_REGISTRY = \"http://npm/\"\n";
        assert_eq!(first, text);
        assert_eq!(
            change(&first, &configure(None, None)),
            first,
            "nothing to do"
        );
        let second = change(&first, &configure(Some("x.test"), Some(80)));
        let wanted = text.replace(
            "http_port = 8080\n",
            "http_port = 80\ndomain = \"x.test\"\n",
        );
        assert_eq!(second, wanted);
    }

    #[test]
    fn what_people_wrote_stays() {
        let text = "# mine\nhttp_port = 1 # why\n\n[router]\nthreads = 2\n\n[build.env]\n";
        let wanted = text.replace("http_port = 1 # why\n", "http_port = 7\n");
        assert_eq!(change(text, &configure(None, Some(7))), wanted);
        assert_eq!(change(text, &configure(None, None)), text);
    }
}
