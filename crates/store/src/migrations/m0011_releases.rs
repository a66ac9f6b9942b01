//! What is done to releases, and which of it goes on.

use sea_orm::DbErr;
use sea_orm::sea_query::TableCreateStatement;
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0011_releases"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager).await?;
        dialect.add_opt_text(manager, "releases", "operation_id", 36).await?;
        dialect::create(manager, tables(&dialect), INDEXES).await
    }
}

fn tables(dialect: &Dialect) -> Vec<TableCreateStatement> {
    vec![
        // Without a reference to the release: how it was removed can be read when it is gone.
        dialect
            .table("release_operations")
            .text_id("id", 36)
            .text("release_id", 36)
            .int("account_id")
            .text("cluster", 63)
            .text("namespace", 63)
            .text("name", 53)
            .text("action", 20)
            .text("chart", 400)
            .text("state", 20)
            .opt_text("reason", 64)
            .opt_text("message", 4000)
            .opt_long_text("payload")
            .int("base_revision")
            .opt_int("revision")
            .bool("cancel_requested")
            .int("created_at")
            .opt_int("started_at")
            .opt_int("ended_at")
            .done(),
    ]
}

const INDEXES: &[dialect::IndexOf] = &[
    ("release_operations", "release_operations_release", &["release_id", "id"]),
    ("release_operations", "release_operations_account", &["account_id", "id"]),
];
