//! Tidying up the registry.

use sea_orm::DbErr;
use sea_orm::sea_query::{ForeignKeyAction, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0008_collections"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager).await?;
        dialect::create(manager, tables(&dialect), INDEXES).await
    }
}

fn tables(dialect: &Dialect) -> Vec<TableCreateStatement> {
    vec![
        dialect
            .table("collections")
            .text_id("id", 36)
            .int("account_id")
            .text("state", 20)
            .text("phase", 20)
            .opt_text("reason", 63)
            .opt_text("message", 2000)
            .opt_int("bytes_before")
            .opt_int("bytes_after")
            .int("created_at")
            .opt_int("ended_at")
            .refers("account_id", "accounts", ForeignKeyAction::Restrict)
            .done(),
    ]
}

const INDEXES: &[dialect::IndexOf] = &[("collections", "collections_state", &["state"])];
