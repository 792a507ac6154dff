//! The router's log lines: one a request, in Heroku's format, each in the journal of its app.
//!
//! A thread formats into a buffer of its own and hands it to one writer when it is full and every
//! 200 ms; nothing waits for the disk. When the writer cannot keep up, lines are dropped and
//! counted. Everything in a line that a client may have written is escaped.

mod writer;

use crate::error::{Facts, Level};
use crate::timers::unix_us;
use model::{app, limits};
use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

pub use writer::{LogWriter, WriterStartError};

/// What a line says.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// What went wrong, if anything.
    pub failure: Option<Facts>,
    /// `GET`
    pub method: &'a str,
    /// Path and query, as they were sent.
    pub path: &'a str,
    /// Without port.
    pub host: &'a str,
    /// The id that the dyno saw.
    pub request_id: &'a [u8],
    /// `X-Forwarded-For` as the dyno saw it.
    pub fwd: &'a [u8],
    /// `web.1`
    pub dyno: Option<&'a str>,
    /// Time to connect.
    pub connect: Option<Duration>,
    /// Time from then to the end.
    pub service: Option<Duration>,
    /// What the client saw.
    pub status: Option<u16>,
    /// Bytes of the body that went to the client.
    pub bytes: Option<u64>,
}

impl Line<'_> {
    /// Appends the line, without its end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let level = self.failure.map_or(Level::Info, |facts| facts.level);
        if let Some(sock) = self.failure.and_then(|facts| facts.sock) {
            push(out, &["sock=", sock, " "]);
        }
        push(out, &["at=", level.word()]);
        if let Some(facts) = self.failure {
            push(out, &[" code=", facts.code, " desc=\"", facts.desc, "\""]);
            if let Some(cause) = facts.cause {
                push(out, &[" cause=\"", cause, "\""]);
            }
        }
        push(out, &[" method=", self.method, " path=\""]);
        escape(out, self.path.as_bytes());
        push(out, &["\" host="]);
        escape(out, self.host.as_bytes());
        push(out, &[" request_id="]);
        escape(out, self.request_id);
        push(out, &[" fwd=\""]);
        escape(out, self.fwd);
        push(out, &["\" dyno=", self.dyno.unwrap_or_default()]);
        push(out, &[" connect="]);
        milliseconds(out, self.connect);
        push(out, &[" service="]);
        milliseconds(out, self.service);
        push(out, &[" status="]);
        number(out, self.status.map(u64::from), "");
        push(out, &[" bytes="]);
        number(out, self.bytes, "");
        push(out, &[" protocol=http"]);
    }
}

fn push(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

fn milliseconds(out: &mut Vec<u8>, time: Option<Duration>) {
    number(out, time.map(crate::timers::milliseconds), "ms");
}

fn number(out: &mut Vec<u8>, value: Option<u64>, unit: &str) {
    if let Some(value) = value {
        write!(out, "{value}{unit}").expect("a vector takes all bytes");
    }
}

/// Quotes, backslashes and whatever is no printable ASCII would end or forge a line.
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => write!(out, "\\x{byte:02x}").expect("a vector takes all bytes"),
        }
    }
}

/// Lines of one thread on their way to the writer.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    text: Vec<u8>,
    lines: Vec<Placed>,
    /// Lines that were lost before this batch.
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    app: app::Id,
    at_us: u64,
    /// Where the line ends in the batch's text; it begins where the one before ends.
    end: usize,
}

/// A message to the writer.
#[derive(Debug)]
pub(crate) enum Message {
    Lines(Batch),
    /// The apps that there are: the journals of all others go.
    Living(std::collections::BTreeSet<app::Id>),
}

/// One thread's end of the log.
#[derive(Debug)]
pub(crate) struct Log {
    batch: RefCell<Batch>,
    writer: SyncSender<Message>,
    dropped: Cell<u64>,
}

impl Log {
    pub(crate) fn new(writer: SyncSender<Message>) -> Self {
        Self {
            batch: RefCell::default(),
            writer,
            dropped: Cell::new(0),
        }
    }

