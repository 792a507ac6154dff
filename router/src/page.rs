//! The pages that the router itself answers with: small HTML that reads in a terminal as well, with
//! the code and the next step for the app's owner.

use crate::error::Failure;
use http::StatusCode;

/// A small page for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Its status.
    pub(crate) status: StatusCode,
    /// `H12`, or empty when no app is concerned.
    pub(crate) code: &'static str,
    /// One line.
    pub(crate) title: &'static str,
    /// One or two sentences.
    pub(crate) text: &'static str,
    /// The command that the app's owner may type; may be empty. Plain text.
    pub(crate) hint: String,
    /// For the owner's logs; may be empty. Plain text.
    pub(crate) request_id: String,
}

impl Page {
    /// The page for the person, when an answer can still be given.
    pub(crate) fn of_failure(failure: Failure, app: &str, request_id: &str) -> Self {
        let facts = failure.facts();
        let (title, text) = prose(failure);
        let logs = format!("paas logs --app {app}");
        let hint = match failure {
            Failure::Blank => format!("git push paas main (to the app {app})"),
            Failure::NoWeb => format!("paas ps:scale web=1 --app {app}"),
            Failure::Crashed => format!("{logs}, then paas ps:restart --app {app}"),
            Failure::Maintenance | Failure::BadExpect | Failure::BadChunk => String::new(),
            _ => logs,
        };
        Self {
            status: facts.status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            code: facts.code,
            title,
            text,
            hint,
            request_id: request_id.to_owned(),
        }
    }

    /// The 404 of a host that no app has.
    pub(crate) fn no_such_app(host: &str) -> Self {
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
    pub(crate) fn refused(status: StatusCode, reason: &'static str) -> Self {
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
    pub(crate) fn html(&self) -> String {
        let mut hint = String::new();
        if !self.hint.is_empty() {
            hint = format!(
                "<p>If it is yours: <code>{}</code></p>\n",
                escape(&self.hint)
            );
        }
        let mut code = String::new();
        if !self.code.is_empty() {
            let id = escape(&self.request_id);
            code = format!(
                "<p><small>{} &middot; request {id}</small></p>\n",
                self.code
            );
        }
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:38em;margin:15vh auto;\
             padding:0 1em}}code{{background:#8882;padding:.1em .3em}}small{{opacity:.7}}</style>\n\
             <h1>{title}</h1>\n<p>{text}</p>\n{hint}{code}</html>\n",
            title = self.title,
            text = self.text,
        )
    }
}

/// Title and text of the page: what happened, in words of the person who visits.
const fn prose(failure: Failure) -> (&'static str, &'static str) {
    match failure {
        Failure::Crashed => (
            "The app crashed",
            "Its web dynos ended with an error and wait for their next start.",
        ),
        Failure::Backlog => (
            "The app has too many requests at once",
            "More requests wait for its dynos than may wait. Try again in a moment.",
        ),
        Failure::FirstByte => (
            "The app took too long to answer",
            "Its dyno got the whole request and sent nothing for 30 seconds.",
        ),
        Failure::NoResponse => (
            "The app closed the connection without an answer",
            "Its dyno took the request and closed the connection.",
        ),
        Failure::NoWeb => (
            "The app has no web dynos",
            "Its web process type is scaled to 0, or the release has none.",
        ),
        Failure::DynoIdle | Failure::DynoCut => (
            "The app broke off its answer",
            "Its dyno stopped in the middle of the request.",
        ),
        Failure::BadResponse | Failure::UnknownFraming | Failure::Restriction(_) => (
            "The app sent an answer that cannot be passed on",
            "What its dyno sent breaks the rules of HTTP or the limits of the router.",
        ),
        Failure::ConnectTimeout | Failure::ConnectRefused => (
            "The app cannot be reached",
            "No connection to any of its web dynos could be made.",
        ),
        Failure::BootTimeout => (
            "The app did not start in time",
            "All of its web dynos were still starting after 75 seconds.",
        ),
        Failure::BadExpect => (
            "The request expects what is not offered",
            "The only Expect value that is understood is 100-continue.",
        ),
        Failure::BadChunk => (
            "The request cannot be read",
            "Its body breaks the rules of chunked coding.",
        ),
        Failure::Maintenance => (
            "The app is in maintenance",
            "Its owner has taken it offline for a while. Come back later.",
        ),
        Failure::Blank => (
            "Nothing here yet",
            "The app exists and waits for its first push.",
        ),
        Failure::ForcedClose | Failure::ClientCut | Failure::ClientIdle | Failure::Platform => (
            "The platform could not pass the request on",
            "This is not the app's fault. Try again in a moment.",
        ),
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
    fn pages_carry_code_and_next_step_and_no_markup_from_outside() {
        let page = Page::of_failure(Failure::NoWeb, "hello", "abc").html();
        assert!(page.contains("H14") && page.contains("ps:scale web=1 --app hello"));
        let page = Page::no_such_app("<script>").html();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
    }
}
