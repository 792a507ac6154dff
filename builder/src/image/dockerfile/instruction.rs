//! The instructions of the language, parsed and not yet expanded. Pure.

use super::heredoc::Heredoc;
use std::collections::BTreeMap;

/// An instruction and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// First and last physical line, from 1; of an ONBUILD trigger those of the FROM.
    pub span: (usize, usize),
    /// As it stands in the file, on one line.
    pub source: String,
    /// What it says.
    pub kind: Kind,
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `ARG name[=default]…`
    Arg(Vec<(String, Option<String>)>),
    /// `ENV name=value…`
    Env(Vec<(String, String)>),
    /// `LABEL name=value…`
    Label(Vec<(String, String)>),
    /// `RUN`
    Run(Box<Run>),
    /// `COPY` and `ADD`
    Copy(Box<Copy>),
    /// `WORKDIR path`
    Workdir(String),
    /// `USER name[:group]`
    User(String),
    /// `CMD`
    Cmd(Command),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `SHELL ["program", "argument"]`
    Shell(Vec<String>),
    /// `EXPOSE port[/protocol]…`
    Expose(Vec<String>),
    /// `VOLUME path…`
    Volume(Vec<String>),
    /// `STOPSIGNAL name`
    StopSignal(String),
    /// `MAINTAINER name`
    Maintainer(String),
    /// `HEALTHCHECK`
    HealthCheck(HealthCheck),
    /// `ONBUILD instruction`: the text as it is stored.
    OnBuild(String),
}

/// A command for a shell, or the words of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// One text for the shell.
    Shell(String),
    /// Program and arguments.
    Exec(Vec<String>),
}

/// `RUN [flags] command`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// What runs. The text of a heredoc is in it already, unless it is a script of its own.
    pub command: Command,
    /// `RUN <<EOF` whose text begins with `#!`: the name of the file and its text.
    pub script: Option<(String, String)>,
    /// `--mount`, each as its keys.
    pub mounts: Vec<BTreeMap<String, String>>,
    /// `--network=none`
    pub has_network: bool,
}

/// `COPY [flags] source… destination`, and `ADD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Whether it is ADD.
    pub is_add: bool,
    /// `--from`
    pub from: Option<String>,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<String>,
    /// `--checksum`
    pub checksum: Option<String>,
    /// `--exclude`, each.
    pub excludes: Vec<String>,
    /// `--parents`
    pub keeps_parents: bool,
    /// `--unpack`
    pub unpack: Option<bool>,
    /// What is copied, heredocs left out.
    pub sources: Vec<String>,
    /// Files whose text stands in the Dockerfile.
    pub heredocs: Vec<Heredoc>,
    /// Where to.
    pub dest: String,
}

/// `HEALTHCHECK`, as the image's config has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HealthCheck {
    /// `NONE`, `CMD` with words, or `CMD-SHELL` with a text.
    pub test: Vec<String>,
    /// Nanoseconds by the flag's name; retries as a plain number.
    pub numbers: BTreeMap<&'static str, i64>,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    /// Lines of its FROM.
    pub span: (usize, usize),
    /// The image or stage, not yet expanded.
    pub image: String,
    /// `--platform`, not yet expanded.
    pub platform: Option<String>,
    /// `AS name`, in lower case.
    pub name: Option<String>,
    /// What follows.
    pub instructions: Vec<Instruction>,
}

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dockerfile {
    /// `\` or a backtick.
    pub escape: char,
    /// ARGs in front of the first FROM.
    pub arguments: Vec<Instruction>,
    /// At least one.
    pub stages: Vec<Stage>,
    /// What is odd, for the person.
    pub warnings: Vec<String>,
}
