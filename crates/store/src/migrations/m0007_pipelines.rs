//! Pipelines: git repositories, their runs, the runners that execute them, what happened, and who is to hear of it.

use sea_orm::DbErr;
use sea_orm::sea_query::{ForeignKeyAction, TableCreateStatement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::dialect::{self, Dialect};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0007_pipelines"
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
            .table("git_repos")
            .number_id()
            .text("uuid", 36)
            .int("account_id")
            .text("repo_name", 150)
            .text("url", 400)
            .opt_long_text("credential")
            .text("branch", 150)
            .text("tag", 100)
            .text("build_path", 150)
            .text("dockerfile", 150)
            .text("job", 100)
            .text("kind", 20)
            .text("image", 150)
            .text("description", 200)
            .opt_long_text("ca_secret")
            .text("name", 50)
            .opt_long_text("ssh_key")
            .opt_long_text("known_hosts")
            .opt_long_text("webhook_secret")
            .opt_long_text("status_token")
            .long_text("options")
            .opt_text("last_commit", 64)
            .opt_int("next_look_at")
            .int("created_at")
            .int("updated_at")
            .unique("git_repos_account_name", &["account_id", "repo_name"])
            .refers("account_id", "accounts", Restrict)
            .done(),
        dialect
            .table("runs")
            .number_id()
            .text("uuid", 36)
            .int("account_id")
            .int("git_repo_id")
            .text("name", 100)
            .text("state", 20)
            .opt_text("reason", 50)
            .opt_long_text("message")
            .text("repo_name", 150)
            .text("job", 100)
            .text("kind", 50)
            .text("image", 200)
            .text("image_tag", 128)
            .text("git_ref", 300)
            .opt_text("commit_id", 64)
            .text("description", 300)
            .text("cause", 20)
            .text("executor", 20)
            .long_text("steps")
            .bool("cancel_requested")
            .opt_int("retry_of")
            .opt_text("digest", 71)
            .int("created_at")
            .opt_int("started_at")
            .opt_int("ended_at")
            .unique("runs_uuid", &["uuid"])
            .unique("runs_account_name", &["account_id", "name"])
            .refers("account_id", "accounts", Restrict)
            .refers("git_repo_id", "git_repos", Cascade)
            .done(),
        dialect
            .table("runners")
            .number_id()
            .text("uuid", 36)
            .int("account_id")
            .opt_int("run_id")
            .text("name", 100)
            .text("state", 20)
            .text("kind", 50)
            .text("registry_address", 150)
            .text("registry_name", 150)
            .opt_long_text("registry_password")
            .text("image_repo", 150)
            .text("image_name", 150)
            .text("image_tag", 150)
            .text("repo_path", 400)
            .text("repo_dockerfile", 150)
            .text("build_path", 150)
            .text("description", 200)
            .int("created_at")
            .unique("runners_uuid", &["uuid"])
            .refers("account_id", "accounts", Restrict)
            .refers("run_id", "runs", Cascade)
            .done(),
        dialect
            .table("run_log")
            .number_id()
            .int("account_id")
            .int("git_repo_id")
            .opt_int("run_id")
            .text("repo_name", 150)
            .text("event_uuid", 36)
            .text("runner_uuid", 36)
            .long_text("msg")
            .int("updated_at")
            .refers("account_id", "accounts", Restrict)
            .refers("git_repo_id", "git_repos", Cascade)
            .refers("run_id", "runs", Cascade)
            .done(),
        dialect
            .table("webhook_deliveries")
            .number_id()
            .int("git_repo_id")
            .text("delivery", 100)
            .text("provider", 20)
            .text("event", 100)
            .int("status")
            .long_text("answer")
            .opt_int("run_id")
            .int("received_at")
            .unique("webhook_deliveries_delivery", &["git_repo_id", "delivery"])
            .refers("git_repo_id", "git_repos", Cascade)
            .done(),
        dialect
            .table("notification_targets")
            .number_id()
            .text("uuid", 36)
            .int("git_repo_id")
            .text("kind", 20)
            .long_text("address")
            .opt_long_text("secret")
            .opt_text("last_result", 500)
            .opt_int("last_at")
            .int("created_at")
            .refers("git_repo_id", "git_repos", Cascade)
            .done(),
    ]
}

const INDEXES: &[dialect::IndexOf] = &[
    ("git_repos", "git_repos_account", &["account_id", "id"]),
    ("git_repos", "git_repos_next_look", &["next_look_at"]),
    ("runs", "runs_account", &["account_id", "id"]),
    ("runs", "runs_git_repo", &["git_repo_id", "id"]),
    ("runs", "runs_state", &["state", "id"]),
    ("runners", "runners_account", &["account_id", "id"]),
    ("runners", "runners_run", &["run_id"]),
    ("runners", "runners_name", &["account_id", "name"]),
    ("run_log", "run_log_account", &["account_id", "id"]),
    ("run_log", "run_log_git_repo", &["git_repo_id", "id"]),
    ("run_log", "run_log_run", &["run_id", "id"]),
    ("run_log", "run_log_event", &["event_uuid"]),
    ("notification_targets", "notification_targets_git_repo", &["git_repo_id"]),
];
