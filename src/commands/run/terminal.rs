//! This side's terminal: raw while a dyno has it, and its bytes as they are typed.

use nix::sys::termios::{self, SetArg, Termios};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use tokio::sync::mpsc;

/// Chunks of typed or piped input that wait to be sent.
const QUEUE_MAX: usize = 16;

/// The terminal in raw mode; dropping this gives it back as it was.
#[derive(Debug)]
pub(crate) struct Raw(Termios);

impl Raw {
    /// Puts standard input into raw mode: every key goes to the dyno, Ctrl-C too.
    pub(crate) fn enter() -> std::io::Result<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if termios::tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, &self.0).is_err() {
            crate::output::aside("the terminal could not be set back; `reset` does it");
        }
    }
}

/// Rows and columns of the terminal, as it says itself.
pub(crate) fn size() -> Option<(u16, u16)> {
    let output = std::process::Command::new("stty")
        .arg("size")
        .stdin(std::process::Stdio::inherit())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (rows, columns) = text.trim().split_once(' ')?;
    Some((rows.parse().ok()?, columns.parse().ok()?))
        .filter(|(rows, columns)| *rows > 0 && *columns > 0)
}

/// Standard input in chunks; ends with the input. A thread reads, since a terminal cannot be
/// waited for together with pipes and files in one way; it ends with the process.
pub(crate) fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count) = stdin.read(&mut buffer) {
            let chunk = buffer.get(..count).unwrap_or_default().to_vec();
            if count == 0 || sender.blocking_send(chunk).is_err() {
                return;
            }
        }
    });
    receiver
}
