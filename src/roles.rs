//! `paas role NAME`: becomes one of the roles.

use link::config::Config;
use std::path::PathBuf;
use std::process::ExitCode;

/// `paas role`
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    name: Name,
    #[arg(long)]
    data: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Name {
    Api,
    Builder,
    Dynod,
    Router,
}

/// Runs until SIGTERM.
pub(crate) fn run(run: &Run) -> anyhow::Result<ExitCode> {
    let config = Config::load(&run.data)?;
    match run.name {
        Name::Api => {
            link::logging::start("api");
            api::run(&config)?;
        }
        Name::Builder => {
            link::logging::start("builder");
            builder::run(&config)?;
        }
        Name::Dynod => {
            link::logging::start("dynod");
            dynod::run(&config)?;
        }
        Name::Router => {
            link::logging::start("router");
            router::run(&config)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
