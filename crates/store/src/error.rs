//! What can go wrong in the database, told apart by the engines' own codes, in this one place.

use std::fmt;

use sea_orm::sqlx::{self, mysql::MySqlDatabaseError, postgres::PgDatabaseError, sqlite::SqliteError};
use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr};

/// Why a call to the store failed. `Display` never shows SQL; the engine's words are in the source, for logs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something with that name or key exists already.
    #[error("it exists already")]
    Duplicate,
    /// Another container has that port of the machine.
    #[error("port {0} of the machine is taken")]
    PortTaken(u16),
    /// Other rows still refer to it, or it refers to a row that is gone.
    #[error("it is still in use, or what it refers to is gone")]
    InUse,
    /// A text is longer than its column.
    #[error("a text is too long to be stored")]
    TooLong,
    /// A search has more words than this.
    #[error("a search has at most {0} words")]
    TooManyWords(usize),
    /// No such row.
    #[error("it does not exist")]
    NotFound,
    /// Somebody else holds a lock for too long; the same call can work a moment later.
    #[error("the database is busy, try again")]
    Locked,
    /// The disk or a quota is full. Nothing was stored.
    #[error("the database's disk is full, free some space")]
    Full,
    /// The database cannot be reached or refuses us.
    #[error("the database is not available: {0}")]
    Unavailable(Cause),
    /// The database was migrated by a newer program.
    #[error("the database is newer than this program (it has `{0}`), start a newer version")]
    TooNew(String),
    /// A stored value or an archive does not parse.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// Anything else; a person must look.
    #[error("the database failed: {0}")]
    Other(Cause),
}

/// What every function here returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A plain reason, with the engine's error as its source.
#[derive(Debug)]
pub struct Cause {
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Cause {
    pub(crate) fn with(
        message: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { message: message.into(), source: Some(Box::new(source)) }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl<T: Into<String>> From<T> for Cause {
    fn from(message: T) -> Self {
        Self { message: message.into(), source: None }
    }
}

impl Error {
    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self::Other(Cause::from(message.into()))
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable(Cause::from(message.into()))
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::Corrupt(message.into())
    }
}

/// What an engine's code means to us; the texts become the reason that users see.
enum Class {
    Duplicate,
    InUse,
    TooLong,
    Locked,
    Full,
    Unavailable(&'static str),
    Corrupt(&'static str),
    Other(&'static str),
}

const UNREACHABLE: &str = "it cannot be reached or closed the connection";
const REFUSED: &str = "it refused the user name or password";
const MISSING: &str = "there is no such database, create it first";
const CROWDED: &str = "it has too many connections";
const STOPPING: &str = "it is starting or stopping";

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        let class = match &error {
            DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => Class::Unavailable(UNREACHABLE),
            DbErr::ConnectionAcquire(_) => Class::Unavailable("the program is stopping"),
            DbErr::Conn(RuntimeErr::SqlxError(cause))
            | DbErr::Exec(RuntimeErr::SqlxError(cause))
            | DbErr::Query(RuntimeErr::SqlxError(cause)) => class_of(cause),
            DbErr::RecordNotFound(_) => return Self::NotFound,
            DbErr::Type(_) | DbErr::Json(_) => Class::Corrupt("a column has another type than expected"),
            _ => Class::Other("an unexpected answer"),
        };
        class.into_error(error)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        class_of(&error).into_error(error)
    }
}

impl Class {
    fn into_error(self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        match self {
            Self::Duplicate => Error::Duplicate,
            Self::InUse => Error::InUse,
            Self::TooLong => Error::TooLong,
            Self::Locked => Error::Locked,
            Self::Full => Error::Full,
            Self::Unavailable(message) => Error::Unavailable(Cause::with(message, source)),
            Self::Corrupt(message) => {
                tracing::error!(error = %source, "the database holds damaged data");
                Error::Corrupt(message.to_owned())
            }
            Self::Other(message) => Error::Other(Cause::with(message, source)),
        }
    }
}

fn class_of(error: &sqlx::Error) -> Class {
    match error {
        sqlx::Error::Database(error) => {
            if let Some(error) = error.try_downcast_ref::<SqliteError>() {
                return class_of_sqlite(error);
            }
            if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
                return class_of_mysql(error.number());
            }
            if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
                return class_of_postgres(error.code());
            }
            Class::Other("an unknown engine's error")
        }
        sqlx::Error::PoolTimedOut => Class::Locked,
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            Class::Unavailable(UNREACHABLE)
        }
        sqlx::Error::PoolClosed => Class::Unavailable("the program is stopping"),
        sqlx::Error::Configuration(_) => Class::Unavailable("its address is not valid"),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            Class::Corrupt("a column has another type than expected")
        }
        _ => Class::Other("an unexpected answer"),
    }
}

