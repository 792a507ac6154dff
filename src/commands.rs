//! The commands that speak with the API, in the order in which a newcomer needs them.

mod login;
mod create;
mod apps;
mod git;
mod ps;
mod inspect;
mod logs;
mod config;
mod domains;
mod maintenance;
mod releases;
mod builds;
mod images;
mod run;
mod stack;
mod buildpacks;

use crate::app;
use crate::client::Client;
use crate::failure::Failure;
use std::process::ExitCode;

/// Everything that a signed-in person can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Sign in with a token from standard input, or as root on the server without one
    Login(login::Login),
    /// Sign out
    Logout,
    /// Show who is signed in
    #[command(name = "auth:whoami", visible_alias = "whoami")]
    Whoami,
    /// Print the token
    #[command(name = "auth:token")]
    Token,
    /// Create an app
    #[command(visible_alias = "apps:create")]
    Create(create::Create),
    /// List your apps
    Apps(apps::Apps),
    /// Show an app
    #[command(visible_alias = "apps:info")]
    Info(apps::Info),
    /// Give an app another name
    #[command(name = "apps:rename", visible_alias = "rename")]
    Rename(apps::Rename),
    /// Destroy an app
    #[command(visible_alias = "apps:destroy")]
    Destroy(apps::Destroy),
    /// Open an app in the browser, or print its address
    #[command(visible_alias = "apps:open")]
    Open(apps::Open),
    /// Add the git remote of an app
    #[command(name = "git:remote")]
    GitRemote(git::Remote),
    /// Answer git's question for the token
    #[command(name = "git:credentials", hide = true)]
    GitCredentials(git::Credentials),
    #[command(flatten)]
    Hosts(Hosts),
    #[command(flatten)]
    Running(Running),
    #[command(flatten)]
    Releasing(Releasing),
    #[command(flatten)]
    Building(Building),
}

/// What is about the way in: host names, and the page in place of the app.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Hosts {
    /// List the host names of an app
    Domains(domains::Show),
    /// Add a host name
    #[command(name = "domains:add")]
    DomainsAdd(domains::Named),
    /// Remove a host name
    #[command(name = "domains:remove")]
    DomainsRemove(domains::Named),
    /// Remove all host names that were added
    #[command(name = "domains:clear")]
    DomainsClear(domains::Clear),
    /// Say whether maintenance mode is on
    Maintenance(maintenance::Maintenance),
    /// Show a maintenance page in place of the app
    #[command(name = "maintenance:on")]
    MaintenanceOn(maintenance::Maintenance),
    /// Show the app again
    #[command(name = "maintenance:off")]
    MaintenanceOff(maintenance::Maintenance),
}

/// What is about the things that an app runs.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Running {
    /// List the dynos of an app
    Ps(ps::Ps),
    /// Show or change how many dynos of which size there are
    #[command(name = "ps:scale", visible_alias = "scale")]
    Scale(ps::Scale),
    /// Restart all dynos, one dyno or one process type
    #[command(name = "ps:restart", visible_alias = "restart")]
    Restart(ps::Restart),
    /// Stop a dyno or those of a process type: one-off dynos end, others start anew
    #[command(name = "ps:stop")]
    Stop(ps::stop::Stop),
    /// Wait until all dynos are up and run the newest release
    #[command(name = "ps:wait")]
    Wait(ps::stop::Wait),
    /// Show where a dyno is reached, what it listens on and what it was refused
    #[command(name = "ps:port")]
    Port(inspect::Port),
    /// Look into a dyno
    Inspect(inspect::Inspect),
    /// Show the log
    Logs(logs::Logs),
    /// Run a command in a one-off dyno
    Run(run::Run),
    /// Run a command in a one-off dyno that writes to the log
    #[command(name = "run:detached")]
    RunDetached(run::Detached),
}

