//! What happened to containers; what people call machines.

use sea_orm::DbErr;
use sea_orm::sea_query::{ForeignKeyAction, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0017_container_events"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager).await?;
        let index = ("container_events", "container_events_container", &["container_id", "id"][..]);
        dialect::create(manager, tables(&dialect), &[index]).await?;
        dialect.add_opt_text(manager, "machines", "label", 200).await
    }
}

fn tables(dialect: &Dialect) -> Vec<TableCreateStatement> {
    vec![
        dialect
            .table("container_events")
            .number_id()
            .int("container_id")
            .int("at")
            .text("state", 20)
            .opt_text("reason", 50)
            .opt_long_text("message")
            .opt_int("exit_code")
            .refers("container_id", "containers", ForeignKeyAction::Cascade)
            .done(),
    ]
}
