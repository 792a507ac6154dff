//! `run`: a one-off dyno with this terminal as its own, over the rendezvous connection.
//! `run:detached`: one that writes to the log.

use crate::app::{self, Choice};
use crate::client::Client;
use crate::commands::run::terminal::Raw;
use crate::failure::{Failure, SIGNED_OUT};
use crate::output::Ink;
use crate::{json, output};
use http::Method;
use serde_json::{Value, json};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

mod status;
mod terminal;

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    app: Choice,
    /// Dyno size
    #[arg(long, short)]
    size: Option<String>,
    /// Variables of this dyno alone: KEY=value;KEY=value
    #[arg(long, short)]
    env: Option<String>,
    /// No terminal: plain pipes
    #[arg(long)]
    no_tty: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Detached {
    #[command(flatten)]
    app: Choice,
    /// Dyno size
    #[arg(long, short)]
    size: Option<String>,
    /// Variables of this dyno alone: KEY=value;KEY=value
    #[arg(long, short)]
    env: Option<String>,
    /// Print the dyno as JSON
    #[arg(long)]
    json: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Starts a dyno and leaves it to itself.
pub(crate) async fn detached(client: &Client, args: &Detached) -> Result<ExitCode, Failure> {
    let body = json!({
        "command": line(&args.command),
        "attach": false,
        "env": variables(args.env.as_deref())?,
        "size": args.size,
    });
    let dyno = start(client, &args.app, &args.command, &body).await?;
    let name = json::text(&dyno, "name");
    output::aside(&format!("done, {name}"));
    output::aside(&format!(
        "       what it says: paas logs --dyno {name} --tail"
    ));
    if args.json {
        output::json(&dyno);
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks for a one-off dyno.
async fn start(
    client: &Client,
    app: &Choice,
    command: &[String],
    body: &Value,
) -> Result<Value, Failure> {
    let name = app.name()?;
    output::begin_aside(&format!(
        "Running {} on {}... ",
        output::ink_aside(Ink::Bold, &command.join(" ")),
        output::ink_aside(Ink::App, &name)
    ));
    let path = app.path("/dynos")?;
    match client.ask(Method::POST, &path, Some(body)).await {
        Ok(dyno) => Ok(dyno),
        Err(failure) => {
            output::aside("failed");
            Err(app::suggest(client, &name, failure).await)
        }
    }
}

/// Starts the dyno, ties this terminal to it, and ends with the command's exit code.
pub(crate) async fn run(client: &Client, args: &Run) -> Result<ExitCode, Failure> {
    let dyno = start(client, &args.app, &args.command, &order(args)?).await?;
    let mut stream = connect(&json::text(&dyno, "attach_url")).await?;
    let mut greeting = [0; "rendezvous\r\n".len()];
    stream
        .read_exact(&mut greeting)
        .await
        .map_err(|_| Failure::new("the dyno could not be attached").hint("see why: paas logs"))?;
    output::aside(&format!("up, {}", json::text(&dyno, "name")));
    let raw = if has_terminal(args) {
        Some(Raw::enter()?)
    } else {
        None
    };
    let result = carry(stream).await;
    drop(raw);
    match result? {
        Some(code) => Ok(ExitCode::from(code)),
        None => Err(
            Failure::new("the connection to the dyno ended before the command did")
                .hint("see why: paas logs"),
        ),
    }
}

fn has_terminal(args: &Run) -> bool {
    !args.no_tty && std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// The body of the request: the exit status comes as a line of output behind U+FFFF.
fn order(args: &Run) -> Result<Value, Failure> {
    let mut env = variables(args.env.as_deref())?;
    let with_terminal = has_terminal(args);
    if with_terminal {
        if let Some(term) = crate::account::environment("TERM") {
            env.insert("TERM".to_owned(), json!(term));
        }
        if let Some((rows, columns)) = terminal::size() {
            env.insert("LINES".to_owned(), json!(rows));
            env.insert("COLUMNS".to_owned(), json!(columns));
        }
    }
    let command = line(&args.command);
    let mut body = json!({
        "command": format!("{} ; echo \"\u{ffff} heroku-command-exit-status: $?\"", kept(&command)),
        "attach": true,
        "env": env,
        "force_no_tty": !with_terminal,
    });
    if let (Some(size), Some(fields)) = (&args.size, body.as_object_mut()) {
        fields.insert("size".to_owned(), json!(size));
    }
    Ok(body)
}

/// `KEY=value;KEY=value`
fn variables(text: Option<&str>) -> Result<serde_json::Map<String, Value>, Failure> {
    let pairs = text.unwrap_or_default().split(';');
    let pairs = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!("{pair} has no `=`")).hint("write -e 'KEY=value;KEY=value'")
        })?;
        Ok((key.to_owned(), json!(value)))
    });
    pairs.collect()
}

