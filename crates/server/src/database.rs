//! The database from outside a running server: its state, its schema, copies of it. For `longshore db …`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use store::Db;
use tokio::time::Instant;

use crate::app::Clock;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};

/// Whoever works on a data folder holds this file alone: the server while it runs, or who replaces its database.
const LOCK_FILE: &str = "server.lock";
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// One step of the schema.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Whether it was applied.
    pub applied: bool,
}

/// What the database is.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// `sqlite`, `mysql` or `postgres`.
    pub backend: String,
    /// The steps of its schema, in order.
    pub migrations: Vec<Step>,
    /// Whether all steps were applied.
    pub current: bool,
}

/// What a copy holds.
#[derive(Clone, Debug, Serialize)]
pub struct Copied {
    /// The copy.
    pub file: PathBuf,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// Where the database that was replaced lies now; only after a restore, and only for SQLite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<PathBuf>,
}

/// Says what the database is and how far its schema has come.
pub async fn status(config: &Config) -> Result<Status> {
    let db = open_existing(config).await?;
    let steps = db.migration_status().await?;
    let backend = format!("{:?}", db.backend()).to_lowercase();
    db.close().await?;
    let migrations: Vec<Step> =
        steps.into_iter().map(|step| Step { name: step.name, applied: step.applied }).collect();
    Ok(Status { backend, current: migrations.iter().all(|step| step.applied), migrations })
}

/// Brings the schema up to date; returns the steps that were applied.
pub async fn migrate(config: &Config) -> Result<Vec<String>> {
    let db = Db::open(config.database_url().expose()).await?;
    let applied = db.migrate().await?;
    db.close().await?;
    Ok(applied)
}

/// Writes everything that the database holds at this moment to a file, which appears whole or not at all. The server
/// may go on running. The file is readable by its owner only: it holds password hashes.
pub async fn backup(config: &Config, file: &Path) -> Result<Copied> {
    let db = open_existing(config).await?;
    let aside = beside(file, ".part");
    let written = write_backup(&db, &aside).await;
    let closed = db.close().await;
    match written {
        Ok(rows) => {
            closed?;
            std::fs::rename(&aside, file).map_err(|error| cannot("write", file, error))?;
            sync_folder_of(file)?;
            Ok(Copied { file: file.to_owned(), rows, replaced: None })
        }
        Err(error) => {
            if let Err(left) = std::fs::remove_file(&aside)
                && left.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(error = %left, "`{}` is left over and can be removed", aside.display());
            }
            Err(error)
        }
    }
}

async fn write_backup(db: &Db, aside: &Path) -> Result<BTreeMap<String, u64>> {
    let mut output = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(aside)
        .map_err(|error| cannot("write", aside, error))?;
    let summary = store::backup::export(db, &mut output).await.map_err(explain)?;
    output.sync_all().map_err(|error| cannot("write", aside, error))?;
    Ok(summary.rows)
}

/// Fills the database from a copy. A SQLite database is replaced at once when the copy was read to its end, and the old
/// one is kept beside it; the other engines need an empty database, so that nothing is lost by mistake.
pub async fn restore(config: &Config, file: &Path) -> Result<Copied> {
    let input = File::open(file).map_err(|error| cannot("read", file, error))?;
    std::fs::create_dir_all(&config.data_dir)?;
    let _lock = hold(&config.data_dir).await?;
    let url = config.database_url();
    let (rows, replaced) = match store::sqlite_path(url.expose())? {
        Some(database) => {
            let new = beside(&database, ".restoring");
            remove_database(&new)?;
            let rows = read_backup(&format!("sqlite://{}", new.display()), input).await;
            match rows {
                Ok(rows) => (rows, replace_database(&database, &new).await?),
                Err(error) => {
                    remove_database(&new)?;
                    return Err(error);
                }
            }
        }
        None => (read_backup(url.expose(), input).await?, None),
    };
    Ok(Copied { file: file.to_owned(), rows, replaced })
}

async fn read_backup(url: &str, input: File) -> Result<BTreeMap<String, u64>> {
    let db = Db::open(url).await?;
    db.migrate().await?;
    let summary = store::backup::import(&db, input).await.map_err(explain)?;
    db.close().await?;
    Ok(summary.rows)
}

/// Puts the new file in the old one's place. Killed in between, the old database or the new one is there, whole.
async fn replace_database(database: &Path, new: &Path) -> Result<Option<PathBuf>> {
    let mut kept = None;
    if database.exists() {
        // What a killed server left in the write-ahead log goes into the file; a damaged file keeps its log.
        match Db::open(&format!("sqlite://{}", database.display())).await {
            Ok(old) => old.close().await?,
            Err(error) => tracing::warn!(%error, "the present database does not open; it is kept as it is"),
        }
        let now = Clock::default().now().unix_secs();
        let old = beside(database, &format!(".before-restore-{now}"));
        std::fs::hard_link(database, &old)?;
        // A log beside a file to which it does not belong would be played into it.
        for side in ["-wal", "-shm"] {
            match std::fs::rename(beside(database, side), beside(&old, side)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        kept = Some(old);
    }
    std::fs::rename(new, database)?;
    sync_folder_of(database)?;
    Ok(kept)
}

fn remove_database(path: &Path) -> Result<()> {
    for side in ["", "-wal", "-shm"] {
        match std::fs::remove_file(beside(path, side)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Takes the data folder for this process, until the file is closed. Waits a moment for one that has just ended: a program that it
/// was about to start has the lock, too, until it really starts.
pub(crate) async fn hold(data_dir: &Path) -> Result<File> {
    let path = data_dir.join(LOCK_FILE);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err(TryLockError::WouldBlock) => {
                let detail = format!("a server runs on the data folder `{}`", data_dir.display());
                return Err(Error::conflict("data_folder_in_use", detail)
                    .hint("stop it first; containers go on running meanwhile"));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// Opens the database; a file that is missing is told and not made.
async fn open_existing(config: &Config) -> Result<Db> {
    let url = config.database_url();
    if let Some(path) = store::sqlite_path(url.expose())?
        && !path.exists()
    {
        return Err(Error::not_found("database", path.display())
            .hint("name the server's folder with `--data-dir`, or its database with `--database-url`"));
    }
    Ok(Db::open(url.expose()).await?)
}

/// A file beside another, with the same name and something behind it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn sync_folder_of(file: &Path) -> Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Ok(File::open(folder)?.sync_all()?)
}

/// What the store says of copies is for whoever typed the command: nothing of it is secret.
fn explain(error: store::Error) -> Error {
    match error {
        store::Error::Corrupt(_) | store::Error::TooNew(_) | store::Error::Other(_) => {
            Error::new(ErrorKind::Invalid, "backup", error.to_string())
        }
        error => error.into(),
    }
}

fn cannot(what: &str, file: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => error.into(),
        _ => Error::new(ErrorKind::Invalid, "file", format!("cannot {what} `{}`: {error}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_data_folder_is_held_by_one_and_by_the_next_soon_after() {
        let folder = tempfile::tempdir().unwrap();
        let first = hold(folder.path()).await.unwrap();

        let refused = hold(folder.path()).await.unwrap_err();
        assert_eq!(refused.code, "data_folder_in_use");
        let (second, ()) = tokio::join!(hold(folder.path()), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        second.unwrap();
    }
}
