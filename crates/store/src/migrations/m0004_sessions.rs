//! What containers leave and keep: logs of those that are gone, volumes, limits that are to be changed, and saving one
//! as an image, which is a build of another kind.

use sea_orm::DbErr;
use sea_orm::sea_query::{ForeignKeyAction, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0004_sessions"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager).await?;
        dialect::create(manager, tables(&dialect), INDEXES).await?;
        dialect.add_opt_long_text(manager, "containers", "wished_limits").await?;
        dialect.add_opt_int(manager, "builds", "container_id").await?;
        dialect.add_opt_text(manager, "builds", "note", 1000).await?;
        dialect.add_opt_long_text(manager, "builds", "parameters").await
    }
}

fn tables(dialect: &Dialect) -> Vec<TableCreateStatement> {
    use ForeignKeyAction::{Cascade, Restrict};

    vec![
        dialect
            .table("kept_logs")
            .int("container_id")
            .int("account_id")
            .text("name", 63)
            .text("image_name", 300)
            .text("machine_id", 64)
            .int("bytes")
            .int("dropped_bytes")
            .int("removed_at")
            .primary_key(&["container_id"])
            .refers("account_id", "accounts", Cascade)
            .done(),
        dialect
            .table("volumes")
            .number_id()
            .int("account_id")
            .text("machine_id", 64)
            .text("name", 63)
            .text("state", 20)
            .int("created_at")
            .unique("volumes_account_machine_name", &["account_id", "machine_id", "name"])
            .refers("account_id", "accounts", Restrict)
            .refers("machine_id", "machines", Restrict)
            .done(),
        dialect
            .table("container_volumes")
            .int("container_id")
            .int("volume_id")
            .primary_key(&["container_id", "volume_id"])
            .refers("container_id", "containers", Cascade)
            .refers("volume_id", "volumes", Restrict)
            .done(),
    ]
}

const INDEXES: &[dialect::IndexOf] = &[
    ("kept_logs", "kept_logs_account", &["account_id", "container_id"]),
    ("kept_logs", "kept_logs_removed", &["removed_at"]),
    ("volumes", "volumes_account", &["account_id", "id"]),
    ("volumes", "volumes_machine", &["machine_id"]),
    ("container_volumes", "container_volumes_volume", &["volume_id"]),
];
