//! Connection strings, and the settings without which an engine would not keep our promises.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sea_orm::sqlx::Executor;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::{DatabaseConnection, SqlxMySqlConnector, SqlxPostgresConnector, SqlxSqliteConnector};

use crate::error::{Error, Result};

/// How long a call waits for a lock or a free connection before it answers [`Error::Locked`].
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that read from SQLite; each is a thread with its own page cache.
const SQLITE_READERS: u32 = 4;
/// Connections to a database server.
const SERVER_CONNECTIONS: u32 = 16;

/// What a connection string asks for.
pub(crate) enum Target {
    Sqlite(SqliteFile),
    MySql(Box<MySqlConnectOptions>),
    Postgres(Box<PgConnectOptions>),
}

/// A SQLite database's file, and how large it may get.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SqliteFile {
    path: PathBuf,
    max_page_count: Option<u32>,
}

/// The connections of an open database; the same pool twice where there is no need for two.
pub(crate) struct Pools {
    pub(crate) write: DatabaseConnection,
    pub(crate) read: DatabaseConnection,
}

impl Target {
    /// Reads a connection string; `+driver` after the scheme, as other languages write it, is passed over.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(Error::unavailable(HELP));
        };
        let scheme = scheme.to_ascii_lowercase();
        let kind = scheme.split('+').next().unwrap_or_default();
        match kind {
            "sqlite" => sqlite_file(rest).map(Self::Sqlite),
            "mysql" | "mariadb" => mysql_options(&format!("mysql:{rest}")).map(|o| Self::MySql(Box::new(o))),
            "postgres" | "postgresql" => {
                let options = PgConnectOptions::from_str(&format!("postgres:{rest}"))?;
                Ok(Self::Postgres(Box::new(options)))
            }
            _ => Err(Error::unavailable(HELP)),
        }
    }

    /// Connects, so that a wrong address fails here and not at the first query.
    pub(crate) async fn connect(self) -> Result<Pools> {
        match self {
            Self::Sqlite(file) => connect_sqlite(&file).await,
            Self::MySql(options) => connect_mysql(*options).await,
            Self::Postgres(options) => connect_postgres(*options).await,
        }
    }
}

/// The file of a SQLite database by its connection string; none for the other engines.
pub fn sqlite_path(url: &str) -> Result<Option<PathBuf>> {
    Ok(match Target::parse(url)? {
        Target::Sqlite(file) => Some(file.path),
        Target::MySql(_) | Target::Postgres(_) => None,
    })
}

const HELP: &str = "its address must begin with `sqlite:`, `mysql:`, `mariadb:` or `postgres:`";

/// `sqlite:path`, `sqlite://path` (relative) and `sqlite:///path` (absolute). The path is taken as it stands: it is a
/// file name, not a URL, so `%` and spaces mean themselves. `?max_page_count=…` bounds the file in pages of 4 KiB; a
/// `?mode=…` that other programs want is passed over.
fn sqlite_file(rest: &str) -> Result<SqliteFile> {
    let name = rest.strip_prefix("//").unwrap_or(rest);
    let (path, max_page_count) = match name.rsplit_once('?') {
        Some((path, options)) if options.starts_with("mode=") => (path, None),
        Some((path, options)) if options.starts_with("max_page_count=") => {
            let count = options.trim_start_matches("max_page_count=").parse();
            (path, Some(count.map_err(|_| Error::unavailable("`max_page_count` must be a number"))?))
        }
        _ => (name, None),
    };
    if path.is_empty() || path.starts_with(":memory:") {
        return Err(Error::unavailable(
            "a SQLite address needs a file, such as `sqlite:///var/lib/longshore/db`",
        ));
    }
    Ok(SqliteFile { path: PathBuf::from(path), max_page_count })
}

fn mysql_options(url: &str) -> Result<MySqlConnectOptions> {
    // PyMySQL spells this option differently.
    let url = url.replacen("unix_socket=", "socket=", 1);
    let options = MySqlConnectOptions::from_str(&url)?;
    // Whatever the address says: names are compared and stored exactly.
    Ok(options.charset("utf8mb4").collation("utf8mb4_bin").timezone(Some("+00:00".to_owned())))
}

