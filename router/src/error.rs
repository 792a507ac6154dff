//! What can go wrong with a request: Heroku's H codes with their exact text, status and log level.
//!
//! A [`Failure`] is about one request of one app and ends in its log line; a refusal before the app
//! is known is in `rules`. Source of the table: docs/heroku.md, "H codes".

use http::StatusCode;

/// Why a request of an app got no answer of a dyno, or only a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// H10: no web dyno is up or starting, at least one crashed.
    Crashed,
    /// H11: too many requests of the app at once.
    Backlog,
    /// H12: no first byte in time.
    FirstByte,
    /// H13: the dyno closed without a byte.
    NoResponse,
    /// H14: `web` is scaled to 0.
    NoWeb,
    /// H15: the dyno was silent inside a response or tunnel.
    DynoIdle,
    /// H17: the dyno's response cannot be read.
    BadResponse,
    /// H17: the dyno's transfer coding is not ours, or it switched protocols unasked.
    UnknownFraming,
    /// H18: the dyno cut its response.
    DynoCut,
    /// H19: connecting timed out on every attempt.
    ConnectTimeout,
    /// H20: all dynos were starting for too long.
    BootTimeout,
    /// H21: connecting was refused on every attempt.
    ConnectRefused,
    /// H24: the router stopped under the request.
    ForcedClose,
    /// H25: the response breaks a limit.
    Restriction(Restriction),
    /// H26: the request has an unsupported Expect.
    BadExpect,
    /// H26: the request's chunks cannot be read.
    BadChunk,
    /// H27: the client went away.
    ClientCut,
    /// H28: the client was silent inside its request.
    ClientIdle,
    /// H80: maintenance mode.
    Maintenance,
    /// H81: never released.
    Blank,
    /// H99: our own fault, or every dyno was in quarantine for too long.
    Platform,
}

/// Which limit of a response was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// Two lengths, a length beside a coding, or no number.
    ContentLength,
    /// A Set-Cookie that is too long.
    Cookie,
    /// A field, or all of them together, too long.
    Header,
    /// The reason phrase is too long.
    StatusLine,
}

/// The word after `at=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing is wrong with app or platform.
    Info,
    /// The client's doing.
    Warning,
    /// App or platform failed.
    Error,
}

impl Level {
    /// The word itself.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What a failure is called and does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `H12`.
    pub code: &'static str,
    /// Heroku's text for the log line.
    pub desc: &'static str,
    /// Status in the log line, and of the page if an answer can still be given; none is left empty.
    pub status: Option<StatusCode>,
    /// `at=`.
    pub level: Level,
    /// Which side broke off: `sock=`.
    pub sock: Option<&'static str>,
    /// H26 alone says why.
    pub cause: Option<&'static str>,
}

const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
/// nginx's 499, which Heroku logs when nobody is left to answer.
const CLIENT_CLOSED: u16 = 499;

const fn error(code: &'static str, desc: &'static str) -> Facts {
    Facts {
        code,
        desc,
        status: Some(UNAVAILABLE),
        level: Level::Error,
        sock: None,
        cause: None,
    }
}

impl Failure {
    /// What it is called and does.
    pub fn facts(self) -> Facts {
        match self {
            Self::Crashed => error("H10", "App crashed"),
            Self::Backlog => error("H11", "Backlog too deep"),
            Self::FirstByte => error("H12", "Request timeout"),
            Self::NoResponse => error("H13", "Connection closed without response"),
            Self::NoWeb => error("H14", "No web processes running"),
            Self::DynoIdle => error("H15", "Idle connection"),
            Self::BadResponse => error("H17", "Poorly formatted HTTP response"),
            Self::UnknownFraming => Facts {
                status: Some(StatusCode::BAD_GATEWAY),
                ..error("H17", "Poorly formatted HTTP response")
            },
            Self::DynoCut => Facts {
                sock: Some("backend"),
                ..error("H18", "Server Request Interrupted")
            },
            Self::ConnectTimeout => error("H19", "Backend connection timeout"),
            Self::BootTimeout => error("H20", "App boot timeout"),
            Self::ConnectRefused => error("H21", "Backend connection refused"),
            Self::ForcedClose => Facts {
                status: None,
                ..error("H24", "Forced close")
            },
            Self::Restriction(which) => Facts {
                status: Some(StatusCode::BAD_GATEWAY),
                ..error("H25", which.desc())
            },
            Self::BadExpect => Facts {
                status: Some(StatusCode::EXPECTATION_FAILED),
                cause: Some("unsupported expect header value"),
                ..error("H26", "Request Error")
            },
            Self::BadChunk => Facts {
                status: Some(StatusCode::BAD_REQUEST),
                cause: Some("bad chunk"),
                ..error("H26", "Request Error")
            },
            Self::ClientCut => Facts {
                sock: Some("client"),
                ..client("H27", "Client Request Interrupted")
            },
            Self::ClientIdle => client("H28", "Client Connection Idle"),
            Self::Maintenance => Facts {
                level: Level::Info,
                ..error("H80", "Maintenance mode")
            },
            Self::Blank => Facts {
                level: Level::Info,
                ..error("H81", "Blank app")
            },
            Self::Platform => error("H99", "Platform error"),
        }
    }
}

fn client(code: &'static str, desc: &'static str) -> Facts {
    Facts {
        status: StatusCode::from_u16(CLIENT_CLOSED).ok(),
        level: Level::Warning,
        ..error(code, desc)
    }
}

impl Restriction {
    const fn desc(self) -> &'static str {
        match self {
            Self::ContentLength => "HTTP restriction: invalid content length",
            Self::Cookie => "HTTP restriction: oversized cookie",
            Self::Header => "HTTP restriction: oversized header",
            Self::StatusLine => "HTTP restriction: oversized status line",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_herokus() {
        for (failure, code, status, level) in [
            (Failure::Crashed, "H10", 503, Level::Error),
            (Failure::FirstByte, "H12", 503, Level::Error),
            (Failure::DynoCut, "H18", 503, Level::Error),
            (
                Failure::Restriction(Restriction::Cookie),
                "H25",
                502,
                Level::Error,
            ),
            (Failure::BadExpect, "H26", 417, Level::Error),
            (Failure::BadChunk, "H26", 400, Level::Error),
            (Failure::ClientCut, "H27", 499, Level::Warning),
            (Failure::ClientIdle, "H28", 499, Level::Warning),
            (Failure::Maintenance, "H80", 503, Level::Info),
            (Failure::Blank, "H81", 503, Level::Info),
        ] {
            let facts = failure.facts();
            assert_eq!((facts.code, facts.level), (code, level), "{failure:?}");
            assert_eq!(facts.status.unwrap().as_u16(), status, "{failure:?}");
        }
        assert_eq!(Failure::ForcedClose.facts().status, None);
    }
}
