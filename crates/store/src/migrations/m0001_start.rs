//! The first schema: accounts, logins, tokens, the audit log, images, builds, jobs, machines, containers, settings and
//! what the registry reported.

use sea_orm::DbErr;
use sea_orm::sea_query::{Expr, ForeignKeyAction, OnConflict, Query, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_start"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager).await?;
        dialect::create(manager, tables(&dialect), INDEXES).await?;
        // A row to lock while a job is claimed, where the engine locks rows.
        let lock = Query::insert()
            .into_table("settings")
            .columns(["name", "value"])
            .values_panic([Expr::val("jobs.lock"), Expr::val("")])
            .on_conflict(OnConflict::column("name").do_nothing_on(["name"]).to_owned())
            .take();
        manager.execute(lock).await
    }
}

fn tables(dialect: &Dialect) -> Vec<TableCreateStatement> {
    use ForeignKeyAction::{Cascade, Restrict, SetNull};

    vec![
        dialect.table("settings").text_id("name", 100).long_text("value").done(),
        dialect
            .table("accounts")
            .number_id()
            .text("account", 31)
            .opt_text("nickname", 200)
            .text("password_hash", 255)
            .opt_text("email", 320)
            .opt_text("phone", 64)
            .opt_text("photo", 500)
            .text("role", 20)
            .text("state", 20)
            .int("created_at")
            .int("updated_at")
            .unique("accounts_account", &["account"])
            .done(),
        dialect
            .table("sessions")
            .text_id("id", 36)
            .int("account_id")
            .int("logged_in_at")
            .int("expires_at")
            .refers("account_id", "accounts", Cascade)
            .done(),
        dialect
            .table("tokens")
            .text_id("id", 36)
            .int("account_id")
            .text("name", 200)
            .text("secret_hash", 64)
            .int("created_at")
            .opt_int("expires_at")
            .opt_int("last_used_at")
            .unique("tokens_secret_hash", &["secret_hash"])
            .refers("account_id", "accounts", Cascade)
            .done(),
        dialect
            .table("audit")
            .number_id()
            .int("at")
            .opt_int("actor_id")
            .opt_int("acting_for_id")
            .text("action", 100)
            .text("target", 500)
            .text("result", 20)
            .opt_text("ip", 64)
            .opt_text("request_id", 100)
            .refers("actor_id", "accounts", SetNull)
            .refers("acting_for_id", "accounts", SetNull)
            .done(),
        dialect
            .table("machines")
            .text_id("id", 64)
            .text("hostname", 255)
            .text("ip", 64)
            .text("url", 255)
            .long_text("cpu")
            .long_text("gpu")
            .long_text("memory")
            .long_text("disk")
            .opt_text("engine_version", 100)
            .text("os", 255)
            .text("architecture", 50)
            .text("registry", 255)
            .text("agent_version", 100)
            .bool("status")
            .text("state", 20)
            .int("state_since")
            .int("last_seen_at")
            .done(),
        dialect
            .table("images")
            .number_id()
            .opt_int("account_id")
            .text("owner", 31)
            .text("repo", 128)
            .opt_text("tag", 128)
            .text("name", 300)
            .text("digest", 71)
            .int("size_bytes")
            .long_text("layers")
            .opt_text("layer_chain", 64)
            .int("layer_count")
            .opt_int("parent_image_id")
            .opt_text("display_name", 200)
            .opt_text("description", 4000)
            .long_text("create_parameters")
            .text("source", 20)
            .opt_text("build_id", 36)
            .text("state", 20)
            .int("created_at")
            .int("updated_at")
            .unique("images_owner_repo_tag", &["owner", "repo", "tag"])
            .refers("account_id", "accounts", Restrict)
            .refers("parent_image_id", "images", Restrict)
            .done(),
        dialect
            .table("builds")
            .text_id("id", 36)
            .int("account_id")
            .text("owner", 31)
            .text("repo", 128)
            .text("tag", 128)
            .text("state", 20)
            .opt_text("reason", 50)
            .opt_long_text("message")
            .text("phase", 20)
            .opt_int("step")
            .opt_int("steps")
            .opt_long_text("step_text")
            .int("pushed_bytes")
            .int("push_total_bytes")
            .int("context_bytes")
            .int("log_bytes")
            .opt_text("machine_id", 64)
            .opt_int("image_id")
            .opt_text("digest", 71)
            .opt_int("size_bytes")
            .long_text("dockerfile")
            .opt_text("context_blob", 200)
            .bool("cancel_requested")
            .int("created_at")
            .int("updated_at")
            .opt_int("started_at")
            .opt_int("ended_at")
            .refers("account_id", "accounts", Restrict)
            .refers("image_id", "images", SetNull)
            .done(),
        dialect
            .table("jobs")
            .text_id("id", 36)
            .text("kind", 40)
            .text("target", 300)
            .opt_int("account_id")
            .text("state", 20)
            .int("run_at")
            .int("attempt")
            .opt_text("lease_owner", 200)
            .opt_int("lease_until")
            .int("epoch")
            .opt_long_text("last_error")
            .int("created_at")
            .refers("account_id", "accounts", Cascade)
            .done(),
        dialect
            .table("containers")
            .number_id()
            .int("account_id")
            .text("name", 63)
            .opt_text("display_name", 200)
            .text("machine_id", 64)
            .int("image_id")
            .text("image_name", 300)
            .text("image_repository", 160)
            .text("image_digest", 71)
            .long_text("spec")
            .opt_int("port")
            .text("desired", 20)
            .bool("restart_requested")
            .int("stop_timeout_secs")
            .bool("status")
            .text("state", 20)
            .int("state_since")
            .opt_text("reason", 50)
            .opt_long_text("message")
            .opt_int("exit_code")
            .opt_text("engine_id", 128)
            .int("attempt")
            .int("created_at")
            .int("updated_at")
            .unique("containers_account_name", &["account_id", "name"])
            .refers("account_id", "accounts", Restrict)
            .refers("machine_id", "machines", Restrict)
            .refers("image_id", "images", Restrict)
            .done(),
        dialect
            .table("container_ports")
            .text("machine_id", 64)
            .text("protocol", 10)
            .int("host_port")
            .int("container_id")
            .primary_key(&["machine_id", "protocol", "host_port"])
            .refers("container_id", "containers", Cascade)
            .done(),
        dialect
            .table("registry_events")
            .number_id()
            .int("at")
            .text("event_id", 100)
            .text("action", 50)
            .text("repository", 255)
            .opt_text("tag", 128)
            .opt_text("digest", 71)
            .opt_text("actor", 100)
            .opt_int("size_bytes")
            .unique("registry_events_event_id", &["event_id"])
            .done(),
    ]
}

