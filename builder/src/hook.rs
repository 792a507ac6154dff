//! git's `proc-receive` hook, inside the receive-pack job: asks the builder, answers git.
//!
//! git starts it when the pushed objects are in place and before a ref moves (githooks(5),
//! "proc-receive"; read in git 2.39 and 2.47). Standard input and output speak git's protocol
//! version 1, standard error goes to the pusher as `remote: ` lines, and descriptor 3 is a socket
//! to the builder, which does all the thinking. An update that the builder accepts falls through:
//! `receive-pack` itself moves the ref, with its lock and its checks.

pub mod packet;
pub mod talk;

use packet::{Packet, PacketError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use talk::{MESSAGE_MAX_BYTES, Request, Update, Verdict, Word};

/// What the pusher reads when the builder is gone before it answered.
const NO_ANSWER: &str = "the platform's builder stopped, nothing was changed: push again";

/// Why the hook gives up; git then refuses all updates by itself.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error("speak with git")]
    Git(#[from] PacketError),
    #[error("speak with git: {0}")]
    Protocol(&'static str),
    #[error("speak with the builder")]
    Builder(#[from] io::Error),
    #[error("read the builder's answer")]
    Answer(#[from] serde_json::Error),
}

/// Runs the hook to its end.
pub fn run() -> ExitCode {
    let stdin = io::stdin().lock();
    let stdout = io::stdout().lock();
    let result = builder_socket()
        .map_err(HookError::from)
        .and_then(|socket| converse(stdin, stdout, &socket, &mut io::stderr()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::jail::fail(&error),
    }
}

/// The socket that the builder gave to the job as its fourth file.
fn builder_socket() -> io::Result<UnixStream> {
    let mut handed = listenfd::ListenFd::from_env();
    let socket = handed.take_unix_listener(0)?.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "only the builder starts this hook")
    })?;
    // It is a connected socket: the type is only the way that `listenfd` hands sockets over.
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

fn converse(
    mut git_in: impl Read,
    mut git_out: impl Write,
    builder: &UnixStream,
    pusher: &mut impl Write,
) -> Result<(), HookError> {
    agree_on_version(&mut git_in, &mut git_out)?;
    let updates = read_updates(&mut git_in)?;
    let request = Request { updates };
    let verdicts = ask(&request, builder, pusher)?;
    let verdicts = verdicts
        .into_iter()
        .map(Some)
        .chain(std::iter::repeat(None));
    for (update, verdict) in request.updates.iter().zip(verdicts) {
        answer(&mut git_out, &update.name, verdict.as_ref())?;
    }
    Ok(packet::flush(&mut git_out)?)
}

/// Answers git's greeting with ours: version 1, and that atomic pushes work.
fn agree_on_version(git_in: &mut impl Read, git_out: &mut impl Write) -> Result<(), HookError> {
    let mut is_atomic = false;
    loop {
        match packet::read(git_in)? {
            None => return Err(HookError::Protocol("it said nothing")),
            Some(Packet::Flush) => break,
            Some(Packet::Data(line)) => {
                if !line.starts_with(b"version=1") {
                    return Err(HookError::Protocol("it does not speak version 1"));
                }
                is_atomic = line.split(|b| b" \0\n".contains(b)).any(|w| w == b"atomic");
            }
        }
    }
    let ours: &[u8] = if is_atomic {
        b"version=1\0atomic\n"
    } else {
        b"version=1\n"
    };
    packet::write(git_out, ours)?;
    Ok(packet::flush(git_out)?)
}

/// Reads `<old> <new> <ref>` lines up to the flush.
fn read_updates(git_in: &mut impl Read) -> Result<Vec<Update>, HookError> {
    let mut updates = Vec::new();
    while let Some(Packet::Data(line)) = packet::read(git_in)? {
        let line = String::from_utf8_lossy(&line);
        let mut words = line.trim_end_matches('\n').splitn(3, ' ');
        let mut word = || {
            let word = words.next().map(str::to_owned);
            word.ok_or(HookError::Protocol("a line is no command"))
        };
        updates.push(Update {
            old: word()?,
            new: word()?,
            name: word()?,
        });
    }
    Ok(updates)
}

/// Sends the request, shows what the builder says, and returns its verdicts; none if it died.
fn ask(
    request: &Request,
    builder: &UnixStream,
    pusher: &mut impl Write,
) -> Result<Vec<Verdict>, HookError> {
    let mut message = serde_json::to_vec(request)?;
    message.push(b'\n');
    (&*builder).write_all(&message)?;
    let mut reader = BufReader::new(builder);
    loop {
        let mut line = String::new();
        let mut bounded = (&mut reader).take(MESSAGE_MAX_BYTES);
        if bounded.read_line(&mut line)? == 0 {
            return Ok(Vec::new());
        }
        match serde_json::from_str(&line)? {
            // One write a line, so that git sends it in one piece.
            Word::Say(line) => pusher.write_all(format!("{line}\n").as_bytes())?,
            Word::Verdicts(verdicts) => return Ok(verdicts),
        }
    }
}

fn answer(
    git_out: &mut impl Write,
    name: &str,
    verdict: Option<&Verdict>,
) -> Result<(), PacketError> {
    match verdict {
        Some(Verdict::Move) => {
            packet::write(git_out, format!("ok {name}\n").as_bytes())?;
            packet::write(git_out, b"option fall-through\n")
        }
        Some(Verdict::Refuse(reason)) => {
            packet::write(git_out, format!("ng {name} {reason}\n").as_bytes())
        }
        None => packet::write(git_out, format!("ng {name} {NO_ANSWER}\n").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = "0000000000000000000000000000000000000000";
    const ONE: &str = "1111111111111111111111111111111111111111";

    fn packets(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            match *line {
                "" => packet::flush(&mut bytes).unwrap(),
                line => packet::write(&mut bytes, line.as_bytes()).unwrap(),
            }
        }
        bytes
    }

    /// Plays git and the builder: what git gets, and what the pusher reads.
    fn check(git: &[&str], words: &[Word], answers: &[&str], shown: &str) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        for word in words {
            let line = serde_json::to_string(word).unwrap() + "\n";
            (&theirs).write_all(line.as_bytes()).unwrap();
        }
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let (mut out, mut pusher) = (Vec::new(), Vec::new());
        converse(packets(git).as_slice(), &mut out, &ours, &mut pusher).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&packets(answers))
        );
        assert_eq!(String::from_utf8_lossy(&pusher), shown);
    }

    #[test]
    fn verdicts_become_gits_words() {
        let main = format!("{ZERO} {ONE} refs/heads/main");
        let tag = format!("{ZERO} {ONE} refs/tags/v1");
        check(
            &["version=1\0push-options atomic\n", "", &main, &tag, ""],
            &[
                Word::Say("-----> Python app detected".to_owned()),
                Word::Verdicts(vec![
                    Verdict::Move,
                    Verdict::Refuse("tags are not stored".to_owned()),
                ]),
            ],
            &[
                "version=1\0atomic\n",
                "",
                "ok refs/heads/main\n",
                "option fall-through\n",
                "ng refs/tags/v1 tags are not stored\n",
                "",
            ],
            "-----> Python app detected\n",
        );
    }

    #[test]
    fn a_dead_builder_refuses() {
        let main = format!("{ZERO} {ONE} refs/heads/main\n");
        check(
            &["version=1\n", "", &main, ""],
            &[],
            &[
                "version=1\n",
                "",
                &format!("ng refs/heads/main {NO_ANSWER}\n"),
                "",
            ],
            "",
        );
    }

    #[test]
    fn other_protocols_are_refused() {
        for git in [
            packets(&["version=2\n", ""]),
            packets(&[]),
            packets(&["version=1\n", "", "nonsense", ""]),
        ] {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let mut out = Vec::new();
            converse(git.as_slice(), &mut out, &ours, &mut Vec::new()).unwrap_err();
        }
    }
}
