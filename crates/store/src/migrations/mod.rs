//! The steps of the schema, in order. A released step is never edited; each can be repeated after it was cut off
//! anywhere.

use sea_orm::sea_query::Query;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DynIden, Statement};
use sea_orm_migration::prelude::IntoIden;
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager, async_trait};

use crate::db::{Backend, Conn, Db, MigrationStatus};
use crate::error::{Error, Result};

mod dialect;
mod m0001_start;
mod m0002_joining;
mod m0003_gpus;
mod m0004_sessions;
mod m0005_kubernetes;
mod m0006_charts;
mod m0007_pipelines;
mod m0008_collections;
mod m0010_machine_images;
mod m0011_releases;
mod m0012_container_images;
mod m0013_lan_and_disk;
mod m0014_restarts;
mod m0015_chart_keys;
mod m0016_git_repo_secrets;
mod m0017_container_events;
mod m0018_lines;

/// The table that says which steps were applied.
const TABLE: &str = "schema_migrations";
/// Seconds that a server waits for another one that migrates.
const PATIENCE_SECS: u32 = 300;
/// The advisory lock on PostgreSQL, `longshor` as a number.
const POSTGRES_LOCK: i64 = 0x6c6f_6e67_7368_6f72;
/// The advisory lock on MySQL; such locks belong to the whole server, so the database's name is in it.
const MYSQL_LOCK: &str = "CONCAT('longshore.', MD5(DATABASE()))";

struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_start::Migration),
            Box::new(m0002_joining::Migration),
            Box::new(m0003_gpus::Migration),
            Box::new(m0004_sessions::Migration),
            Box::new(m0005_kubernetes::Migration),
            Box::new(m0006_charts::Migration),
            Box::new(m0007_pipelines::Migration),
            Box::new(m0008_collections::Migration),
            Box::new(m0010_machine_images::Migration),
            Box::new(m0011_releases::Migration),
            Box::new(m0012_container_images::Migration),
            Box::new(m0013_lan_and_disk::Migration),
            Box::new(m0014_restarts::Migration),
            Box::new(m0015_chart_keys::Migration),
            Box::new(m0016_git_repo_secrets::Migration),
            Box::new(m0017_container_events::Migration),
            Box::new(m0018_lines::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        TABLE.into_iden()
    }
}

/// The names of all steps, in order.
pub(crate) fn names() -> Vec<String> {
    Migrator::migrations().iter().map(|step| step.name().to_owned()).collect()
}

/// Every step and whether it was applied; [`Error::TooNew`] when there are steps that we do not know.
pub(crate) async fn status<'c, C>(connection: &'c C) -> Result<Vec<MigrationStatus>>
where
    C: ConnectionTrait,
    &'c C: sea_orm_migration::IntoSchemaManagerConnection<'c>,
{
    let mut applied: Vec<String> = Vec::new();
    if SchemaManager::new(connection).has_table(TABLE).await? {
        let query =
            Query::select().column("version").from(TABLE).order_by("version", sea_orm::Order::Asc).take();
        for row in connection.query_all(&query).await? {
            applied.push(row.try_get("", "version")?);
        }
    }
    let names = names();
    if let Some(unknown) = applied.iter().find(|name| !names.contains(name)) {
        return Err(Error::TooNew(unknown.clone()));
    }
    Ok(names.into_iter().map(|name| MigrationStatus { applied: applied.contains(&name), name }).collect())
}

/// Applies what is missing, one server at a time.
pub(crate) async fn migrate(db: &Db) -> Result<Vec<String>> {
    // Looks first without a lock: most starts have nothing to do.
    if pending(&db.migration_status().await?).is_empty() {
        return Ok(Vec::new());
    }
    match db.backend() {
        // The transaction holds the lock for writing, and what it does happens whole or not at all.
        Backend::Sqlite => {
            let tx = db.begin().await?;
            let applied = apply(tx.transaction()).await?;
            tx.commit().await?;
            Ok(applied)
        }
        Backend::Postgres => {
            let tx = db.begin().await?;
            execute(tx.transaction(), &format!("SET LOCAL lock_timeout = '{PATIENCE_SECS}s'")).await?;
            execute(tx.transaction(), &format!("SELECT pg_advisory_xact_lock({POSTGRES_LOCK})")).await?;
            let applied = apply(tx.transaction()).await?;
            tx.commit().await?;
            Ok(applied)
        }
        // Statements that change the schema commit by themselves; the transaction only keeps one connection for the lock.
        Backend::MySql => {
            let tx = db.begin().await?;
            let rows = tx
                .on()
                .rows_raw(&format!("SELECT CAST(GET_LOCK({MYSQL_LOCK}, {PATIENCE_SECS}) AS SIGNED) AS n"))
                .await?;
            let got: Option<i64> = rows.first().map(|row| row.try_get("", "n")).transpose()?;
            if got != Some(1) {
                return Err(Error::Locked);
            }
            let applied = apply(db.write_connection()).await;
            execute(tx.transaction(), &format!("DO RELEASE_LOCK({MYSQL_LOCK})")).await?;
            applied
        }
    }
}

fn pending(status: &[MigrationStatus]) -> Vec<String> {
    status.iter().filter(|step| !step.applied).map(|step| step.name.clone()).collect()
}

async fn apply<'c, C>(connection: &'c C) -> Result<Vec<String>>
where
    C: ConnectionTrait,
    &'c C: sea_orm_migration::IntoSchemaManagerConnection<'c>,
{
    // Again, now that nobody else migrates.
    let pending = pending(&status(connection).await?);
    Migrator::up(connection, None).await?;
    Ok(pending)
}

async fn execute(transaction: &DatabaseTransaction, sql: &str) -> Result<()> {
    transaction.execute_raw(Statement::from_string(transaction.get_database_backend(), sql)).await?;
    Ok(())
}
