//! An open database: connections, transactions, migrations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, ExecResult,
    IsolationLevel, QueryResult, SqliteTransactionMode, Statement, StatementBuilder, TransactionOptions,
    TransactionTrait,
};

use tokio::sync::watch;

use crate::connect::Target;
use crate::error::{Error, Result};
use crate::migrations;
use crate::pages::Lists;

/// Which engine keeps the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file beside the server.
    Sqlite,
    /// MySQL or MariaDB.
    MySql,
    /// PostgreSQL.
    Postgres,
}

/// One step of the schema, and whether this database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationStatus {
    /// The step's name.
    pub name: String,
    /// Whether it was applied.
    pub applied: bool,
}

/// An open database. Clones share the connections. SQLite has one connection that writes and several that read; the
/// others have one pool.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    write: DatabaseConnection,
    read: DatabaseConnection,
    backend: Backend,
    lists: Lists,
    versions: watch::Sender<Versions>,
}

/// How often each table was changed through this process, for those who wait for news. Numbers only grow.
pub type Versions = BTreeMap<&'static str, u64>;

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the connections, whose options hold the password.
        f.debug_struct("Db").field("backend", &self.inner.backend).finish_non_exhaustive()
    }
}

/// A transaction; dropped without [`Tx::commit`] it is rolled back. On SQLite it holds the one lock for writing from
/// its begin on, so keep it short and wait for nothing else meanwhile.
#[derive(Debug)]
pub struct Tx {
    transaction: Option<DatabaseTransaction>,
    touched: Touched,
    later: Later,
}

/// Statements of a transaction on SQLite that wait for the next one, in order. Each hand-over to the connection's thread and
/// back costs more than a small statement itself.
type Later = Mutex<Vec<Statement>>;
/// How many of them wait at most: the connection remembers what it was handed, and its length.
const LATER_MAX: usize = 16;

/// The tables that a transaction changed. What is remembered of their lists is dropped together with the transaction,
/// however it ends.
#[derive(Debug)]
struct Touched {
    db: Db,
    tables: Mutex<BTreeSet<Change>>,
}

/// A table, and whether its lists may show the change.
type Change = (&'static str, bool);

impl Drop for Touched {
    fn drop(&mut self) {
        let tables = self.tables.get_mut().unwrap_or_else(PoisonError::into_inner);
        for change in std::mem::take(tables) {
            self.db.tell(change);
        }
    }
}

/// Where a query runs: a [`Db`], each call for itself, or a [`Tx`]. Nothing else implements it.
pub trait Conn: Send + Sync + sealed::Sealed {
    #[doc(hidden)]
    fn on(&self) -> On<'_>;
}

mod sealed {
    /// Keeps [`super::Conn`] to this crate.
    pub trait Sealed {}
    impl Sealed for super::Db {}
    impl Sealed for super::Tx {}
}

/// The connection behind a [`Conn`].
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct On<'a> {
    db: &'a Db,
    tx: Option<(&'a DatabaseTransaction, &'a Tx)>,
}

impl Conn for Db {
    fn on(&self) -> On<'_> {
        On { db: self, tx: None }
    }
}

impl Conn for Tx {
    fn on(&self) -> On<'_> {
        let transaction =
            self.transaction.as_ref().expect("only commit takes the transaction, and it ends the `Tx`");
        On { db: &self.touched.db, tx: Some((transaction, self)) }
    }
}

impl Db {
    /// Connects. Makes the file of a SQLite database when it is missing; changes nothing else: see [`Db::migrate`].
    ///
    /// Takes `sqlite:path`, `sqlite://path`, `mysql://…`, `mariadb://…`, `postgres://…`, `postgresql://…`, also with
    /// the `+driver` that other languages put behind the scheme.
    pub async fn open(url: &str) -> Result<Self> {
        let pools = Target::parse(url)?.connect().await?;
        let backend = match pools.write.get_database_backend() {
            DbBackend::Sqlite => Backend::Sqlite,
            DbBackend::MySql => Backend::MySql,
            DbBackend::Postgres => Backend::Postgres,
            _ => return Err(Error::unavailable("this engine is not known")),
        };
        // Only one process writes to a SQLite file; several servers may share the others.
        let lifetime = if backend == Backend::Sqlite { 10 } else { 1 };
        let lists = Lists::new(Duration::from_secs(lifetime));
        let versions = watch::Sender::default();
        Ok(Self { inner: Arc::new(Inner { write: pools.write, read: pools.read, backend, lists, versions }) })
    }