/// <https://www.sqlite.org/rescode.html>; sqlx gives the extended code.
fn class_of_sqlite(error: &SqliteError) -> Class {
    use sqlx::error::DatabaseError;

    let code: i32 = error.code().and_then(|code| code.parse().ok()).unwrap_or(0);
    match code {
        // CONSTRAINT_UNIQUE, _PRIMARYKEY, _ROWID
        2067 | 1555 | 2579 => Class::Duplicate,
        // CONSTRAINT_FOREIGNKEY, _TRIGGER (a deferred foreign key)
        787 | 1811 => Class::InUse,
        // CONSTRAINT_CHECK: the schema checks nothing but lengths
        275 => Class::TooLong,
        // IOERR_SHMSIZE: the index of the write-ahead log cannot grow
        4874 => Class::Full,
        _ => match code & 0xff {
            5 | 6 => Class::Locked,
            13 => Class::Full,
            8 => Class::Unavailable("its file cannot be written, check its owner and mode"),
            10 => Class::Unavailable("its disk fails or refuses to write"),
            14 => Class::Unavailable(
                "its file cannot be opened, check that its folder exists and can be written",
            ),
            11 => Class::Corrupt("the file is malformed, restore a backup"),
            26 => Class::Corrupt("the file is not a database"),
            _ => Class::Other("it refused a statement"),
        },
    }
}

/// <https://mariadb.com/kb/en/mariadb-error-code-reference/>; the numbers are MySQL's as well.
fn class_of_mysql(number: u16) -> Class {
    match number {
        1022 | 1062 | 1169 | 1586 => Class::Duplicate,
        1216 | 1217 | 1451 | 1452 => Class::InUse,
        1406 => Class::TooLong,
        1205 | 1213 | 3572 => Class::Locked,
        1021 | 1114 | 3172 => Class::Full,
        1040 | 1203 | 1226 => Class::Unavailable(CROWDED),
        1044 | 1045 | 1698 => Class::Unavailable(REFUSED),
        1049 => Class::Unavailable(MISSING),
        1053 | 1077 | 1079 | 1927 => Class::Unavailable(STOPPING),
        1290 | 1792 | 1836 => Class::Unavailable("it is read-only"),
        _ => Class::Other("it refused a statement"),
    }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn class_of_postgres(code: &str) -> Class {
    match code {
        "23505" | "23P01" => Class::Duplicate,
        "23503" => Class::InUse,
        "22001" => Class::TooLong,
        "40001" | "40P01" | "55P03" | "57014" => Class::Locked,
        "53100" | "54000" => Class::Full,
        "53300" => Class::Unavailable(CROWDED),
        "28000" | "28P01" => Class::Unavailable(REFUSED),
        "3D000" => Class::Unavailable(MISSING),
        "25006" => Class::Unavailable("it is read-only"),
        "XX001" | "XX002" => Class::Corrupt("the database is malformed, restore a backup"),
        _ if code.starts_with("57P") => Class::Unavailable(STOPPING),
        _ if code.starts_with("08") => Class::Unavailable(UNREACHABLE),
        _ => Class::Other("it refused a statement"),
    }
}
