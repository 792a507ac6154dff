//! The router's waits in one struct, and its clock.
//!
//! The defaults are the limits of `model`; tests shorten them.

use model::limits;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// How long the router waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// For a dyno to be up and out of quarantine, and for connecting: H20, H99.
    pub boot: Duration,
    /// For one connect: H19.
    pub connect: Duration,
    /// A dyno that refused gets no request for so long.
    pub quarantine: Duration,
    /// For the first byte of a response, once the whole request was sent: H12.
    pub first_byte: Duration,
    /// For any byte inside a request, response or tunnel: H15, H28.
    pub idle: Duration,
    /// For a request's head.
    pub head: Duration,
    /// For the next request on a client's connection.
    pub client_idle: Duration,
    /// Idle connections to dynos are kept so long.
    pub dyno_keep_alive: Duration,
    /// For a role of the platform that restarts.
    pub role_away: Duration,
    /// For requests and tunnels under way when the router stops: H24.
    pub drain: Duration,
    /// For what a client still sends after its answer (without it the answer may be lost to a
    /// reset), and for the first byte of one who connected just before the router stops.
    pub linger: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            boot: Duration::from_millis(limits::ROUTE_WAIT_MS),
            connect: Duration::from_millis(limits::CONNECT_TIMEOUT_MS),
            quarantine: Duration::from_millis(limits::QUARANTINE_MS),
            first_byte: Duration::from_millis(limits::FIRST_BYTE_TIMEOUT_MS),
            idle: Duration::from_millis(limits::IDLE_TIMEOUT_MS),
            head: Duration::from_millis(limits::REQUEST_HEAD_TIMEOUT_MS),
            client_idle: Duration::from_millis(limits::CLIENT_IDLE_TIMEOUT_MS),
            dyno_keep_alive: Duration::from_millis(limits::DYNO_KEEP_ALIVE_MS),
            role_away: Duration::from_millis(limits::ROLE_AWAY_TIMEOUT_MS),
            drain: Duration::from_millis(limits::DRAIN_TIMEOUT_MS),
            linger: Duration::from_secs(1),
        }
    }
}

/// Milliseconds since the router looked at its clock first: what atomics hold. Never 0.
pub fn now_ms() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    milliseconds(START.elapsed()) + 1
}

/// Whole milliseconds of a duration.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds since the Unix epoch.
pub fn unix_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 is a broken machine; its log lines then say 1970.
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}