    /// Brings the schema up to date; the names of the steps applied now. Safe when several servers start at once, and
    /// after a start that was cut off. [`Error::TooNew`] when a newer program was here.
    pub async fn migrate(&self) -> Result<Vec<String>> {
        migrations::migrate(self).await
    }

    /// Every step of the schema, and whether it was applied. [`Error::TooNew`] when a newer program was here.
    pub async fn migration_status(&self) -> Result<Vec<MigrationStatus>> {
        migrations::status(&self.inner.read).await
    }

    /// Asks the database for an answer, and for nothing else.
    pub async fn ping(&self) -> Result<()> {
        self.on().rows_raw("SELECT 1").await.map(drop)
    }

    /// Begins a transaction that may write.
    pub async fn begin(&self) -> Result<Tx> {
        let options = TransactionOptions {
            // A deferred transaction that reads first and writes later is refused by SQLite without waiting.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.begin_on(&self.inner.write, options).await
    }

    /// Begins a transaction that reads one state of the whole database, whatever others write meanwhile.
    pub(crate) async fn begin_snapshot(&self) -> Result<Tx> {
        let options = match self.inner.backend {
            Backend::Sqlite => TransactionOptions::default(),
            Backend::MySql | Backend::Postgres => TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                access_mode: Some(AccessMode::ReadOnly),
                ..TransactionOptions::default()
            },
        };
        self.begin_on(&self.inner.read, options).await
    }

    async fn begin_on(&self, connection: &DatabaseConnection, options: TransactionOptions) -> Result<Tx> {
        let transaction =
            connection.begin_with_options(options).await.map_err(|error| self.explain(error))?;
        let touched = Touched { db: self.clone(), tables: Mutex::default() };
        Ok(Tx { transaction: Some(transaction), touched, later: Later::default() })
    }

    /// Tells of changes, each after it can be read. Those of another process are not told of.
    pub fn versions(&self) -> watch::Receiver<Versions> {
        self.inner.versions.subscribe()
    }

    /// How often these tables were changed through this process, together; each change counts after it can be read.
    pub fn changes(&self, tables: &[&'static str]) -> u64 {
        let versions = self.inner.versions.borrow();
        tables.iter().filter_map(|table| versions.get(table)).sum()
    }

    fn tell(&self, (table, shows_in_lists): Change) {
        if shows_in_lists {
            self.inner.lists.changed(table);
        }
        self.inner.versions.send_modify(|versions| *versions.entry(table).or_default() += 1);
    }

    /// Which engine this is.
    pub fn backend(&self) -> Backend {
        self.inner.backend
    }

    /// Closes the connections and waits for them; clones of this database then answer [`Error::Unavailable`].
    pub async fn close(self) -> Result<()> {
        self.inner.read.close_by_ref().await?;
        Ok(self.inner.write.close_by_ref().await?)
    }

    /// The connection for statements that must not run in a transaction of ours.
    pub(crate) fn write_connection(&self) -> &DatabaseConnection {
        &self.inner.write
    }

    /// On SQLite, waiting for a connection means waiting for our own writer; elsewhere the server does not answer.
    fn explain(&self, error: sea_orm::DbErr) -> Error {
        use sea_orm::ConnAcquireErr::Timeout;

        match error {
            sea_orm::DbErr::ConnectionAcquire(Timeout) if self.inner.backend == Backend::Sqlite => {
                Error::Locked
            }
            error => error.into(),
        }
    }
}

impl Tx {
    /// Makes everything done in it durable. After an error the outcome is not known: read again by key.
    pub async fn commit(mut self) -> Result<()> {
        self.on().run_waiting().await?;
        let transaction =
            self.transaction.take().expect("only commit takes the transaction, and it ends the `Tx`");
        Ok(transaction.commit().await?)
    }

    /// For code that talks to the ORM's own traits.
    pub(crate) fn transaction(&self) -> &DatabaseTransaction {
        self.on().tx.map(|(transaction, _)| transaction).expect("a `Tx` runs on its transaction")
    }
}

impl On<'_> {
    pub(crate) fn backend(&self) -> Backend {
        self.db.inner.backend
    }

    /// What is remembered of lists; nothing in a transaction, which sees what others do not.
    pub(crate) fn lists(&self) -> Option<&Lists> {
        if self.tx.is_some() { None } else { Some(&self.db.inner.lists) }
    }

    pub(crate) fn build(&self, statement: &impl StatementBuilder) -> Statement {
        without_nul(self.db.inner.write.get_database_backend().build(statement))
    }