/// What a release is made of, and the releases.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Releasing {
    /// List the config vars
    Config(config::Show),
    /// Set config vars
    #[command(name = "config:set")]
    ConfigSet(config::Set),
    /// Print one config var
    #[command(name = "config:get")]
    ConfigGet(config::Get),
    /// Remove config vars
    #[command(name = "config:unset")]
    ConfigUnset(config::Unset),
    /// Change config vars in an editor
    #[command(name = "config:edit")]
    ConfigEdit(config::edit::Edit),
    /// List the releases
    Releases(releases::Releases),
    /// Show a release
    #[command(name = "releases:info")]
    ReleasesInfo(releases::one::One),
    /// Print what the release command of a release says
    #[command(name = "releases:output")]
    ReleasesOutput(releases::one::One),
    /// Go back to an earlier release
    #[command(visible_alias = "releases:rollback")]
    Rollback(releases::Rollback),
}

/// What is about how an app is built.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Building {
    /// List the builds
    Builds(builds::Builds),
    /// Build a folder, an archive, or the newest good build again
    #[command(name = "builds:create")]
    BuildsCreate(builds::Create),
    /// Show a build
    #[command(name = "builds:info")]
    BuildsInfo(builds::One),
    /// Print what a build says
    #[command(name = "builds:output")]
    BuildsOutput(builds::One),
    /// Cancel a build that runs
    #[command(name = "builds:cancel")]
    BuildsCancel(builds::One),
    /// Write the image of an app to a folder or a file that other tools read
    #[command(name = "images:export")]
    ImagesExport(images::Export),
    /// Release an image that others made
    #[command(name = "images:import")]
    ImagesImport(images::Import),
    /// Show whether the app is built to slugs or to images
    Stack(stack::Show),
    /// Build slugs, or images from a Dockerfile
    #[command(name = "stack:set")]
    StackSet(stack::Set),
    /// List the buildpacks
    Buildpacks(buildpacks::Show),
    /// Set the buildpack, or the one at --index
    #[command(name = "buildpacks:set")]
    BuildpacksSet(buildpacks::Place),
    /// Add a buildpack at the end, or at --index
    #[command(name = "buildpacks:add")]
    BuildpacksAdd(buildpacks::Place),
    /// Remove a buildpack
    #[command(name = "buildpacks:remove")]
    BuildpacksRemove(buildpacks::Remove),
    /// Remove all buildpacks: detect again
    #[command(name = "buildpacks:clear")]
    BuildpacksClear(buildpacks::Clear),
}

/// Runs a command to its exit code.
pub(crate) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Login(args) => done(login::login(args)).await,
        Command::Logout => done(login::logout()).await,
        Command::GitCredentials(args) => git::credentials(&args),
        signed_in => with(&Client::signed_in()?, signed_in).await,
    }
}

async fn with(client: &Client, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Whoami => done(login::whoami(client)).await,
        Command::Token => done(login::token(client)).await,
        Command::Create(args) => done(create::create(client, &args)).await,
        Command::Apps(args) => done(apps::list(client, &args)).await,
        Command::Info(args) => about(client, &args.app, apps::info(client, &args)).await,
        Command::Rename(args) => about(client, &args.app, apps::rename(client, &args)).await,
        Command::Destroy(args) => about(client, &args.app, apps::destroy(client, &args)).await,
        Command::Open(args) => about(client, &args.app, apps::open(client, &args)).await,
        Command::GitRemote(args) => about(client, &args.app, git::remote(client, &args)).await,
        Command::Hosts(command) => hosts(client, command).await,
        Command::Running(command) => running(client, command).await,
        Command::Releasing(command) => releasing(client, command).await,
        Command::Building(command) => building(client, command).await,
        // They need no sign-in and were run before.
        Command::Login(_) | Command::Logout | Command::GitCredentials(_) => Ok(ExitCode::SUCCESS),
    }
}

async fn hosts(client: &Client, command: Hosts) -> Result<ExitCode, Failure> {
    match command {
        Hosts::Domains(args) => about(client, &args.app, domains::show(client, &args)).await,
        Hosts::DomainsAdd(args) => about(client, &args.app, domains::add(client, &args)).await,
        Hosts::DomainsRemove(args) => {
            about(client, &args.app, domains::remove(client, &args)).await
        }
        Hosts::DomainsClear(args) => about(client, &args.app, domains::clear(client, &args)).await,
        Hosts::Maintenance(args) => {
            about(client, &args.app, maintenance::show(client, &args)).await
        }
        Hosts::MaintenanceOn(args) => {
            about(client, &args.app, maintenance::switch(client, &args, true)).await
        }
        Hosts::MaintenanceOff(args) => {
            about(client, &args.app, maintenance::switch(client, &args, false)).await
        }
    }
}

