//! Every bound of the platform: unit in the name, reason and source beside it.

/// Bytes of all config vars of an app together, names and values. Heroku: 64 KB.
pub const CONFIG_VARS_MAX_BYTES: usize = 64 * 1024;
/// Bytes of a Procfile. Ours: 64 KiB holds 500 long commands.
pub const PROCFILE_MAX_BYTES: usize = 64 * 1024;
/// Count of dynos of one process type. Heroku: 100.
pub const DYNOS_PER_TYPE_MAX: u32 = 100;
/// Bytes of one frame between roles. Design: 1 MiB.
pub const FRAME_MAX_BYTES: usize = 1024 * 1024;
/// Count of messages waiting for one peer on the feed; more: it is cut and takes a new snapshot.
pub const FEED_QUEUE_MAX: usize = 1024;
/// Milliseconds a web dyno has until it listens. Heroku: 60 s (R10).
pub const BOOT_TIMEOUT_MS: u64 = 60_000;
/// Milliseconds between SIGTERM and SIGKILL. Heroku: 30 s (R12).
pub const STOP_TIMEOUT_MS: u64 = 30_000;
/// Milliseconds of a release phase. Heroku: 1 h.
pub const RELEASE_PHASE_TIMEOUT_MS: u64 = 3_600_000;
/// Milliseconds of a whole build. Heroku: 15 min.
pub const BUILD_TIMEOUT_MS: u64 = 900_000;
/// Bytes of memory of a build. Heroku: 2.5 GB.
pub const BUILD_MEMORY_MAX_BYTES: u64 = 2560 * 1024 * 1024;
/// Count of processes and threads of a build. Issue: 1,024.
pub const BUILD_PIDS_MAX: u32 = 1024;
/// Bytes of disk of a build. Issue: 4 GB.
pub const BUILD_DISK_MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of a slug's app blob. Heroku: 500 MB.
pub const SLUG_MAX_BYTES: u64 = 500 * 1000 * 1000;
/// Bytes of a pack that a push may send. Ours: 2 GiB, the size at which git itself advises against it.
pub const PACK_MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Bytes of one log line; longer ones are split. Heroku: 10,000.
pub const LOG_LINE_MAX_BYTES: usize = 10_000;
/// Count of lines that `logs` can go back at most. Heroku: 1,500.
pub const LOG_LINES_MAX: usize = 1_500;
/// Count of lines that `logs` shows unasked. Heroku: 100.
pub const LOG_LINES_DEFAULT: usize = 100;
/// Bytes of the body of an API request. Ours: 1 MiB, certificates included.
pub const API_BODY_MAX_BYTES: usize = 1024 * 1024;
/// Seconds a one-off dyno may live. Heroku: 24 h.
pub const ONE_OFF_TIME_TO_LIVE_S: u64 = 86_400;
/// Milliseconds in which an attached one-off must be attached to. Heroku: 30 s (R13).
pub const ATTACH_TIMEOUT_MS: u64 = 30_000;
/// Milliseconds the router holds a request while dynos boot. Heroku: 75 s (H20).
pub const ROUTE_WAIT_MS: u64 = 75_000;
/// Milliseconds until the first byte of a response. Heroku: 30 s (H12).
pub const FIRST_BYTE_TIMEOUT_MS: u64 = 30_000;
/// Milliseconds of silence inside a response or tunnel. Heroku: 55 s (H15, H28).
pub const IDLE_TIMEOUT_MS: u64 = 55_000;
/// Milliseconds for one connect to a dyno. Heroku: 5 s.
pub const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds that old dynos keep their in-flight requests after they left the route, before
/// SIGTERM. Ours: as long as a request may take to its first byte.
pub const DRAIN_TIMEOUT_MS: u64 = 30_000;