/// One argument is a line for the shell, several are words.
fn line(command: &[String]) -> String {
    match command {
        [line] => line.clone(),
        words => {
            let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
            words.join(" ")
        }
    }
}

/// A command that may end or replace its shell gets one of its own, so that its status is still
/// told. A plain one stays as it is: its first word may name a process type.
fn kept(command: &str) -> String {
    let ends_its_shell = matches!(command.split_whitespace().next(), Some("exit" | "exec"));
    if command.contains('#') {
        // The line end keeps a comment from swallowing the parenthesis.
        format!("( {command}\n)")
    } else if ends_its_shell || command.contains([';', '&', '|', '(', '{', '\n']) {
        format!("( {command} )")
    } else {
        command.to_owned()
    }
}

fn quote(word: &str) -> String {
    let is_plain = !word.is_empty()
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(&byte));
    if is_plain {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

async fn connect(url: &str) -> Result<TlsStream<TcpStream>, Failure> {
    let bad = || {
        Failure::new(format!(
            "the platform gave an attach URL that cannot be used: {url}"
        ))
    };
    let (place, secret) = url
        .strip_prefix("rendezvous://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(bad)?;
    let (host, port) = place.rsplit_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    let authority = crate::account::authority()?;
    let config = link::authority::client_config(&authority).map_err(|error| {
        Failure {
            exit: SIGNED_OUT,
            ..Failure::new(format!(
                "the platform's certificate authority is not known here: {error}"
            ))
        }
        .hint("sign in again: paas login")
    })?;
    let address = if host == "localhost" || host.ends_with(".localhost") {
        "127.0.0.1"
    } else {
        host
    };
    let stream = TcpStream::connect((address, port))
        .await
        .map_err(|error| Failure::new(format!("{place} cannot be reached: {error}")))?;
    let server = ServerName::try_from(host.to_owned()).map_err(|_| bad())?;
    let mut stream = TlsConnector::from(config).connect(server, stream).await?;
    stream.write_all(format!("{secret}\r\n").as_bytes()).await?;
    stream.flush().await?;
    Ok(stream)
}

/// Bytes both ways until the other side ends; the exit status is taken out of the output.
async fn carry(stream: TlsStream<TcpStream>) -> Result<Option<u8>, Failure> {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut keyboard = terminal::keyboard();
    let mut watch = status::Watch::default();
    let mut buffer = vec![0; 16 * 1024];
    let mut is_open = true;
    loop {
        tokio::select! {
            typed = keyboard.recv(), if is_open => {
                is_open = typed.is_some();
                // The end of input is byte 04, for a terminal and for pipes alike.
                to.write_all(&typed.unwrap_or_else(|| vec![4])).await?;
            }
            count = from.read(&mut buffer) => {
                let count = count.unwrap_or(0);
                if count == 0 {
                    output::bytes(&watch.end())?;
                    return Ok(watch.code());
                }
                output::bytes(&watch.feed(buffer.get(..count).unwrap_or_default()))?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_end_its_shell_gets_its_own() {
        for (command, sent) in [
            ("worker --once", "worker --once"),
            ("exit 7", "( exit 7 )"),
            ("a; exit 7", "( a; exit 7 )"),
            ("a # note", "( a # note\n)"),
        ] {
            assert_eq!(kept(command), sent);
        }
    }

    #[test]
    fn words_are_quoted() {
        for (word, quoted) in [("ls", "ls"), ("a b", "'a b'"), ("$X", "'$X'"), ("", "''")] {
            assert_eq!(quote(word), quoted);
        }
    }
}
