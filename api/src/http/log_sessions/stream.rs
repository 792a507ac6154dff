//! The stream of one session: the last lines, then what comes. It reads as fast as it is read from,
//! and holds nothing back in memory.

use super::line::written;
use super::{LIFE_US, Session};
use crate::clock::now_us;
use crate::follow::Lines;
use crate::http::failure::Failure;
use crate::platform::Platform;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::CONTENT_TYPE;
use journal::{Line, Position, Source};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// A stream that is silent says so, which keeps proxies awake; it also looks whether it may go on.
const PING: Duration = Duration::from_secs(20);
/// Bytes that are handed over at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Opens a session's stream. `last_id`: the last event that the reader has.
pub(super) fn open(
    platform: Arc<Platform>,
    session: Session,
    last_id: Option<&str>,
    is_events: bool,
) -> Result<Response, Failure> {
    let reader = Arc::clone(&platform.readers).try_acquire_owned();
    let reader = reader.map_err(|_| {
        Failure::unavailable("Too many logs are being read. Close one and try again.")
    })?;
    let folders = platform.log.sources(session.app);
    let (from, skip, history) = if let Some((position, skip)) = last_id.and_then(parse_id) {
        (position, skip, Vec::new())
    } else {
        let shows = |line: &Line| session.shows(line);
        let tail = journal::last(&folders, session.lines, &shows).map_err(|error| {
            crate::say::failed("read an app's log", &error);
            Failure::internal()
        })?;
        (tail.position, 0, tail.lines)
    };
    let follow = if session.tail {
        let lines = Lines::open(&folders, &from).map_err(|error| {
            crate::say::failed("follow an app's log", &error);
            Failure::internal()
        })?;
        Some(lines)
    } else {
        None
    };
    let stream = Stream {
        queue: history.into_iter().map(Entry::from_history).collect(),
        position: from,
        skip,
        follow,
        session,
        is_events,
        platform,
        _reader: reader,
    };
    let stream = match last_id {
        Some(_) => stream,
        None => stream.with_history_end(),
    };
    let body = unfold(stream, |mut stream| async move {
        let chunk = stream.next().await?;
        Some((Ok::<Bytes, Infallible>(chunk), stream))
    });
    let content_type = if is_events {
        "text/event-stream"
    } else {
        "text/plain; charset=utf-8"
    };
    Response::builder()
        .header(CONTENT_TYPE, content_type)
        .body(Body::from_stream(body))
        .map_err(|_| Failure::internal())
}

/// Whether the app is still there and the token that made the session still good.
pub(super) fn is_allowed(platform: &Platform, session: &Session) -> Result<bool, Failure> {
    let tokens = platform.records.tokens_of(session.account)?;
    let now_us = now_us();
    let is_good = tokens
        .iter()
        .any(|token| token.id == session.authorization && !token.is_expired(now_us));
    let app = platform.records.app(session.app)?;
    Ok(is_good && app.is_some_and(|app| app.owner == session.account))
}

/// A line with the id under which a reader may ask for what follows it.
struct Entry {
    line: Line,
    id: Option<String>,
}

impl Entry {
    fn from_history(line: Line) -> Self {
        Self { line, id: None }
    }
}

struct Stream {
    queue: VecDeque<Entry>,
    /// Where the next batch begins.
    position: Position,
    /// Lines of the next batch that the reader has already.
    skip: usize,
    /// None when the stream ends with its history.
    follow: Option<Lines>,
    session: Session,
    is_events: bool,
    platform: Arc<Platform>,
    _reader: OwnedSemaphorePermit,
}

impl Stream {
    /// The last line of the history says where the rest begins.
    fn with_history_end(mut self) -> Self {
        let id = self.position.to_string();
        if let Some(last) = self.queue.back_mut() {
            last.id = Some(id);
        }
        self
    }

    /// The next bytes; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.queue.is_empty() {
            return Some(self.chunk());
        }
        self.follow.as_ref()?;
        let wait = tokio::time::timeout(PING, self.batch());
        match wait.await {
            Ok(true) if self.queue.is_empty() => Some(self.ping()),
            Ok(true) => Some(self.chunk()),
            Ok(false) => None,
            Err(_) => self.may_go_on().then(|| self.ping()),
        }
    }

    /// Waits for lines that are shown; false at the end.
    async fn batch(&mut self) -> bool {
        let platform = Arc::clone(&self.platform);
        loop {
            let Some(follow) = &mut self.follow else {
                return false;
            };
            let batch = tokio::select! {
                batch = follow.next() => batch,
                () = platform.stop.requested() => return false,
            };
            match batch {
                Ok(batch) => self.take(batch),
                Err(error) => {
                    crate::say::failed("follow an app's log", &error);
                    return false;
                }
            }
            if !self.queue.is_empty() {
                return true;
            }
        }
    }

    fn take(&mut self, batch: journal::Batch) {
        let begin = std::mem::replace(&mut self.position, batch.position);
        let skip = std::mem::take(&mut self.skip);
        if batch.has_gap {
            self.queue.push_back(Entry::from_history(gap()));
        }
        let shown = batch
            .lines
            .into_iter()
            .filter(|line| self.session.shows(line));
        for (index, line) in shown.enumerate().skip(skip) {
            let id = Some(format!("{begin}:{}", index + 1));
            self.queue.push_back(Entry { line, id });
        }
        // Behind the last line there is nothing to skip.
        let id = self.position.to_string();
        if let Some(last) = self.queue.back_mut() {
            last.id = Some(id);
        }
    }

    fn chunk(&mut self) -> Bytes {
        let mut text = String::new();
        while text.len() < CHUNK_BYTES
            && let Some(entry) = self.queue.pop_front()
        {
            let line = written(&entry.line);
            if self.is_events {
                if let Some(id) = entry.id {
                    text.push_str("id: ");
                    text.push_str(&id);
                    text.push('\n');
                }
                text.push_str("data: ");
                text.push_str(&line);
                text.push_str("\n\n");
            } else {
                text.push_str(&line);
                text.push('\n');
            }
        }
        Bytes::from(text)
    }

    /// A comment that nobody shows. Plain text has none, and an empty chunk would end it.
    fn ping(&self) -> Bytes {
        Bytes::from_static(if self.is_events { b": ping\n\n" } else { b"" })
    }

    fn may_go_on(&self) -> bool {
        let age_us = now_us().saturating_sub(self.session.made_at_us);
        let is_allowed = is_allowed(&self.platform, &self.session).unwrap_or(true);
        age_us < LIFE_US && is_allowed
    }
}

fn gap() -> Line {
    Line {
        at_us: now_us(),
        source: Source::Heroku,
        process: "logplex".to_owned(),
        text: b"Error L11 (Tail buffer overflow) -> This tail session dropped messages".to_vec(),
    }
}

/// `POSITION` or `POSITION:LINES`
fn parse_id(id: &str) -> Option<(Position, usize)> {
    let (position, skip) = id.split_once(':').unwrap_or((id, "0"));
    if position.is_empty() {
        return None;
    }
    Some((position.parse().ok()?, skip.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        assert_eq!(parse_id("1.a-0.0").unwrap().1, 0);
        assert_eq!(parse_id("1.a-0.0:7").unwrap().1, 7);
        for bad in ["", "x", "1.a:", "1.a:-1", ":3"] {
            assert!(parse_id(bad).is_none(), "{bad}");
        }
    }
}
