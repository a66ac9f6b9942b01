//! Secrets of git repositories that steps of their builds may read.

use sea_orm::DbErr;
use sea_orm::sea_query::{ForeignKeyAction, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0016_git_repo_secrets"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager).await?;
        dialect::create(manager, tables(&dialect), &[]).await
    }
}

fn tables(dialect: &Dialect) -> Vec<TableCreateStatement> {
    vec![
        dialect
            .table("git_repo_secrets")
            .number_id()
            .text("uuid", 36)
            .int("git_repo_id")
            .text("name", 64)
            .long_text("value")
            .int("created_at")
            .int("updated_at")
            .unique("git_repo_secrets_name", &["git_repo_id", "name"])
            .refers("git_repo_id", "git_repos", ForeignKeyAction::Cascade)
            .done(),
    ]
}