    /// Runs a query that changes nothing.
    pub(crate) async fn rows(&self, query: &impl StatementBuilder) -> Result<Vec<QueryResult>> {
        self.run_waiting().await?;
        let statement = self.build(query);
        let rows = match self.tx {
            Some((transaction, _)) => transaction.query_all_raw(statement).await,
            None => self.db.inner.read.query_all_raw(statement).await,
        };
        rows.map_err(|error| self.db.explain(error))
    }

    /// Runs a query that changes nothing and has at most one row.
    pub(crate) async fn row(&self, query: &impl StatementBuilder) -> Result<Option<QueryResult>> {
        Ok(self.rows(query).await?.into_iter().next())
    }

    /// Runs a query written by hand that changes nothing.
    pub(crate) async fn rows_raw(&self, sql: &str) -> Result<Vec<QueryResult>> {
        self.run_waiting().await?;
        let statement = Statement::from_string(self.db.inner.write.get_database_backend(), sql);
        let rows = match self.tx {
            Some((transaction, _)) => transaction.query_all_raw(statement).await,
            None => self.db.inner.read.query_all_raw(statement).await,
        };
        rows.map_err(|error| self.db.explain(error))
    }

    /// Changes a table in a way that lists may show; how many rows were changed.
    pub(crate) async fn change(&self, table: &'static str, statement: &impl StatementBuilder) -> Result<u64> {
        let result = self.execute(statement).await?;
        if result.rows_affected() > 0 {
            self.touch(table);
        }
        Ok(result.rows_affected())
    }

    /// Changes what decides neither over a list's rows nor over their order.
    pub(crate) async fn change_quietly(&self, statement: &impl StatementBuilder) -> Result<u64> {
        Ok(self.execute(statement).await?.rows_affected())
    }

    /// The same, and tells those who wait for news of the table.
    pub(crate) async fn change_telling(
        &self,
        table: &'static str,
        statement: &impl StatementBuilder,
    ) -> Result<u64> {
        let count = self.change_quietly(statement).await?;
        if count > 0 {
            self.note((table, false));
        }
        Ok(count)
    }

    /// Runs a statement before the next one of the transaction or at its end, which then tell what is wrong with it. For what
    /// depends on nothing but the transaction's own success.
    pub(crate) async fn run_later(&self, statement: Statement) -> Result<()> {
        match self.tx {
            Some((_, tx)) if self.backend() == Backend::Sqlite => {
                let waiting = {
                    let mut later = tx.later.lock().unwrap_or_else(PoisonError::into_inner);
                    later.push(without_nul(statement));
                    later.len()
                };
                if waiting >= LATER_MAX { self.run_waiting().await } else { Ok(()) }
            }
            _ => self.run(statement).await.map(drop),
        }
    }

    /// Runs what waits for the next statement, all of it at once.
    async fn run_waiting(&self) -> Result<()> {
        let Some((transaction, tx)) = self.tx else { return Ok(()) };
        let waiting = std::mem::take(&mut *tx.later.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(all) = waiting.into_iter().reduce(joined) else { return Ok(()) };
        transaction.execute_raw(all).await.map_err(|error| self.db.explain(error))?;
        Ok(())
    }

    async fn execute(&self, statement: &impl StatementBuilder) -> Result<ExecResult> {
        self.run(self.db.inner.write.get_database_backend().build(statement)).await
    }

    /// Runs a statement that changes something.
    pub(crate) async fn run(&self, statement: Statement) -> Result<ExecResult> {
        self.run_waiting().await?;
        let statement = without_nul(statement);
        let result = match self.tx {
            Some((transaction, _)) => transaction.execute_raw(statement).await,
            None => self.db.inner.write.execute_raw(statement).await,
        };
        result.map_err(|error| self.db.explain(error))
    }

    /// Runs a statement that changes something and answers with rows.
    pub(crate) async fn run_returning(&self, statement: Statement) -> Result<Vec<QueryResult>> {
        self.run_waiting().await?;
        let statement = without_nul(statement);
        let rows = match self.tx {
            Some((transaction, _)) => transaction.query_all_raw(statement).await,
            None => self.db.inner.write.query_all_raw(statement).await,
        };
        rows.map_err(|error| self.db.explain(error))
    }

    /// Notes that a table changed.
    pub(crate) fn touch(&self, table: &'static str) {
        self.note((table, true));
    }

    fn note(&self, change: Change) {
        match self.tx {
            Some((_, tx)) => {
                tx.touched.tables.lock().unwrap_or_else(PoisonError::into_inner).insert(change);
            }
            None => self.db.tell(change),
        }
    }

    /// A transaction for several statements that belong together: the caller's own, or a new one.
    pub(crate) async fn scope(&self) -> Result<Scope<'_>> {
        match self.tx {
            Some(_) => Ok(Scope::Joined(*self)),
            None => Ok(Scope::Own(self.db.begin().await?)),
        }
    }
}

