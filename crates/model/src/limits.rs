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
/// Count of an app's own domains. Ours: each is a row of the route table; Heroku allows 1,000.
pub const DOMAINS_MAX: usize = 100;
/// Milliseconds that an answer waits at most for a router to take a change of its table. Ours: a
/// router takes one in 1 ms.
pub const ROUTED_WAIT_MS: u64 = 500;
/// Milliseconds a web dyno has until it listens. Heroku: 60 s (R10).
pub const BOOT_TIMEOUT_MS: u64 = 60_000;
/// Milliseconds between SIGTERM and SIGKILL. Heroku: 30 s (R12).
pub const STOP_TIMEOUT_MS: u64 = 30_000;
/// Seconds of a release phase unless config.toml says otherwise. Heroku: 1 h.
pub const RELEASE_PHASE_TIMEOUT_S: u64 = 3_600;
/// Seconds of a whole build unless config.toml says otherwise. Heroku: 15 min.
pub const BUILD_TIMEOUT_S: u64 = 900;
/// Bytes of memory of a build. Heroku: 2.5 GB.
pub const BUILD_MEMORY_MAX_BYTES: u64 = 2560 * 1024 * 1024;
/// Count of processes and threads of a build. Issue: 1,024.
pub const BUILD_PIDS_MAX: u32 = 1024;
/// Bytes of disk of a build. Issue: 4 GB.
pub const BUILD_DISK_MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes that the data folder's disk must have left: with less no build begins, and none that ran
/// into it is believed, since what it wrote may not have reached the disk. Ours: a small build and
/// what the other roles write meanwhile.
pub const DISK_FREE_MIN_BYTES: u64 = 256 * 1024 * 1024;
/// Bytes of a slug's app blob. Heroku: 500 MB.
pub const SLUG_MAX_BYTES: u64 = 500 * 1000 * 1000;
/// Bytes of a pack that a push may send. Ours: 2 GiB, the size at which git itself advises against
/// it.
pub const PACK_MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Bytes of an uploaded source, and of one that is fetched. Ours: as a push, [`PACK_MAX_BYTES`].
pub const SOURCE_MAX_BYTES: u64 = PACK_MAX_BYTES;
/// Count of entries in the archive of an image. Ours: old ones of Docker have four for a layer.
pub const IMAGE_FILES_MAX: usize = 1_000;
/// Bytes of all uploaded sources together. Ours: a few of the largest.
pub const SOURCES_MAX_BYTES: u64 = 5 * SOURCE_MAX_BYTES;
/// Seconds in which a source can be uploaded once its address was given out. Ours: 1 h.
pub const SOURCE_UPLOAD_S: u64 = 3_600;
/// Seconds that an uploaded source is kept. Ours: 24 h.
pub const SOURCE_KEPT_S: u64 = 86_400;
/// Milliseconds of silence within an upload. Ours: the router's own bound on silence.
pub const SOURCE_SILENCE_MS: u64 = IDLE_TIMEOUT_MS;
/// Bytes of a source's version and of its description. Ours: a long subject line.
pub const SOURCE_VERSION_MAX_BYTES: usize = 500;
/// Bytes of a source's address. Ours: what common servers take.
pub const SOURCE_URL_MAX_BYTES: usize = 4_096;
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
/// Milliseconds a starting router waits for the api's first word before it serves the copy on its
/// disk. Ours: connections wait in the backlog meanwhile; a client hardly notices half a second.
pub const FIRST_STATE_WAIT_MS: u64 = 500;
/// Milliseconds for one connect to a dyno. Heroku: 5 s.
pub const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds that old dynos keep their in-flight requests after they left the route, before
/// SIGTERM. Ours: as long as a request may take to its first byte.
pub const DRAIN_TIMEOUT_MS: u64 = 30_000;
/// Bytes of what a slug or layer unpacks to. Ours: the disk that its build had.
pub const UNPACKED_MAX_BYTES: u64 = BUILD_DISK_MAX_BYTES;
/// Count of entries in one packed tree. Ours: ten large `node_modules`.
pub const UNPACKED_MAX_ENTRIES: u64 = 500_000;
/// Bytes of one path inside a packed tree. Linux: `PATH_MAX` is 4,096 with its NUL.
pub const PACKED_PATH_MAX_BYTES: usize = 4_095;
/// Count of folders above one file of a packed tree. Ours: a packer holds one descriptor for each,
/// and 1,024 is the usual limit.
pub const PACKED_DEPTH_MAX: usize = 256;
/// Bytes of a slug's manifest. Ours: holds 1,000 process types.
pub const MANIFEST_MAX_BYTES: u64 = 1024 * 1024;
/// Bytes of one message to or from the nursery. Ours: a packet must fit into a socket's send
/// buffer (212,992 by default, `socket(7)`).
pub const SANDBOX_MESSAGE_MAX_BYTES: usize = 64 * 1024;
/// Bytes of the secrets of a sandbox in their file. Ours: config vars, a few files, as JSON.
pub const SANDBOX_SECRETS_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Count of files beside one message to the nursery. Ours: the secrets, 0, 1, 2 and a dozen more.
pub const SANDBOX_FDS_MAX: usize = 16;
/// Bytes of the note that a client keeps with a dyno. Ours.
pub const SANDBOX_NOTE_MAX_BYTES: usize = 8 * 1024;
/// Count of layers of one overlay. Docker: 127; an overlay takes 500.
pub const SANDBOX_LAYERS_MAX: usize = 128;
/// Count of mounts of a sandbox beside its root. Ours.
pub const SANDBOX_MOUNTS_MAX: usize = 64;
/// Bytes of memory below which no sandbox starts. Measured: the keeper's own pages and tables.
pub const SANDBOX_MEMORY_MIN_BYTES: u64 = 4 * 1024 * 1024;
/// Count of processes and threads of a sandbox at most. Heroku: 32,768 on the largest dynos.
pub const SANDBOX_PIDS_MAX: u32 = 32_768;
/// Bytes of `/dev/shm` of a sandbox. Docker: 64 MB.
pub const SANDBOX_SHM_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Count of jobs that run at a time on a node. Ours.
pub const JOBS_MAX: usize = 256;
/// Count of volumes at a time on a node. Ours: each is a loop device.
pub const VOLUMES_MAX: usize = 64;
/// Bytes of a volume at least. Ours: below, its 262,144 inodes would not fit.
pub const VOLUME_MIN_BYTES: u64 = 128 * 1024 * 1024;
/// Bytes of a volume at most. Ours: 64 GiB.
pub const VOLUME_MAX_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// Count of clients that the nursery serves at a time. Ours.
pub const NURSERY_CONNECTIONS_MAX: usize = 256;
/// Seconds a client waits for an answer of the nursery. Ours: a start takes milliseconds.
pub const NURSERY_ANSWER_TIMEOUT_S: i64 = 60;
/// Milliseconds a sandbox may take from its spec to its first instruction. Ours.
pub const SANDBOX_START_TIMEOUT_MS: u64 = 10_000;
/// Count of sandboxes that wait ready for a spec, of either kind of dyno. Ours: a deploy of a
/// common formation finds all it needs.
pub const CRADLES_READY: usize = 8;
/// Count of dyno networks that wait ready. Ours: a deploy of a common formation finds all it needs.
pub const DYNO_NETWORKS_READY: usize = 8;
/// Count of build networks that wait ready. Ours: as many builds as start within a blink.
pub const BUILD_NETWORKS_READY: usize = 2;
/// Count of networks for builds and jobs at a time: [`JOBS_MAX`].
pub const BUILD_NETWORKS_MAX: u16 = 256;
/// Count of networks that one helper makes. Ours: bounds what a start waits for when its own is
/// under way, 14 ms each.
pub const NETWORKS_PER_HELPER_MAX: usize = 4;
/// Milliseconds in which a helper must have made the next network. Measured: 14, 130 when busy.
pub const NETWORK_TIMEOUT_MS: u16 = 10_000;
/// Count of new connections (and first packets of a UDP flow) that one dyno or build may begin in a
/// second, once it has used up its burst. Ours: a crawler begins a hundred, a flood all it can.
pub const NEW_CONNECTIONS_PER_S: u32 = 1_000;
/// Count of connections that it may have open to the outside. Ours: Linux tracks 262,144 on a
/// usual node, so it takes 32 hostile dynos to fill that.
pub const OPEN_CONNECTIONS_MAX: u32 = 8_192;
/// Count of connections that it may begin at once: [`OPEN_CONNECTIONS_MAX`]. Ours: a pool fills
/// after a deploy.
pub const NEW_CONNECTIONS_BURST: u32 = 8_192;
/// Bytes of one file of a journal. Ours: a reader takes one into memory at a time.
pub const JOURNAL_SEGMENT_MAX_BYTES: u64 = 1024 * 1024;
/// Count of files that one producer keeps per app, more if they hold fewer than
/// [`LOG_LINES_MAX`] lines: at 100 bytes a line these are 30,000.
pub const JOURNAL_SEGMENTS_MIN: usize = 4;
/// Bytes of a build's output that are kept. Ours: 100,000 long lines; a person reads the last ten.
pub const BUILD_OUTPUT_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Milliseconds to wait for a connection to the control socket. Ours: it is local and its backlog
/// is full only while the api hangs.
pub const CONTROL_CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Count of questions of one role that wait for an answer; more wait for their turn. Ours: a push
/// needs three, one after the other.
pub const ASKS_MAX: usize = 256;
/// Count of progress lines of one question that wait for the asker. Ours: one screen.
pub const ASK_PROGRESS_QUEUE_MAX: usize = 64;
/// Milliseconds that the api waits for a node's answer to a question of it. Ours: a person waits.
pub const QUERY_TIMEOUT_MS: u64 = 5_000;
/// Count of questions that a node is asked at a time; more are refused. Ours: each is one round
/// trip to the nursery.
pub const QUERIES_MAX: usize = 64;
/// Milliseconds until a single question of the command line must be answered. Ours: what a person
/// waits for without a sign of life.
pub const ASK_TIMEOUT_MS: u64 = 30_000;
/// Bytes of an answer that the command line reads whole. Ours: 1,500 log lines of 10,000 bytes.
pub const HTTP_ANSWER_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a request line, of one request field, of a Set-Cookie and of a status line. Heroku:
/// 8,192.
pub const HEAD_LINE_MAX_BYTES: usize = 8_192;
/// Bytes of a request's head. Ours: 32 of its longest lines.
pub const REQUEST_HEAD_MAX_BYTES: usize = 256 * 1024;
/// Count of fields of a request or response. Heroku: 1,000.
pub const FIELDS_MAX: usize = 1_000;
/// Bytes of a request field's name. Heroku: 1,000.
pub const FIELD_NAME_MAX_BYTES: usize = 1_000;
/// Bytes of a request's method. Heroku: 127.
pub const METHOD_MAX_BYTES: usize = 127;
/// Bytes of one field of a response. Heroku: 512 KB.
pub const RESPONSE_LINE_MAX_BYTES: usize = 512 * 1024;
/// Bytes that the router holds of a dyno's response, head included. Heroku: 1 MB.
pub const RESPONSE_BUFFER_MAX_BYTES: usize = 1024 * 1024;
/// Count of requests of one app at a time in one router, for each of its web dynos. Heroku: 200
/// (H11).
pub const REQUESTS_PER_DYNO_MAX: usize = 200;
/// Count of requests that wait for a dyno in one router, all apps together. Ours:
/// docs/router.md, "Waiting for a dyno".
pub const REQUESTS_HELD_MAX: usize = 10_000;
/// Count of attempts to connect for one request. Heroku: 10, or as many as there are web dynos.
pub const CONNECT_ATTEMPTS_MAX: usize = 10;
/// Milliseconds that a dyno gets no requests after it refused a connection. Heroku: 5 s.
pub const QUARANTINE_MS: u64 = 5_000;
/// Milliseconds that a client may take for a request's head. Ours: 30 s.
pub const REQUEST_HEAD_TIMEOUT_MS: u64 = 30_000;
/// Milliseconds that a client's connection may be idle between requests. Heroku: 60 s.
pub const CLIENT_IDLE_TIMEOUT_MS: u64 = 60_000;
/// Milliseconds that an idle connection to a dyno is kept. Heroku: 90 s.
pub const DYNO_KEEP_ALIVE_MS: u64 = 90_000;
/// Count of idle connections that one thread keeps to a dyno. Ours: docs/router.md,
/// "Pool and retry".
pub const DYNO_IDLE_CONNECTIONS_MAX: usize = 32;
/// Milliseconds that a request for the platform waits while the role that serves it restarts. Ours.
pub const ROLE_AWAY_TIMEOUT_MS: u64 = 5_000;
/// Count of client connections of one router, if its file descriptors reach so far. Ours.
pub const CLIENT_CONNECTIONS_MAX: usize = 50_000;
/// Bytes of router log lines in one buffer. Ours: docs/router.md, "Log lines".
pub const ACCESS_BUFFER_BYTES: usize = 64 * 1024;
/// Milliseconds after which a buffer of router log lines is written. Ours: docs/router.md,
/// "Log lines".
pub const ACCESS_FLUSH_MS: u64 = 200;
/// Count of buffers of router log lines that wait for the disk; more are dropped and counted.
/// Ours: docs/router.md, "Log lines".
pub const ACCESS_BUFFERS_MAX: usize = 64;
/// Milliseconds between two disk copies of the route table. Ours: docs/router.md, "Table".
pub const TABLE_SAVE_PAUSE_MS: u64 = 1_000;
/// Bytes of a key in the store. Ours: two ids and a host name (253, RFC 1035) fit.
pub const STORE_KEY_MAX_BYTES: usize = 512;
/// Bytes of a value in the store. Ours: sealed config vars of [`CONFIG_VARS_MAX_BYTES`] in base64
/// twice over; a value must fit into a frame between roles.
pub const STORE_VALUE_MAX_BYTES: usize = 256 * 1024;
/// Count of conditions, puts and deletes in one transaction of the store. Ours: a switch of five
/// types with 100 dynos each writes 1,000 records; etcd takes it with `--max-txn-ops`.
pub const STORE_TRANSACTION_MAX: usize = 1024;
/// Count of revisions for which the store remembers what was deleted; a watcher that is further
/// behind reads everything again. Ours: a busy day.
pub const STORE_HISTORY_REVISIONS: u64 = 10_000;
/// Count of changes that a watcher is given at once. Ours: at most 250 MiB, usually 1 MiB.
pub const STORE_CHANGES_MAX: usize = 1_000;
/// Count of API requests that an account may make at once. Heroku: 4,500 an hour.
pub const API_REQUESTS_MAX: u64 = 4_500;
/// Count of API requests that an account gets back each minute. Heroku: 75.
pub const API_REQUESTS_PER_MINUTE: u64 = 75;
/// Milliseconds in which the body of an API request must arrive. Ours: docs/platform-api.md,
/// "Protocol".
pub const API_BODY_TIMEOUT_MS: u64 = 10_000;
/// Count of builds of an app that are kept. Ours: what a person looks back at.
pub const BUILDS_KEPT: usize = 50;
/// Count of connections that wait to say which one-off they attach to. Ours:
/// docs/platform-api.md, "Rendezvous".
pub const RENDEZVOUS_WAITING_MAX: usize = 256;
/// Milliseconds in which a connection must say that. Ours: docs/platform-api.md, "Rendezvous".
pub const RENDEZVOUS_SECRET_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds a log session may be opened after it was made. Heroku: 5 min
/// (docs/platform-api.md, "Streams").
pub const LOG_SESSION_OPEN_MS: u64 = 300_000;
/// Count of log sessions that may be opened; more make the oldest invalid. Ours.
pub const LOG_SESSIONS_MAX: usize = 4_096;
/// Count of log streams and outputs that are read at the same time. Ours: each needs an inotify
/// instance, of which a user has 128 where `paas up` cannot raise it.
pub const LOG_READERS_MAX: usize = 100;
/// Count of connections that the api serves at the same time, streams included. Ours.
pub const API_CONNECTIONS_MAX: usize = 1_024;
/// Count of connections on the control socket. Ours: three feeds, streams of one-offs, questions.
pub const CONTROL_CONNECTIONS_MAX: usize = 1_024;
/// Milliseconds between SIGTERM and SIGKILL of a role. Ours: the router's drain and a little more.
pub const ROLE_STOP_TIMEOUT_MS: u64 = DRAIN_TIMEOUT_MS + 5_000;
/// Milliseconds until `paas up` says that the platform did not become healthy. Ours: all roles are
/// replaced one after the other, and each may have to be killed.
pub const UP_TIMEOUT_MS: u64 = 4 * ROLE_STOP_TIMEOUT_MS + 60_000;
/// Count of builds of a node at the same time. Ours: each may use 2.5 GB of memory.
pub const BUILDS_AT_ONCE: usize = 2;
/// Count of buildpacks of one build. Ours: Heroku's apps have three or four.
pub const BUILDPACKS_MAX: usize = 10;
/// Count of runtime layers of one buildpack. Ours.
pub const BUILDPACK_LAYERS_MAX: usize = 10;
/// Bytes of an app's build cache; one that is larger starts empty. Heroku: a few GB.
pub const BUILD_CACHE_MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Count of git programs of a node at the same time. Ours: each is a process of some 10 MB.
pub const GIT_JOBS_AT_ONCE: usize = 64;