const INDEXES: &[dialect::IndexOf] = &[
    ("sessions", "sessions_account", &["account_id"]),
    ("sessions", "sessions_expires", &["expires_at"]),
    ("tokens", "tokens_account", &["account_id", "id"]),
    ("audit", "audit_actor", &["actor_id", "id"]),
    ("audit", "audit_acting_for", &["acting_for_id"]),
    ("audit", "audit_action", &["action", "id"]),
    ("audit", "audit_target", &["target", "id"]),
    ("images", "images_owner", &["owner", "id"]),
    ("images", "images_repository", &["owner", "repo", "id"]),
    ("images", "images_digest", &["owner", "repo", "digest"]),
    ("images", "images_parent", &["parent_image_id"]),
    ("images", "images_layer_chain", &["layer_chain"]),
    ("images", "images_account", &["account_id"]),
    ("builds", "builds_account", &["account_id", "id"]),
    ("builds", "builds_state", &["state", "created_at", "id"]),
    ("builds", "builds_image", &["image_id"]),
    ("jobs", "jobs_state", &["state", "kind", "created_at", "id"]),
    ("jobs", "jobs_account", &["account_id", "kind", "state"]),
    ("jobs", "jobs_target", &["kind", "target"]),
    ("containers", "containers_account", &["account_id", "id"]),
    ("containers", "containers_machine", &["machine_id", "id"]),
    ("containers", "containers_image", &["image_id"]),
    ("containers", "containers_state", &["desired", "state"]),
    ("container_ports", "container_ports_container", &["container_id"]),
    ("registry_events", "registry_events_at", &["at"]),
];