async fn connect_sqlite(file: &SqliteFile) -> Result<Pools> {
    create_private(&file.path)?;
    let mut options = SqliteConnectOptions::new()
        .filename(&file.path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(PATIENCE)
        .foreign_keys(true)
        .pragma("journal_size_limit", "67108864");
    if let Some(count) = file.max_page_count {
        options = options.pragma("max_page_count", count.to_string());
    }
    let pool =
        || SqlitePoolOptions::new().acquire_timeout(PATIENCE).test_before_acquire(false).max_lifetime(None);
    // One writer: SQLite has one lock for writing, and waiting for it in our own queue is fair and quick.
    let write =
        pool().max_connections(1).min_connections(1).idle_timeout(None).connect_with(options.clone()).await?;
    let read = pool()
        .max_connections(SQLITE_READERS)
        .idle_timeout(Duration::from_mins(1))
        .connect_lazy_with(options.pragma("query_only", "ON"));
    Ok(Pools {
        write: SqlxSqliteConnector::from_sqlx_sqlite_pool(write),
        read: SqlxSqliteConnector::from_sqlx_sqlite_pool(read),
    })
}

/// Makes the file readable by its owner only; SQLite gives its side files the same mode.
fn create_private(path: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Err(Error::Full),
        Err(error) => {
            Err(Error::unavailable(format!("the file `{}` cannot be made: {error}", path.display())))
        }
    }
}

async fn connect_mysql(options: MySqlConnectOptions) -> Result<Pools> {
    let pool = MySqlPoolOptions::new()
        .max_connections(SERVER_CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .idle_timeout(Duration::from_mins(5))
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection
                    .execute(
                        // With names in double quotes, as the other engines have them.
                        "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_ZERO_DATE,\
                         ERROR_FOR_DIVISION_BY_ZERO', SESSION innodb_lock_wait_timeout = 5",
                    )
                    .await?;
                // As PostgreSQL does: a statement sees what was committed before it, and locks no gaps.
                connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                Ok(())
            })
        })
        .connect_with(options)
        .await
        .map_err(no_answer)?;
    let connection = SqlxMySqlConnector::from_sqlx_mysql_pool(pool);
    Ok(Pools { write: connection.clone(), read: connection })
}

async fn connect_postgres(options: PgConnectOptions) -> Result<Pools> {
    let options =
        options.options([("TimeZone", "UTC"), ("lock_timeout", "5s")]).application_name("longshore");
    let pool = PgPoolOptions::new()
        .max_connections(SERVER_CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .idle_timeout(Duration::from_mins(5))
        .connect_with(options)
        .await
        .map_err(no_answer)?;
    let connection = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
    Ok(Pools { write: connection.clone(), read: connection })
}

/// While connecting, a time-out does not mean a lock.
fn no_answer(error: sea_orm::sqlx::Error) -> Error {
    match error {
        sea_orm::sqlx::Error::PoolTimedOut => Error::unavailable("it does not answer within 5 seconds"),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mysql(url: &str) -> MySqlConnectOptions {
        match Target::parse(url).unwrap() {
            Target::MySql(options) => *options,
            _ => panic!("not MySQL: {url}"),
        }
    }

    #[test]
    fn sqlite_paths_are_file_names() {
        for (url, path) in [
            ("sqlite:a.db", "a.db"),
            ("sqlite://a.db", "a.db"),
            ("sqlite:///var/a b%20c.db", "/var/a b%20c.db"),
            ("sqlite:/var/a.db", "/var/a.db"),
            ("sqlite:///var/a.db?mode=rwc", "/var/a.db"),
        ] {
            assert!(
                matches!(Target::parse(url), Ok(Target::Sqlite(file)) if file.path == Path::new(path)),
                "{url}"
            );
        }
        let file = sqlite_file("///a?b?max_page_count=7").unwrap();
        assert_eq!(file, SqliteFile { path: PathBuf::from("/a?b"), max_page_count: Some(7) });
        assert!(Target::parse("sqlite:").is_err());
        assert!(Target::parse("sqlite::memory:").is_err());
    }

    #[test]
    fn the_drivers_of_other_languages_are_passed_over() {
        let options =
            mysql("mysql+pymysql://root:@localhost:3306/paas_prac?charset=utf8&unix_socket=/run/m.sock");

        assert_eq!(options.get_database(), Some("paas_prac"));
        assert_eq!(options.get_username(), "root");
        assert_eq!(
            options.get_socket().map(|path| path.to_string_lossy().into_owned()).as_deref(),
            Some("/run/m.sock")
        );
        assert_eq!(options.get_charset(), "utf8mb4");
        assert!(matches!(Target::parse("mariadb://h/db"), Ok(Target::MySql(_))));
        for url in ["postgres://u:p@h:5432/d", "postgresql://h/d", "postgresql+psycopg2://u@h/d"] {
            assert!(
                matches!(Target::parse(url), Ok(Target::Postgres(o)) if o.get_database() == Some("d")),
                "{url}"
            );
        }
    }

    #[test]
    fn other_addresses_are_refused_with_the_choices() {
        for url in ["", "nonsense", "oracle://h/d", "/var/lib/db"] {
            let error = Target::parse(url).err().unwrap().to_string();
            assert!(error.contains("`sqlite:`"), "{error}");
        }
    }
}
