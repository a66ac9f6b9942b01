//! Kubernetes: clusters, accounts' namespaces in them, and workloads with every revision that was applied.

use sea_orm::DbErr;
use sea_orm::sea_query::{ForeignKeyAction, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0005_kubernetes"
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
    use ForeignKeyAction::{Cascade, Restrict};

    vec![
        dialect
            .table("clusters")
            .text_id("id", 36)
            .text("name", 63)
            .text("server", 300)
            .opt_long_text("credentials")
            .long_text("pod_ranges")
            .bool("is_default")
            .text("state", 20)
            .int("state_since")
            .opt_text("message", 1000)
            .opt_text("version", 50)
            .int("created_at")
            .unique("clusters_name", &["name"])
            .done(),
        dialect
            .table("namespaces")
            .text_id("id", 36)
            .text("cluster_id", 36)
            .int("account_id")
            .text("name", 63)
            .text("short_name", 63)
            .text("state", 20)
            .int("state_since")
            .opt_text("message", 1000)
            .opt_text("uid", 64)
            .opt_int("pull_secret_until")
            .int("created_at")
            .unique("namespaces_cluster_name", &["cluster_id", "name"])
            .refers("cluster_id", "clusters", Restrict)
            .refers("account_id", "accounts", Restrict)
            .done(),
        dialect
            .table("workloads")
            .text_id("id", 36)
            .text("namespace_id", 36)
            .text("kind", 40)
            .text("name", 253)
            .text("file", 100)
            .text("desired", 20)
            .int("revision")
            .opt_text("uid", 64)
            .int("created_at")
            .int("updated_at")
            .unique("workloads_namespace_kind_name", &["namespace_id", "kind", "name"])
            .refers("namespace_id", "namespaces", Cascade)
            .done(),
        dialect
            .table("workload_revisions")
            .text("workload_id", 36)
            .int("revision")
            .int("account_id")
            .text("file", 100)
            .long_text("content")
            .int("created_at")
            .primary_key(&["workload_id", "revision"])
            .refers("workload_id", "workloads", Cascade)
            .done(),
    ]
}

const INDEXES: &[dialect::IndexOf] = &[("namespaces", "namespaces_account", &["account_id", "id"])];
