//! Graphics processors: what containers ask for, who holds which and for how long, the line of those who wait, and how
//! much an account may have.

use sea_orm::DbErr;
use sea_orm::sea_query::{ForeignKeyAction, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0003_gpus"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager).await?;
        dialect.add_opt_long_text(manager, "containers", "gpu_wish").await?;
        dialect.add_opt_int(manager, "containers", "leased_at").await?;
        dialect.add_opt_int(manager, "containers", "queued_at").await?;
        dialect.add_opt_text(manager, "containers", "placement", 20).await?;
        dialect.add_opt_text(manager, "containers", "copy_of", 128).await?;
        dialect.add_opt_int(manager, "containers", "max_duration_secs").await?;
        dialect.add_opt_int(manager, "containers", "ends_at").await?;
        dialect::create(manager, tables(&dialect), INDEXES).await
    }
}

fn tables(dialect: &Dialect) -> Vec<TableCreateStatement> {
    vec![
        // The key is what makes a lease exclusive, whatever the program does.
        dialect
            .table("gpu_leases")
            .text("machine_id", 64)
            .text("gpu", 80)
            .int("container_id")
            .int("since")
            .primary_key(&["machine_id", "gpu"])
            .refers("container_id", "containers", ForeignKeyAction::Cascade)
            .done(),
        dialect
            .table("quotas")
            .int("account_id")
            .text("class", 20)
            .opt_int("gpus")
            .opt_int("cpu_millis")
            .opt_int("memory_bytes")
            .opt_int("running_containers")
            .primary_key(&["account_id"])
            .refers("account_id", "accounts", ForeignKeyAction::Cascade)
            .done(),
    ]
}

const INDEXES: &[dialect::IndexOf] = &[
    ("gpu_leases", "gpu_leases_container", &["container_id"]),
    ("containers", "containers_queued", &["queued_at", "id"]),
    ("containers", "containers_ends", &["ends_at"]),
];
