//! Keys by which signed charts are verified, and whether a repository's charts must be.

use sea_orm::DbErr;
use sea_orm::sea_query::{ForeignKeyAction, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0015_chart_keys"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager).await?;
        // Nothing: signatures are shown and not required.
        dialect.add_opt_text(manager, "chart_repos", "signatures", 20).await?;
        dialect::create(manager, tables(&dialect), INDEXES).await
    }
}

fn tables(dialect: &Dialect) -> Vec<TableCreateStatement> {
    use ForeignKeyAction::{Cascade, Restrict};

    vec![
        dialect
            .table("chart_keys")
            .text_id("id", 36)
            // None: it counts for every repository.
            .opt_text("repo_id", 36)
            .int("account_id")
            .text("identity", 500)
            .text("fingerprint", 64)
            .long_text("armored")
            .int("created_at")
            .refers("repo_id", "chart_repos", Cascade)
            .refers("account_id", "accounts", Restrict)
            .done(),
    ]
}

const INDEXES: &[dialect::IndexOf] = &[("chart_keys", "chart_keys_repo", &["repo_id"])];