/// PostgreSQL keeps no NUL in texts; no engine gets one, so that all keep the same.
fn without_nul(mut statement: Statement) -> Statement {
    for value in statement.values.iter_mut().flat_map(|values| &mut values.0) {
        if let sea_orm::Value::String(Some(text)) = value
            && text.contains('\0')
        {
            *text = text.replace('\0', "\u{fffd}");
        }
    }
    statement
}

/// One statement after the other, for SQLite, which takes several at once and their values in order.
fn joined(mut first: Statement, second: Statement) -> Statement {
    first.sql.push_str("; ");
    first.sql.push_str(&second.sql);
    match (&mut first.values, second.values) {
        (Some(values), Some(more)) => values.0.extend(more.0),
        (values @ None, more) => *values = more,
        (Some(_), None) => {}
    }
    first
}

/// See [`On::scope`].
pub(crate) enum Scope<'a> {
    Own(Tx),
    Joined(On<'a>),
}

impl Scope<'_> {
    pub(crate) fn on(&self) -> On<'_> {
        match self {
            Self::Own(tx) => tx.on(),
            Self::Joined(on) => *on,
        }
    }

    /// Commits what is its own; a joined transaction is its owner's to commit.
    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Own(tx) => tx.commit().await,
            Self::Joined(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without this a power cut loses what was acknowledged.
    #[tokio::test]
    async fn sqlite_writes_reach_the_disk_before_they_are_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite:{}", folder.path().join("db").display())).await.unwrap();

        for connection in [&db.inner.write, &db.inner.read] {
            for (pragma, expected) in [
                ("synchronous", "2"),
                ("journal_mode", "wal"),
                ("foreign_keys", "1"),
                ("busy_timeout", "5000"),
            ] {
                let query = Statement::from_string(
                    DbBackend::Sqlite,
                    format!("SELECT CAST({pragma} AS TEXT) AS v FROM pragma_{pragma}"),
                );
                let query = if pragma == "busy_timeout" {
                    Statement::from_string(
                        DbBackend::Sqlite,
                        "SELECT CAST(timeout AS TEXT) AS v FROM pragma_busy_timeout",
                    )
                } else {
                    query
                };
                let row = connection.query_one_raw(query).await.unwrap().unwrap();
                assert_eq!(row.try_get::<String>("", "v").unwrap(), expected, "{pragma}");
            }
        }
    }

    /// What `.cargo/config.toml` says reaches the compiler only where cargo reads that file.
    #[tokio::test]
    async fn sqlite_has_no_more_than_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite:{}", folder.path().join("db").display())).await.unwrap();
        let rows = db.on().rows_raw("SELECT compile_options AS v FROM pragma_compile_options").await.unwrap();
        let options: Vec<String> = rows.iter().map(|row| row.try_get("", "v").unwrap()).collect();

        for option in ["DEFAULT_MEMSTATUS=0", "ENABLE_QPSG"] {
            assert!(options.iter().any(|known| known == option), "{options:?}");
        }
        let not_used = ["API_ARMOR", "FTS3", "FTS5", "MEMORY_MANAGEMENT", "RTREE"];
        for option in &options {
            assert!(!not_used.iter().any(|name| option.contains(name)), "{option}");
        }
    }

    /// However many a transaction has: what waits is in memory, and the connection remembers each text that it was handed.
    #[tokio::test]
    async fn few_statements_wait_for_the_next_one_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite:{}", folder.path().join("db").display())).await.unwrap();
        db.inner.write.execute_unprepared("CREATE TABLE t (a INTEGER)").await.unwrap();

        let tx = db.begin().await.unwrap();
        for number in 0..100 {
            let insert = format!("INSERT INTO t VALUES ({number})");
            tx.on().run_later(Statement::from_string(DbBackend::Sqlite, insert)).await.unwrap();
            assert!(tx.later.lock().unwrap().len() < LATER_MAX);
        }
        tx.commit().await.unwrap();

        let rows = db.on().rows_raw("SELECT a FROM t ORDER BY rowid").await.unwrap();
        let numbers: Vec<i64> = rows.iter().map(|row| row.try_get("", "a").unwrap()).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn readers_of_sqlite_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite:{}", folder.path().join("db").display())).await.unwrap();
        let create = "CREATE TABLE t (a INTEGER)";

        assert!(db.inner.read.execute_unprepared(create).await.is_err());
        db.inner.write.execute_unprepared(create).await.unwrap();
    }
}
