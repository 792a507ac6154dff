//! What can go wrong with a request: Heroku's H codes with their exact text, status and log level,
//! and the page that a person sees.
//!
//! A [`Failure`] is about one request of one app and ends in its log line; a refusal before the app
//! is known is in `rules`. Source of the table: Heroku's "Error Codes" as in heroku.md 1.11.

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

    /// The page for the person, when an answer can still be given.
    pub fn page(self, app: &str, request_id: &str) -> Page {
        let facts = self.facts();
        let (title, text) = self.prose();
        let logs = format!("paas logs --app {app}");
        let hint = match self {
            Self::Blank => format!("git push paas main (to the app {app})"),
            Self::NoWeb => format!("paas ps:scale web=1 --app {app}"),
            Self::Crashed => format!("{logs}, then paas ps:restart --app {app}"),
            Self::Maintenance | Self::BadExpect | Self::BadChunk => String::new(),
            _ => logs,
        };
        Page {
            status: facts.status.unwrap_or(UNAVAILABLE),
            code: facts.code,
            title,
            text,
            hint,
            request_id: request_id.to_owned(),
        }
    }

    /// Title and text of the page: what happened, in words of the person who visits.
    const fn prose(self) -> (&'static str, &'static str) {
        match self {
            Self::Crashed => (
                "The app crashed",
                "Its web dynos ended with an error and wait for their next start.",
            ),
            Self::Backlog => (
                "The app has too many requests at once",
                "More requests wait for its dynos than may wait. Try again in a moment.",
            ),
            Self::FirstByte => (
                "The app took too long to answer",
                "Its dyno got the whole request and sent nothing for 30 seconds.",
            ),
            Self::NoResponse => (
                "The app closed the connection without an answer",
                "Its dyno took the request and closed the connection.",
            ),
            Self::NoWeb => (
                "The app has no web dynos",
                "Its web process type is scaled to 0, or the release has none.",
            ),
            Self::DynoIdle | Self::DynoCut => (
                "The app broke off its answer",
                "Its dyno stopped in the middle of the request.",
            ),
            Self::BadResponse | Self::UnknownFraming | Self::Restriction(_) => (
                "The app sent an answer that cannot be passed on",
                "What its dyno sent breaks the rules of HTTP or the limits of the router.",
            ),
            Self::ConnectTimeout | Self::ConnectRefused => (
                "The app cannot be reached",
                "No connection to any of its web dynos could be made.",
            ),
            Self::BootTimeout => (
                "The app did not start in time",
                "All of its web dynos were still starting after 75 seconds.",
            ),
            Self::BadExpect => (
                "The request expects what is not offered",
                "The only Expect value that is understood is 100-continue.",
            ),
            Self::BadChunk => (
                "The request cannot be read",
                "Its body breaks the rules of chunked coding.",
            ),
            Self::Maintenance => (
                "The app is in maintenance",
                "Its owner has taken it offline for a while. Come back later.",
            ),
            Self::Blank => (
                "Nothing here yet",
                "The app exists and waits for its first push.",
            ),
            Self::ForcedClose | Self::ClientCut | Self::ClientIdle | Self::Platform => (
                "The platform could not pass the request on",
                "This is not the app's fault. Try again in a moment.",
            ),
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

/// A small page for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its status.
    pub status: StatusCode,
    /// `H12`, or empty when no app is concerned.
    pub code: &'static str,
    /// One line.
    pub title: &'static str,
    /// One or two sentences.
    pub text: &'static str,
    /// The command that the app's owner may type; may be empty. Plain text.
    pub hint: String,
    /// For the owner's logs; may be empty. Plain text.
    pub request_id: String,
}

impl Page {
    /// The 404 of a host that no app has.
    pub fn no_such_app(host: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "",
            title: "No such app",
            text: "There is no app at this address. Its name may be misspelt, or it was destroyed.",
            hint: format!("paas apps (is there an app for {host}?)"),
            request_id: String::new(),
        }
    }

    /// The page of a request that is refused before its app is known.
    pub fn refused(status: StatusCode, reason: &'static str) -> Self {
        let title = match status.as_u16() {
            405 => "Method not allowed",
            501 => "Not implemented",
            _ => "Bad request",
        };
        Self {
            status,
            code: "",
            title,
            text: reason,
            hint: String::new(),
            request_id: String::new(),
        }
    }

    /// Its bytes: one line a fact, so that it reads in a terminal as well.
    pub fn html(&self) -> String {
        let mut body = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:38em;margin:15vh auto;\
             padding:0 1em}}code{{background:#8882;padding:.1em .3em}}small{{opacity:.7}}</style>\n\
             <h1>{title}</h1>\n<p>{text}</p>\n",
            title = self.title,
            text = self.text,
        );
        if !self.hint.is_empty() {
            let hint = escape(&self.hint);
            body += &format!("<p>If it is yours: <code>{hint}</code></p>\n");
        }
        if !self.code.is_empty() {
            let id = escape(&self.request_id);
            body += &format!(
                "<p><small>{} &middot; request {id}</small></p>\n",
                self.code
            );
        }
        body + "</html>\n"
    }
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '&' => safe += "&amp;",
            '"' => safe += "&quot;",
            c => safe.push(c),
        }
    }
    safe
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

    #[test]
    fn pages_carry_code_and_next_step_and_no_markup_from_outside() {
        let page = Failure::NoWeb.page("hello", "abc").html();
        assert!(page.contains("H14") && page.contains("ps:scale web=1 --app hello"));
        let page = Page::no_such_app("<script>").html();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
    }
}
