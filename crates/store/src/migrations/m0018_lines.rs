//! How many of an account's runs and builds wait is counted without those that ended; a change that nobody made in another's
//! name stays out of an index that it has no use for.

use sea_orm::sea_query::{ConditionalStatement, Expr, ExprTrait, Index};
use sea_orm::{DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, IndexOf};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0018_lines"
    }
}

const INDEXES: &[IndexOf] = &[
    ("runs", "runs_account_state", &["account_id", "state"]),
    ("builds", "builds_account_state", &["account_id", "state"]),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::create(manager, Vec::new(), INDEXES).await?;
        // MySQL has no index of some rows, and needs one for the reference.
        if manager.get_database_backend() == DbBackend::MySql {
            return Ok(());
        }
        if !manager.has_index("audit", "audit_acting").await? {
            let mut index = Index::create();
            index.name("audit_acting").table("audit").col("acting_for_id");
            manager.create_index(index.and_where(Expr::col("acting_for_id").is_not_null()).take()).await?;
        }
        if manager.has_index("audit", "audit_acting_for").await? {
            let mut index = Index::drop();
            index.name("audit_acting_for").table("audit");
            manager.drop_index(index).await?;
        }
        Ok(())
    }
}