    /// Takes a line of an app.
    pub(crate) fn line(&self, app: app::Id, line: &Line<'_>) {
        let is_full = {
            let mut batch = self.batch.borrow_mut();
            line.write(&mut batch.text);
            let end = batch.text.len();
            let at_us = unix_us();
            batch.lines.push(Placed { app, at_us, end });
            end >= limits::ACCESS_BUFFER_BYTES
        };
        if is_full {
            self.flush();
        }
    }

    /// Hands the buffer over, if there is anything in it.
    pub(crate) fn flush(&self) {
        let mut batch = self.batch.take();
        if batch.lines.is_empty() {
            return;
        }
        batch.dropped = self.dropped.take();
        match self.writer.try_send(Message::Lines(batch)) {
            Ok(()) => {}
            Err(
                TrySendError::Full(Message::Lines(batch))
                | TrySendError::Disconnected(Message::Lines(batch)),
            ) => {
                self.dropped.set(batch.dropped + batch.lines.len() as u64);
            }
            Err(_) => unreachable!("what comes back is what was sent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    fn text(line: &Line<'_>) -> String {
        let mut out = Vec::new();
        line.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    const LINE: Line<'_> = Line {
        failure: None,
        method: "GET",
        path: "/x?y=1",
        host: "app.example.com",
        request_id: b"0123",
        fwd: b"1.2.3.4",
        dyno: Some("web.1"),
        connect: Some(Duration::from_micros(1_900)),
        service: Some(Duration::from_millis(18)),
        status: Some(200),
        bytes: Some(13),
    };

    #[test]
    fn lines() {
        assert_eq!(
            text(&LINE),
            "at=info method=GET path=\"/x?y=1\" host=app.example.com request_id=0123 \
             fwd=\"1.2.3.4\" dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=http"
        );
        let unknown = Line {
            failure: Some(Failure::Crashed.facts()),
            dyno: None,
            connect: None,
            service: None,
            status: Some(503),
            bytes: None,
            ..LINE
        };
        assert_eq!(
            text(&unknown),
            "at=error code=H10 desc=\"App crashed\" method=GET path=\"/x?y=1\" \
             host=app.example.com request_id=0123 fwd=\"1.2.3.4\" dyno= connect= service= \
             status=503 bytes= protocol=http"
        );
        for (failure, start) in [
            (
                Failure::ClientCut,
                "sock=client at=warning code=H27 desc=\"Client Request Interrupted\" method=GET",
            ),
            (
                Failure::DynoCut,
                "sock=backend at=error code=H18 desc=\"Server Request Interrupted\" method=GET",
            ),
            (
                Failure::BadExpect,
                "at=error code=H26 desc=\"Request Error\" \
                 cause=\"unsupported expect header value\" method=GET",
            ),
        ] {
            let line = Line {
                failure: Some(failure.facts()),
                ..LINE
            };
            assert!(text(&line).starts_with(start), "{}", text(&line));
        }
    }

    #[test]
    fn what_a_client_wrote_cannot_end_a_line() {
        let line = Line {
            path: "/\"\\\n\u{e4}",
            fwd: b"a\" at=info\x7f\x00",
            ..LINE
        };
        let text = text(&line);
        assert!(text.contains(r#"path="/\"\\\x0a\xc3\xa4""#), "{text}");
        assert!(text.contains(r#"fwd="a\" at=info\x7f\x00""#), "{text}");
    }

    #[test]
    fn lines_are_dropped_and_counted_when_the_writer_is_behind() {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let log = Log::new(sender);
        let app = app::Id::parse("00000000-0000-4000-8000-000000000001").unwrap();
        for _ in 0..3 {
            log.line(app, &LINE);
            log.flush();
        }
        let mut counts = Vec::new();
        for _ in 0..2 {
            if let Ok(Message::Lines(batch)) = receiver.try_recv() {
                counts.push((batch.lines.len(), batch.dropped));
            }
            log.line(app, &LINE);
            log.flush();
        }
        assert_eq!(counts, [(1, 0), (1, 2)]);
    }
}
