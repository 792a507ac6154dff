//! `paas`: the command line for people, and every process of the platform but the nursery.

mod failure;
mod output;

mod account;
mod app;
mod client;
mod commands;
mod json;

mod roles;
mod up;

mod configure;
mod doctor;
mod status;
mod uninstall;

use clap::Parser as _;
use failure::Failure;
use std::process::ExitCode;

/// Where an installation keeps its data unless it is told otherwise.
const DEFAULT_DATA_DIR: &str = "/var/lib/paas";

/// A platform of your own: git push, and the app runs
#[derive(Debug, clap::Parser)]
#[command(name = "paas", version)]
struct Arguments {
    /// When to use colours: always, never or auto
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true
    )]
    color: output::Color,
    /// The same as --color=never
    #[arg(long, global = true, conflicts_with = "color")]
    no_color: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Client(commands::Command),
    /// Start the platform on this machine, or bring a changed build into service
    Up(up::Up),
    /// Stop the platform on this machine, dynos included
    Down(up::down::Down),
    /// Show whether the platform runs
    Status(status::Command),
    /// Look for what keeps the platform from running well
    Doctor(doctor::Doctor),
    /// Remove the platform from this machine
    Uninstall(uninstall::Uninstall),
    /// Write config.toml; called by `make up`
    #[command(hide = true)]
    Configure(configure::Configure),
    /// One process of the platform; started by `paas up`
    #[command(hide = true)]
    Role(roles::Run),
    /// The moment before it; started by `paas up`
    #[command(hide = true, name = up::handover::COMMAND)]
    ExecRole(up::handover::Handover),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("jail") {
        // In a job nothing of a command line for people is wanted.
        return builder::jail::run(&arguments.collect::<Vec<_>>());
    }
    let arguments = Arguments::parse();
    let is_plain = account::environment("NO_COLOR").is_some()
        || account::environment("TERM").is_some_and(|term| term == "dumb");
    let color = if arguments.no_color {
        output::Color::Never
    } else {
        arguments.color
    };
    output::set_color(color, is_plain);
    run(arguments.command).unwrap_or_else(|failure| {
        output::failure(&failure.message, failure.hint.as_deref());
        ExitCode::from(failure.exit)
    })
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    let result = match command {
        Command::Client(command) => return client(command),
        Command::Up(up) => up::run(&up),
        Command::Down(down) => up::down::run(&down),
        Command::Status(status) => status::run(&status),
        Command::Doctor(doctor) => doctor::run(&doctor),
        Command::Uninstall(uninstall) => uninstall::run(&uninstall),
        Command::Configure(configure) => configure::run(&configure),
        Command::Role(role) => roles::run(&role),
        Command::ExecRole(handover) => up::handover::run(&handover),
    };
    result.map_err(|error| Failure::new(format!("{error:#}")))
}

fn client(command: commands::Command) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(commands::run(command))
}
