//! The file: opened, checked, and brought to our tables.

use rusqlite::{Connection, OpenFlags};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the tables, in `SQLite`'s `user_version`.
const SCHEMA: i64 = 1;
/// `paas` in ASCII, in `SQLite`'s `application_id`: file(1) and a mistaken path are told by it.
const APPLICATION: i64 = 0x7061_6173;
/// How long a commit waits for somebody else who writes: only a backup or a person does.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements that stay compiled; there are fewer.
const STATEMENTS: usize = 32;

/// A row without value remembers that a key was deleted, and by which revision.
const TABLES: &str = "
    CREATE TABLE records (
        key TEXT NOT NULL PRIMARY KEY,
        revision INTEGER NOT NULL,
        value TEXT
    ) STRICT;
    CREATE INDEX records_by_revision ON records (revision);
    CREATE INDEX deletions ON records (revision) WHERE value IS NULL;
    -- The newest deletion that was forgotten.
    CREATE TABLE forgotten (revision INTEGER NOT NULL) STRICT;
    INSERT INTO forgotten VALUES (0);
";

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be made or opened.
    #[error("open the store {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a file of something else, or of a newer paas.
    #[error("open the store {}: it is {what}", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// `SQLite` finds that the file is damaged; nothing was changed.
    #[error(
        "open the store {}: it is damaged ({problem}); restore it from a backup",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The first problem, in `SQLite`'s words.
        problem: String,
    },
    /// `SQLite` refused.
    #[error("open the store {}", path.display())]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
}

/// Opens the file for the one writer, making it (0600) if it is missing, and checks it.
pub(crate) fn open(path: &Path) -> Result<Connection, OpenError> {
    make_file(path).map_err(|source| OpenError::File {
        path: path.to_owned(),
        source,
    })?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    prepare(path, &connection)?;
    Ok(connection)
}

/// Opens the file, which [`open`] has checked, for reading beside the writer.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn make_file(path: &Path) -> io::Result<()> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        // SQLite makes its journal with the mode of the database, and syncs their folder.
        Ok(_) => File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, OpenError> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite(path))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(sqlite(path))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn prepare(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let number = |pragma| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(sqlite(path))
    };
    let foreign = |what| OpenError::Foreign {
        path: path.to_owned(),
        what,
    };
    let application = number("application_id")?;
    let schema = number("user_version")?;
    let is_empty = number("schema_version")? == 0;
    if !is_empty {
        if application != APPLICATION {
            return Err(foreign("a database of another program"));
        }
        if schema > SCHEMA {
            return Err(foreign("of a newer version of paas"));
        }
        check(path, connection)?;
    }
    let set_up = || {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        if is_empty {
            let tables = format!(
                "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION}; \
                 PRAGMA user_version = {SCHEMA}; COMMIT;"
            );
            connection.execute_batch(&tables)?;
        }
        Ok(())
    };
    set_up().map_err(sqlite(path))
}

/// Reads the whole file and compares tables with indexes (`PRAGMA integrity_check`).
fn check(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let problem: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(sqlite(path))?;
    if problem == "ok" {
        return Ok(());
    }
    Err(OpenError::Damaged {
        path: path.to_owned(),
        problem,
    })
}

/// `SQLite`'s own words for a damaged file are an error of ours.
fn sqlite(path: &Path) -> impl FnOnce(rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    move |source| match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => OpenError::Damaged {
            path,
            problem: source.to_string(),
        },
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::Foreign {
            path,
            what: "no SQLite database",
        },
        _ => OpenError::Sqlite { path, source },
    }
}
