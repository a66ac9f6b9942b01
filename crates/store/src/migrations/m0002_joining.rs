//! How machines join: invitations, the keys by which machines prove who they are, and whether a machine takes new work.

use sea_orm::DbErr;
use sea_orm::sea_query::{ForeignKeyAction, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0002_joining"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager).await?;
        dialect::create(manager, tables(&dialect), INDEXES).await?;
        dialect.add_opt_int(manager, "machines", "drained_at").await?;
        dialect.add_opt_text(manager, "machines", "drain_reason", 200).await
    }
}

fn tables(dialect: &Dialect) -> Vec<TableCreateStatement> {
    use ForeignKeyAction::{Cascade, SetNull};

    vec![
        dialect
            .table("invites")
            .text_id("id", 36)
            .int("account_id")
            .text("secret_hash", 64)
            .int("created_at")
            .int("expires_at")
            .unique("invites_secret_hash", &["secret_hash"])
            .refers("account_id", "accounts", Cascade)
            .done(),
        dialect
            .table("machine_keys")
            .text("machine_id", 64)
            .text("public_key", 64)
            .opt_int("account_id")
            .int("joined_at")
            .opt_int("quarantined_at")
            .opt_long_text("quarantine_reason")
            .primary_key(&["machine_id"])
            .unique("machine_keys_public_key", &["public_key"])
            .refers("account_id", "accounts", SetNull)
            .done(),
    ]
}

const INDEXES: &[dialect::IndexOf] = &[
    ("invites", "invites_account", &["account_id"]),
    ("invites", "invites_expires", &["expires_at"]),
    ("machine_keys", "machine_keys_account", &["account_id"]),
];
