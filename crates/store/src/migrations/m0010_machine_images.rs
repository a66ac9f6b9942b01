//! Which images the machines have, and which they are to have; containers that are started again.

use sea_orm::DbErr;
use sea_orm::sea_query::TableCreateStatement;
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0010_machine_images"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager).await?;
        dialect.add_opt_text(manager, "containers", "restart_policy", 20).await?;
        dialect.add_opt_int(manager, "containers", "restarts").await?;
        dialect::create(manager, tables(&dialect), INDEXES).await
    }
}

fn tables(dialect: &Dialect) -> Vec<TableCreateStatement> {
    vec![
        // Without references: what a machine has is there whatever becomes of the rows of the image.
        dialect
            .table("machine_images")
            .text("machine_id", 64)
            .text("repository", 300)
            .text("digest", 100)
            .text("state", 20)
            .opt_int("size_bytes")
            .int("last_used_at")
            .opt_int("account_id")
            .int("attempt")
            .opt_text("message", 1000)
            .primary_key(&["machine_id", "repository", "digest"])
            .done(),
    ]
}

const INDEXES: &[dialect::IndexOf] = &[
    ("machine_images", "machine_images_image", &["repository", "digest"]),
    ("machine_images", "machine_images_state", &["state"]),
];
