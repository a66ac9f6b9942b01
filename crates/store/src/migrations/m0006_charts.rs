//! Chart repositories, their charts with all versions, how they were synced, and what was installed from them.

use sea_orm::DbErr;
use sea_orm::sea_query::{ForeignKeyAction, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0006_charts"
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
            .table("chart_repos")
            .text_id("id", 36)
            .int("account_id")
            // Where its name is unique: empty among the public ones, otherwise its account's number.
            .text("scope", 20)
            .text("name", 128)
            .text("url", 2048)
            .text("kind", 20)
            .text("backend", 20)
            .bool("is_public")
            .opt_text("description", 1000)
            .opt_text("username", 256)
            .opt_long_text("password")
            .opt_long_text("ca_certificate")
            .int("sync_minutes")
            .int("revision")
            .text("state", 20)
            .opt_text("error_code", 64)
            .opt_text("error", 1000)
            .int("failures")
            .opt_int("last_sync_at")
            .opt_text("etag", 512)
            .opt_text("last_modified", 128)
            .opt_text("body_hash", 64)
            .int("index_bytes")
            .int("chart_count")
            .int("version_count")
            .int("skipped_count")
            .int("created_at")
            .int("updated_at")
            .unique("chart_repos_scope_name", &["scope", "name"])
            .refers("account_id", "accounts", Restrict)
            .done(),
        dialect
            .table("charts")
            .number_id()
            .text("repo_id", 36)
            .text("name", 250)
            .text("version", 128)
            .opt_text("app_version", 128)
            .text("description", 2000)
            .long_text("keywords")
            .opt_text("category", 100)
            .opt_int("published_at")
            .bool("is_deprecated")
            .int("version_count")
            .text("content_hash", 64)
            .long_text("metadata")
            .int("updated_at")
            .unique("charts_repo_name", &["repo_id", "name"])
            .refers("repo_id", "chart_repos", Cascade)
            .done(),
        dialect
            .table("chart_versions")
            .int("chart_id")
            .int("page")
            .long_text("versions")
            .primary_key(&["chart_id", "page"])
            .refers("chart_id", "charts", Cascade)
            .done(),
        dialect
            .table("chart_syncs")
            .text_id("id", 36)
            .text("repo_id", 36)
            .text("cause", 20)
            .text("state", 20)
            .opt_text("reason", 64)
            .opt_text("message", 1000)
            .int("started_at")
            .opt_int("ended_at")
            .int("fetched_bytes")
            .int("index_bytes")
            .int("chart_count")
            .int("version_count")
            .int("changed_count")
            .int("skipped_count")
            .int("replaced_count")
            .long_text("problems")
            .refers("repo_id", "chart_repos", Cascade)
            .done(),
        dialect
            .table("chart_packages")
            .text("repo_id", 36)
            .text("chart", 250)
            .text("version", 128)
            .text("digest", 64)
            .int("first_seen_at")
            .primary_key(&["repo_id", "chart", "version"])
            .refers("repo_id", "chart_repos", Cascade)
            .done(),
        dialect
            .table("releases")
            .text_id("id", 36)
            .int("account_id")
            .text("cluster", 63)
            .text("namespace", 63)
            .text("name", 53)
            .text("kind", 20)
            .opt_text("repo_id", 36)
            .text("repo_name", 128)
            .text("chart", 250)
            .text("chart_version", 128)
            .opt_text("app_version", 128)
            .int("revision")
            .text("state", 20)
            .text("wish", 20)
            .opt_text("reason", 64)
            .opt_text("message", 1000)
            .opt_long_text("wish_details")
            .int("created_at")
            .int("updated_at")
            .unique("releases_place_name", &["cluster", "namespace", "name"])
            .refers("account_id", "accounts", Restrict)
            .refers("repo_id", "chart_repos", Restrict)
            .done(),
    ]
}

const INDEXES: &[dialect::IndexOf] = &[
    ("chart_repos", "chart_repos_account", &["account_id"]),
    ("charts", "charts_name", &["name"]),
    ("chart_syncs", "chart_syncs_repo", &["repo_id", "id"]),
    ("chart_syncs", "chart_syncs_state", &["state"]),
    ("releases", "releases_account", &["account_id"]),
    ("releases", "releases_repo", &["repo_id"]),
];
