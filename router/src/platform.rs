//! The platform's own hosts: passed on to the api or the builder over their sockets.
//!
//! `/NAME.git/...` is the builder's, all else the api's. No timers of apps, no log lines: a push or
//! a log session may be silent for as long as it likes.

use crate::activity::Turn;
use crate::body::ResponseBody;
use crate::deliver::{self, Delivery};
use crate::exchange::Visit;
use crate::ledger::Ledger;
use crate::rules;
use crate::wire::Wire;
use crate::{answer, error::Failure};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The first wait for a role that is away; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Answers a request of the platform's hosts.
pub(crate) async fn answer(visit: Visit<'_>, turn: Turn) -> Response<ResponseBody> {
    let platform = &visit.conn.worker.shared.platform;
    let (socket, role) = if is_git(visit.parts.uri.path()) {
        (platform.git_socket.clone(), "builder")
    } else {
        (platform.api_socket.clone(), "api")
    };
    match ask(&visit, &socket).await {
        Ok((response, wire)) => {
            let ledger = Ledger {
                flow: Rc::clone(&visit.flow),
                record: None,
                wire: Some(wire),
                using: None,
                is_persistent: false,
            };
            deliver::relay(visit, response, ledger, Delivery { idle: None, turn })
        }
        Err(failure) => {
            tracing::warn!(role, ?failure, "a role of the platform gave no answer");
            let message =
                format!("The {role} of the platform is away. Try again in a few seconds.");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let response = answer::json(status, "service_unavailable", &message, turn);
            answer::closing_if(visit.has_body, response)
        }
    }
}

/// Asks a role; one that restarts is waited for.
async fn ask(visit: &Visit<'_>, socket: &Path) -> Result<(Response<Incoming>, Wire), Failure> {
    let deadline = Instant::now() + visit.conn.worker.shared.timers.role_away;
    let mut pause = FIRST_PAUSE;
    loop {
        let failure = match Wire::unix(socket).await {
            Ok(mut wire) => {
                visit.flow.begin();
                match wire.send(visit.outgoing()).await {
                    Ok(response) => return Ok((response, wire)),
                    Err(error) => {
                        let failure = visit.failure_of(&error, &wire);
                        let is_safe = !visit.has_body || rules::is_idempotent(&visit.parts.method);
                        let was_lost = failure == Failure::NoResponse;
                        if !(was_lost && is_safe && visit.flow.is_untouched()) {
                            return Err(failure);
                        }
                        failure
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, socket = %socket.display(), "a role is away");
                Failure::ConnectRefused
            }
        };
        if Instant::now() + pause > deadline {
            return Err(failure);
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(Duration::from_millis(200));
    }
}

/// `/NAME.git/...`
fn is_git(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .and_then(|(repository, _)| repository.strip_suffix(".git"))
        .is_some_and(|app| !app.is_empty())
}

#[cfg(test)]
mod tests {
    use super::is_git;

    #[test]
    fn paths_of_git() {
        for (path, wanted) in [
            ("/hello.git/info/refs", true),
            ("/hello.git/", true),
            ("/hello.git", false),
            ("/.git/config", false),
            ("/apps/hello.git/x", false),
            ("/", false),
        ] {
            assert_eq!(is_git(path), wanted, "{path}");
        }
    }
}
