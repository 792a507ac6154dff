//! The platform's own log lines about a dyno, word for word as Heroku writes them.

use model::dyno::{Mode, State};

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

pub(crate) fn refused(what: &str) -> String {
    format!("Refused: {what} (further ones of this kind are counted: paas ps:port)")
}

/// A socket of the shared network that has no address of its own.
pub(crate) fn unbound(listener: &str) -> String {
    format!(
        "Listening on {listener} without bind(): nobody can reach it; bind to 0.0.0.0:$PORT first"
    )
}

/// Listeners that a message names; a hostile app has thousands.
const LISTENERS_SHOWN: usize = 5;

/// What a person needs to know about a web dyno that was given up: which PORT it should have
/// listened on, and on what it does listen.
pub(crate) fn not_listening(mode: Mode, port: u16, listeners: &[String]) -> String {
    let here = |host: &str| format!("{host}:{port}");
    let has = |listener: &str| listeners.iter().any(|one| one == listener);
    let should = format!("a web process must listen on 0.0.0.0:$PORT (PORT is {port})");
    let loopback = here("127.0.0.1");
    if has(&loopback) || (mode == Mode::Isolated && has(&here("[::1]"))) {
        return format!(
            "it listens on {loopback} only, where nobody outside can reach it; bind to 0.0.0.0:$PORT (PORT is {port})"
        );
    }
    if has(&here("[::1]")) {
        return format!(
            "it listens on port {port} of IPv6 only ([::1], or [::] with IPV6_V6ONLY), and the router comes over IPv4; bind to 0.0.0.0:$PORT, or to [::] without IPV6_V6ONLY (PORT is {port})"
        );
    }
    if let Some(one) = listeners.iter().find(|one| is_unbound(mode, one)) {
        return format!(
            "it called listen() without bind(), which gave it {one}, where nobody can reach it; {should}"
        );
    }
    if listeners.is_empty() {
        return format!(
            "it listens on no port; a web process must listen on $PORT (PORT is {port})"
        );
    }
    format!(
        "it listens on {}, not on $PORT; {should}",
        shown(mode, listeners)
    )
}

/// In central mode the kernel gives an address to whoever binds; without `bind()` there is none.
pub(crate) fn is_unbound(mode: Mode, listener: &str) -> bool {
    let is_any = listener.starts_with("0.0.0.0:") || listener.starts_with("[::]:");
    mode == Mode::Central && is_any
}

/// In central mode a wildcard on another port than PORT is kept on the dyno's own loopback.
fn shown(mode: Mode, listeners: &[String]) -> String {
    let named = listeners.iter().take(LISTENERS_SHOWN).map(|listener| {
        match listener.strip_prefix("127.0.0.1:") {
            Some(port) if mode == Mode::Central => format!("port {port} of its own loopback"),
            _ => listener.clone(),
        }
    });
    let mut named: Vec<String> = named.collect();
    if let Some(more @ 1..) = listeners.len().checked_sub(LISTENERS_SHOWN) {
        named.push(format!("{more} more"));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_on_what_it_listens() {
        use Mode::{Central, Isolated};
        for (mode, listeners, start) in [
            (Isolated, &[][..], "it listens on no port"),
            (
                Isolated,
                &["127.0.0.1:5000"][..],
                "it listens on 127.0.0.1:5000 only",
            ),
            (
                Isolated,
                &["[::1]:5000"][..],
                "it listens on 127.0.0.1:5000 only",
            ),
            (
                Isolated,
                &["0.0.0.0:8080"][..],
                "it listens on 0.0.0.0:8080, not on $PORT",
            ),
            (Central, &[][..], "it listens on no port"),
            (
                Central,
                &["127.0.0.1:8080", "127.0.0.1:5000"][..],
                "it listens on 127.0.0.1:5000 only",
            ),
            (
                Central,
                &["[::1]:5000"][..],
                "it listens on port 5000 of IPv6 only",
            ),
            (
                Central,
                &["127.0.0.1:8080"][..],
                "it listens on port 8080 of its own loopback, not on $PORT",
            ),
            (
                Central,
                &["0.0.0.0:51234"][..],
                "it called listen() without bind(), which gave it 0.0.0.0:51234",
            ),
            (
                Isolated,
                &[
                    "0.0.0.0:1",
                    "0.0.0.0:2",
                    "0.0.0.0:3",
                    "0.0.0.0:4",
                    "0.0.0.0:6",
                    "0.0.0.0:7",
                ][..],
                "it listens on 0.0.0.0:1, 0.0.0.0:2, 0.0.0.0:3, 0.0.0.0:4, 0.0.0.0:6, 1 more, not",
            ),
        ] {
            let listeners: Vec<String> = listeners.iter().map(|&one| one.to_owned()).collect();
            let text = not_listening(mode, 5000, &listeners);
            assert!(text.starts_with(start), "{text}");
            assert!(text.ends_with("(PORT is 5000)"), "{text}");
        }
    }
}