async fn running(client: &Client, command: Running) -> Result<ExitCode, Failure> {
    match command {
        Running::Ps(args) => about(client, &args.app, ps::list(client, &args)).await,
        Running::Scale(args) => about(client, &args.app, ps::scale(client, &args)).await,
        Running::Restart(args) => about(client, &args.app, ps::restart(client, &args)).await,
        Running::Stop(args) => about(client, &args.app, ps::stop::stop(client, &args)).await,
        Running::Wait(args) => about(client, &args.app, ps::stop::wait(client, &args)).await,
        Running::Port(args) => about(client, &args.app, inspect::port(client, &args)).await,
        Running::Inspect(args) => about(client, &args.app, inspect::start(client, &args)).await,
        Running::Logs(args) => about(client, &args.app, logs::logs(client, &args)).await,
        Running::Run(args) => run::run(client, &args).await,
        Running::RunDetached(args) => run::detached(client, &args).await,
    }
}

async fn releasing(client: &Client, command: Releasing) -> Result<ExitCode, Failure> {
    match command {
        Releasing::Config(args) => about(client, &args.app, config::show(client, &args)).await,
        Releasing::ConfigSet(args) => about(client, &args.app, config::set(client, &args)).await,
        Releasing::ConfigGet(args) => about(client, &args.app, config::get(client, &args)).await,
        Releasing::ConfigUnset(args) => {
            about(client, &args.app, config::unset(client, &args)).await
        }
        Releasing::ConfigEdit(args) => {
            about(client, &args.app, config::edit::edit(client, &args)).await
        }
        Releasing::Releases(args) => about(client, &args.app, releases::list(client, &args)).await,
        Releasing::Rollback(args) => {
            about(client, &args.app, releases::rollback(client, &args)).await
        }
        Releasing::ReleasesInfo(args) => {
            about(client, &args.app, releases::one::info(client, &args)).await
        }
        Releasing::ReleasesOutput(args) => {
            about(client, &args.app, releases::one::show_output(client, &args)).await
        }
    }
}

async fn building(client: &Client, command: Building) -> Result<ExitCode, Failure> {
    match command {
        Building::Builds(args) => about(client, &args.app, builds::list(client, &args)).await,
        Building::BuildsCreate(args) => {
            about(client, &args.app, builds::create(client, &args)).await
        }
        Building::BuildsInfo(args) => about(client, &args.app, builds::info(client, &args)).await,
        Building::BuildsOutput(args) => {
            about(client, &args.app, builds::show_output(client, &args)).await
        }
        Building::BuildsCancel(args) => {
            about(client, &args.app, builds::cancel(client, &args)).await
        }
        Building::ImagesExport(args) => {
            about(client, &args.app(), images::export(client, &args)).await
        }
        Building::ImagesImport(args) => {
            about(client, &args.app(), images::import(client, &args)).await
        }
        Building::Stack(args) => about(client, &args.app, stack::show(client, &args)).await,
        Building::StackSet(args) => about(client, &args.app, stack::set(client, &args)).await,
        Building::Buildpacks(args) => {
            about(client, &args.app, buildpacks::show(client, &args)).await
        }
        Building::BuildpacksSet(args) => {
            about(client, &args.app, buildpacks::set(client, &args)).await
        }
        Building::BuildpacksAdd(args) => {
            about(client, &args.app, buildpacks::add(client, &args)).await
        }
        Building::BuildpacksRemove(args) => {
            about(client, &args.app, buildpacks::remove(client, &args)).await
        }
        Building::BuildpacksClear(args) => {
            about(client, &args.app, buildpacks::clear(client, &args)).await
        }
    }
}

async fn done(command: impl Future<Output = Result<(), Failure>>) -> Result<ExitCode, Failure> {
    command.await.map(|()| ExitCode::SUCCESS)
}

async fn about(
    client: &Client,
    choice: &app::Choice,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<ExitCode, Failure> {
    match command.await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(failure) => match choice.name() {
            Ok(name) => Err(app::suggest(client, &name, failure).await),
            Err(_) => Err(failure),
        },
    }
}
