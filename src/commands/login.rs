//! `login`, `logout`, `auth:whoami`, `auth:token`.

use crate::account::{Account, environment};
use crate::client::Client;
use crate::commands::git;
use crate::failure::{Failure, SIGNED_OUT};
use crate::{json, output};
use link::config::Config;
use model::account::Email;
use model::feed::{Answer, Ask, Role};
use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// URL of the API, as `paas status` on the server shows it
    #[arg(long)]
    api_url: Option<String>,
    /// Data folder of the platform, for root on the server
    #[arg(long, default_value = "/var/lib/paas")]
    data: PathBuf,
    /// As root on the server: the account to sign in, made if there is none
    #[arg(long)]
    email: Option<Email>,
}

/// Signs in: root on the server through the control socket, everybody else with a token.
pub(crate) async fn login(args: Login) -> Result<(), Failure> {
    let (account, ca_pem) = match &args.api_url {
        None if nix::unistd::geteuid().is_root() => from_control_socket(&args).await?,
        url => with_token(url.clone()).await?,
    };
    let email = account.email.clone();
    account.save(ca_pem.as_deref())?;
    git::keep_credentials(&account)?;
    output::line(&format!(
        "Logged in as {}",
        output::ink(output::Ink::Bold, &email)
    ));
    Ok(())
}

async fn from_control_socket(args: &Login) -> Result<(Account, Option<String>), Failure> {
    let config = Config::load(&args.data).map_err(|error| {
        Failure::new(crate::failure::chain(&error))
            .hint("set the platform up first: make up; or sign in elsewhere with --api-url")
    })?;
    // The same person stays the same account when the platform gets another domain.
    let text = Account::last_email().unwrap_or_else(|| {
        let user = environment("SUDO_USER").or_else(|| environment("USER"));
        format!(
            "{}@{}",
            user.unwrap_or_else(|| "root".to_owned()),
            config.domain
        )
    });
    let email = match &args.email {
        Some(email) => email.clone(),
        None => Email::parse(&text).map_err(|error| Failure::usage(error.to_string()))?,
    };
    let description = format!("paas login on {}", config.node);
    let ask = Ask::IssueToken { email, description };
    let answer = link::feed::ask_once(&config.control_socket(), Role::Operator, ask)
        .await
        .map_err(|error| {
            Failure {
                exit: crate::failure::UNREACHABLE,
                ..Failure::new(format!(
                    "failed to ask the platform for a token: {}",
                    crate::failure::chain(&error)
                ))
            }
            .hint("is the platform running? paas status")
        })?;
    match answer {
        Answer::Token { token, email } => Ok((
            Account {
                api_url: config.api_url(),
                email: email.to_string(),
                token,
            },
            std::fs::read_to_string(config.data_dir.join("authority/ca.pem")).ok(),
        )),
        Answer::Refused { message } => Err(Failure::new(message)),
        other => Err(Failure::new(format!(
            "the platform answered something else: {other:?}"
        ))),
    }
}

async fn with_token(url: Option<String>) -> Result<(Account, Option<String>), Failure> {
    let api_url = url.or_else(|| environment("PAAS_API_URL")).ok_or_else(|| {
        Failure::usage("which platform?")
            .hint("paas login --api-url http://api.HOST (the operator's `paas status` shows it)")
    })?;
    if std::io::stdin().is_terminal() {
        output::begin_aside("Token: ");
    }
    let mut token = String::new();
    if std::io::stdin().is_terminal() {
        std::io::stdin().read_line(&mut token)?;
    } else {
        std::io::stdin().take(4096).read_to_string(&mut token)?;
    }
    let token = token.trim().to_owned();
    if token.is_empty() {
        return Err(Failure::usage("no token on standard input")
            .hint("paas auth:token prints one where you are signed in"));
    }
    let account = Account {
        api_url,
        email: String::new(),
        token,
    };
    let client = Client::of(account.clone())?;
    let email = json::text(&client.get("/account").await?, "email");
    let ca_pem = client
        .get("/paas/authority")
        .await
        .ok()
        .map(|answer| json::text(&answer, "ca_pem"))
        .filter(|pem| !pem.is_empty());
    Ok((Account { email, ..account }, ca_pem))
}

/// Forgets the token, here and on the platform.
pub(crate) async fn logout() -> Result<(), Failure> {
    if let Ok(client) = Client::signed_in() {
        let path = "/oauth/authorizations/~";
        if let Err(failure) = client.ask(http::Method::DELETE, path, None).await
            && failure.exit != SIGNED_OUT
            && failure.id != "not_found"
        {
            // Signing out here must not depend on a platform that may be gone for good.
            let message = failure.message.replace('\n', " ");
            output::aside(&format!("the token stays valid on the platform: {message}"));
        }
    }
    git::forget_credentials()?;
    Account::forget()?;
    output::line("Logged out");
    Ok(())
}

/// Prints the account's email.
pub(crate) async fn whoami(client: &Client) -> Result<(), Failure> {
    output::line(&json::text(&client.get("/account").await?, "email"));
    Ok(())
}

/// Prints the token, after a look whether it is still good.
pub(crate) async fn token(client: &Client) -> Result<(), Failure> {
    client.get("/account").await?;
    output::line(&client.account.token);
    Ok(())
}
