//! The platform's own log lines about a dyno, word for word as Heroku writes them.

use model::dyno::State;

pub(crate) fn starting(command: &str) -> String {
    format!("Starting process with command `{command}`")
}

pub(crate) fn state_changed(from: State, to: State) -> String {
    format!("State changed from {from} to {to}")
}

pub(crate) fn exited(code: i32) -> String {
    format!("Process exited with status {code}")
}

pub(crate) fn stopping() -> String {
    "Stopping all processes with SIGTERM".to_owned()
}

pub(crate) fn killing() -> String {
    "Stopping process with SIGKILL".to_owned()
}

pub(crate) fn boot_timeout(seconds: u64) -> String {
    format!(
        "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within {seconds} seconds of launch"
    )
}

pub(crate) fn exit_timeout(seconds: u64) -> String {
    format!(
        "Error R12 (Exit timeout) -> At least one process failed to exit within {seconds} seconds of SIGTERM"
    )
}

pub(crate) fn memory_exceeded(mib: u64) -> [String; 2] {
    [
        format!("Process running mem={mib}M(100.0%)"),
        "Error R15 (Memory quota vastly exceeded)".to_owned(),
    ]
}

pub(crate) fn output_dropped(lines: u64) -> String {
    format!(
        "Error L12 (Local buffer overflow): {lines} lines were dropped, written faster than they were read"
    )
}

/// What a person needs to know about a web dyno that was given up: which PORT it should have
/// listened on, and on what it does listen.
pub(crate) fn not_listening(port: u16, listeners: &[String]) -> String {
    let loopback = format!("127.0.0.1:{port}");
    let loopback6 = format!("[::1]:{port}");
    if listeners.iter().any(|l| *l == loopback || *l == loopback6) {
        return format!(
            "it listens on {loopback} only, where nobody outside can reach it; bind to 0.0.0.0:$PORT (PORT is {port})"
        );
    }
    if listeners.is_empty() {
        return format!(
            "it listens on no port; a web process must listen on $PORT (PORT is {port})"
        );
    }
    format!(
        "it listens on {}, not on $PORT; a web process must listen on 0.0.0.0:$PORT (PORT is {port})",
        listeners.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_on_what_it_listens() {
        for (listeners, start) in [
            (&[][..], "it listens on no port"),
            (
                &["127.0.0.1:5000".to_owned()][..],
                "it listens on 127.0.0.1:5000 only",
            ),
            (
                &["[::1]:5000".to_owned()][..],
                "it listens on 127.0.0.1:5000 only",
            ),
            (
                &["0.0.0.0:8080".to_owned()][..],
                "it listens on 0.0.0.0:8080, not on $PORT",
            ),
        ] {
            let text = not_listening(5000, listeners);
            assert!(text.starts_with(start), "{text}");
        }
    }
}
