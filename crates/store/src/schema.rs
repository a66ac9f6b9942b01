//! The tables as data, for what handles all of them alike. Kept in step with the migrations by a test.

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Text,
    Bool,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) is_nullable: bool,
}

/// A table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Its primary key.
    pub(crate) key: &'static [&'static str],
    /// Whether the database numbers its rows.
    pub(crate) is_numbered: bool,
    pub(crate) columns: &'static [Column],
}

const fn int(name: &'static str) -> Column {
    Column { name, kind: Kind::Int, is_nullable: false }
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text, is_nullable: false }
}

const fn bool(name: &'static str) -> Column {
    Column { name, kind: Kind::Bool, is_nullable: false }
}

const fn opt(column: Column) -> Column {
    Column { is_nullable: true, ..column }
}

const fn table(name: &'static str, key: &'static [&'static str], columns: &'static [Column]) -> Table {
    Table { name, key, is_numbered: false, columns }
}

const fn numbered(name: &'static str, columns: &'static [Column]) -> Table {
    Table { name, key: &["id"], is_numbered: true, columns }
}

/// Every table but the one of the migrations, each after those that it refers to. Rows of one table refer only to rows
/// of it with smaller keys.
pub(crate) const TABLES: &[Table] = &[
    table("settings", &["name"], &[text("name"), text("value")]),
    numbered(
        "accounts",
        &[
            int("id"),
            text("account"),
            opt(text("nickname")),
            text("password_hash"),
            opt(text("email")),
            opt(text("phone")),
            opt(text("photo")),
            text("role"),
            text("state"),
            int("created_at"),
            int("updated_at"),
        ],
    ),
    table("sessions", &["id"], &[text("id"), int("account_id"), int("logged_in_at"), int("expires_at")]),
    table(
        "tokens",
        &["id"],
        &[
            text("id"),
            int("account_id"),
            text("name"),
            text("secret_hash"),
            int("created_at"),
            opt(int("expires_at")),
            opt(int("last_used_at")),
        ],
    ),
    numbered(
        "audit",
        &[
            int("id"),
            int("at"),
            opt(int("actor_id")),
            opt(int("acting_for_id")),
            text("action"),
            text("target"),
            text("result"),
            opt(text("ip")),
            opt(text("request_id")),
        ],
    ),
    table(
        "machines",
        &["id"],
        &[
            text("id"),
            text("hostname"),
            text("ip"),
            text("url"),
            text("cpu"),
            text("gpu"),
            text("memory"),
            text("disk"),
            opt(text("engine_version")),
            text("os"),
            text("architecture"),
            text("registry"),
            text("agent_version"),
            opt(text("lan")),
            bool("status"),
            text("state"),
            int("state_since"),
            int("last_seen_at"),
            opt(int("drained_at")),
            opt(text("drain_reason")),
            opt(text("label")),
        ],
    ),
    table(
        "invites",
        &["id"],
        &[text("id"), int("account_id"), text("secret_hash"), int("created_at"), int("expires_at")],
    ),
    table(
        "machine_keys",
        &["machine_id"],
        &[
            text("machine_id"),
            text("public_key"),
            opt(int("account_id")),
            int("joined_at"),
            opt(int("quarantined_at")),
            opt(text("quarantine_reason")),
        ],
    ),
    numbered(
        "images",
        &[
            int("id"),
            opt(int("account_id")),
            text("owner"),
            text("repo"),
            opt(text("tag")),
            text("name"),
            text("digest"),
            int("size_bytes"),
            text("layers"),
            opt(text("layer_chain")),
            int("layer_count"),
            opt(int("parent_image_id")),
            opt(text("display_name")),
            opt(text("description")),
            text("create_parameters"),
            text("source"),
            opt(text("build_id")),
            text("state"),
            int("created_at"),
            int("updated_at"),
        ],
    ),
    table(
        "builds",
        &["id"],
        &[
            text("id"),
            int("account_id"),
            text("owner"),
            text("repo"),
            text("tag"),
            text("state"),
            opt(text("reason")),
            opt(text("message")),
            text("phase"),
            opt(int("step")),
            opt(int("steps")),
            opt(text("step_text")),
            int("pushed_bytes"),
            int("push_total_bytes"),
            int("context_bytes"),
            int("log_bytes"),
            opt(text("machine_id")),
            opt(int("image_id")),
            opt(text("digest")),
            opt(int("size_bytes")),
            text("dockerfile"),
            opt(text("context_blob")),
            bool("cancel_requested"),
            int("created_at"),
            int("updated_at"),
            opt(int("started_at")),
            opt(int("ended_at")),
            opt(int("container_id")),
            opt(text("note")),
            opt(text("parameters")),
        ],
    ),
    table(
        "jobs",
        &["id"],
        &[
            text("id"),
            text("kind"),
            text("target"),
            opt(int("account_id")),
            text("state"),
            int("run_at"),
            int("attempt"),
            opt(text("lease_owner")),
            opt(int("lease_until")),
            int("epoch"),
            opt(text("last_error")),
            int("created_at"),
        ],
    ),
    numbered(
        "containers",
        &[
            int("id"),
            int("account_id"),
            text("name"),
            opt(text("display_name")),
            text("machine_id"),
            int("image_id"),
            text("image_name"),
            text("image_repository"),
            text("image_digest"),
            text("spec"),
            opt(int("port")),
            text("desired"),
            bool("restart_requested"),
            int("stop_timeout_secs"),
            bool("status"),
            text("state"),
            int("state_since"),
            opt(text("reason")),
            opt(text("message")),
            opt(int("exit_code")),
            opt(text("engine_id")),
            int("attempt"),
            int("created_at"),
            int("updated_at"),
            opt(text("wished_limits")),
            opt(text("gpu_wish")),
            opt(int("leased_at")),
            opt(int("queued_at")),
            opt(text("placement")),
            opt(text("copy_of")),
            opt(int("max_duration_secs")),
            opt(int("ends_at")),
            opt(text("restart_policy")),
            opt(int("restarts")),
            opt(text("made_from")),
            opt(int("restart_of")),
        ],
    ),
    table(
        "container_ports",
        &["machine_id", "protocol", "host_port"],
        &[text("machine_id"), text("protocol"), int("host_port"), int("container_id")],
    ),
    table(
        "gpu_leases",
        &["machine_id", "gpu"],
        &[text("machine_id"), text("gpu"), int("container_id"), int("since")],
    ),
    table(
        "quotas",
        &["account_id"],
        &[
            int("account_id"),
            text("class"),
            opt(int("gpus")),
            opt(int("cpu_millis")),
            opt(int("memory_bytes")),
            opt(int("running_containers")),
            opt(int("disk_bytes")),
        ],
    ),
    table(
        "machine_images",
        &["machine_id", "repository", "digest"],
        &[
            text("machine_id"),
            text("repository"),
            text("digest"),
            text("state"),
            opt(int("size_bytes")),
            int("last_used_at"),
            opt(int("account_id")),
            int("attempt"),
            opt(text("message")),
        ],
    ),
    table(
        "kept_logs",
        &["container_id"],
        &[
            int("container_id"),
            int("account_id"),
            text("name"),
            text("image_name"),
            text("machine_id"),
            int("bytes"),
            int("dropped_bytes"),
            int("removed_at"),
        ],
    ),
    numbered(
        "volumes",
        &[int("id"), int("account_id"), text("machine_id"), text("name"), text("state"), int("created_at")],
    ),
    table("container_volumes", &["container_id", "volume_id"], &[int("container_id"), int("volume_id")]),
    table(
        "chart_repos",
        &["id"],
        &[
            text("id"),
            int("account_id"),
            text("scope"),
            text("name"),
            text("url"),
            text("kind"),
            text("backend"),
            bool("is_public"),
            opt(text("description")),
            opt(text("username")),
            opt(text("password")),
            opt(text("ca_certificate")),
            int("sync_minutes"),
            int("revision"),
            text("state"),
            opt(text("error_code")),
            opt(text("error")),
            int("failures"),
            opt(int("last_sync_at")),
            opt(text("etag")),
            opt(text("last_modified")),
            opt(text("body_hash")),
            int("index_bytes"),
            int("chart_count"),
            int("version_count"),
            int("skipped_count"),
            int("created_at"),
            int("updated_at"),
            opt(text("signatures")),
        ],
    ),
    table(
        "chart_keys",
        &["id"],
        &[
            text("id"),
            opt(text("repo_id")),
            int("account_id"),
            text("identity"),
            text("fingerprint"),
            text("armored"),
            int("created_at"),
        ],
    ),
    numbered(
        "charts",
        &[
            int("id"),
            text("repo_id"),
            text("name"),
            text("version"),
            opt(text("app_version")),
            text("description"),
            text("keywords"),
            opt(text("category")),
            opt(int("published_at")),
            bool("is_deprecated"),
            int("version_count"),
            text("content_hash"),
            text("metadata"),
            int("updated_at"),
        ],
    ),
    table("chart_versions", &["chart_id", "page"], &[int("chart_id"), int("page"), text("versions")]),
    table(
        "chart_syncs",
        &["id"],
        &[
            text("id"),
            text("repo_id"),
            text("cause"),
            text("state"),
            opt(text("reason")),
            opt(text("message")),
            int("started_at"),
            opt(int("ended_at")),
            int("fetched_bytes"),
            int("index_bytes"),
            int("chart_count"),
            int("version_count"),
            int("changed_count"),
            int("skipped_count"),
            int("replaced_count"),
            text("problems"),
        ],
    ),
    table(
        "chart_packages",
        &["repo_id", "chart", "version"],
        &[text("repo_id"), text("chart"), text("version"), text("digest"), int("first_seen_at")],
    ),
    table(
        "releases",
        &["id"],
        &[
            text("id"),
            int("account_id"),
            text("cluster"),
            text("namespace"),
            text("name"),
            text("kind"),
            opt(text("repo_id")),
            text("repo_name"),
            text("chart"),
            text("chart_version"),
            opt(text("app_version")),
            int("revision"),
            text("state"),
            text("wish"),
            opt(text("reason")),
            opt(text("message")),
            opt(text("wish_details")),
            int("created_at"),
            int("updated_at"),
            opt(text("operation_id")),
        ],
    ),
    table(
        "release_operations",
        &["id"],
        &[
            text("id"),
            text("release_id"),
            int("account_id"),
            text("cluster"),
            text("namespace"),
            text("name"),
            text("action"),
            text("chart"),
            text("state"),
            opt(text("reason")),
            opt(text("message")),
            opt(text("payload")),
            int("base_revision"),
            opt(int("revision")),
            bool("cancel_requested"),
            int("created_at"),
            opt(int("started_at")),
            opt(int("ended_at")),
        ],
    ),
    table(
        "collections",
        &["id"],
        &[
            text("id"),
            int("account_id"),
            text("state"),
            text("phase"),
            opt(text("reason")),
            opt(text("message")),
            opt(int("bytes_before")),
            opt(int("bytes_after")),
            int("created_at"),
            opt(int("ended_at")),
        ],
    ),
    table(
        "clusters",
        &["id"],
        &[
            text("id"),
            text("name"),
            text("server"),
            opt(text("credentials")),
            text("pod_ranges"),
            bool("is_default"),
            text("state"),
            int("state_since"),
            opt(text("message")),
            opt(text("version")),
            int("created_at"),
        ],
    ),
    table(
        "namespaces",
        &["id"],
        &[
            text("id"),
            text("cluster_id"),
            int("account_id"),
            text("name"),
            text("short_name"),
            text("state"),
            int("state_since"),
            opt(text("message")),
            opt(text("uid")),
            opt(int("pull_secret_until")),
            int("created_at"),
        ],
    ),
    table(
        "workloads",
        &["id"],
        &[
            text("id"),
            text("namespace_id"),
            text("kind"),
            text("name"),
            text("file"),
            text("desired"),
            int("revision"),
            opt(text("uid")),
            int("created_at"),
            int("updated_at"),
        ],
    ),
    table(
        "workload_revisions",
        &["workload_id", "revision"],
        &[
            text("workload_id"),
            int("revision"),
            int("account_id"),
            text("file"),
            text("content"),
            int("created_at"),
        ],
    ),
    numbered(
        "registry_events",
        &[
            int("id"),
            int("at"),
            text("event_id"),
            text("action"),
            text("repository"),
            opt(text("tag")),
            opt(text("digest")),
            opt(text("actor")),
            opt(int("size_bytes")),
        ],
    ),
    numbered(
        "git_repos",
        &[
            int("id"),
            text("uuid"),
            int("account_id"),
            text("repo_name"),
            text("url"),
            opt(text("credential")),
            text("branch"),
            text("tag"),
            text("build_path"),
            text("dockerfile"),
            text("job"),
            text("kind"),
            text("image"),
            text("description"),
            opt(text("ca_secret")),
            text("name"),
            opt(text("ssh_key")),
            opt(text("known_hosts")),
            opt(text("webhook_secret")),
            opt(text("status_token")),
            text("options"),
            opt(text("last_commit")),
            opt(int("next_look_at")),
            int("created_at"),
            int("updated_at"),
        ],
    ),
    numbered(
        "runs",
        &[
            int("id"),
            text("uuid"),
            int("account_id"),
            int("git_repo_id"),
            text("name"),
            text("state"),
            opt(text("reason")),
            opt(text("message")),
            text("repo_name"),
            text("job"),
            text("kind"),
            text("image"),
            text("image_tag"),
            text("git_ref"),
            opt(text("commit_id")),
            text("description"),
            text("cause"),
            text("executor"),
            text("steps"),
            bool("cancel_requested"),
            opt(int("retry_of")),
            opt(text("digest")),
            int("created_at"),
            opt(int("started_at")),
            opt(int("ended_at")),
        ],
    ),
    numbered(
        "runners",
        &[
            int("id"),
            text("uuid"),
            int("account_id"),
            opt(int("run_id")),
            text("name"),
            text("state"),
            text("kind"),
            text("registry_address"),
            text("registry_name"),
            opt(text("registry_password")),
            text("image_repo"),
            text("image_name"),
            text("image_tag"),
            text("repo_path"),
            text("repo_dockerfile"),
            text("build_path"),
            text("description"),
            int("created_at"),
        ],
    ),
    numbered(
        "run_log",
        &[
            int("id"),
            int("account_id"),
            int("git_repo_id"),
            opt(int("run_id")),
            text("repo_name"),
            text("event_uuid"),
            text("runner_uuid"),
            text("msg"),
            int("updated_at"),
        ],
    ),
    numbered(
        "webhook_deliveries",
        &[
            int("id"),
            int("git_repo_id"),
            text("delivery"),
            text("provider"),
            text("event"),
            int("status"),
            text("answer"),
            opt(int("run_id")),
            int("received_at"),
        ],
    ),
    numbered(
        "notification_targets",
        &[
            int("id"),
            text("uuid"),
            int("git_repo_id"),
            text("kind"),
            text("address"),
            opt(text("secret")),
            opt(text("last_result")),
            opt(int("last_at")),
            int("created_at"),
        ],
    ),
    numbered(
        "git_repo_secrets",
        &[
            int("id"),
            text("uuid"),
            int("git_repo_id"),
            text("name"),
            text("value"),
            int("created_at"),
            int("updated_at"),
        ],
    ),
    numbered(
        "container_events",
        &[
            int("id"),
            int("container_id"),
            int("at"),
            text("state"),
            opt(text("reason")),
            opt(text("message")),
            opt(int("exit_code")),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Conn, Db};
    use crate::sql::Cells;

    #[tokio::test]
    async fn the_tables_are_those_that_the_migrations_make() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite:{}", folder.path().join("db").display())).await.unwrap();
        db.migrate().await.unwrap();

        let made = db
            .on()
            .rows_raw(
                "SELECT t.name || ' ' || c.name || ' ' || c.type || CASE WHEN c.\"notnull\" OR c.pk THEN '' ELSE ' null' END AS line \
                 FROM sqlite_master t JOIN pragma_table_info(t.name) c \
                 WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite!_%' ESCAPE '!' AND t.name <> 'schema_migrations'",
            )
            .await
            .unwrap();

        let mut made: Vec<String> = made
            .iter()
            .map(|row| Cells(row).text("line").unwrap())
            .map(|line| line.split_whitespace().map(simplified).collect::<Vec<_>>().join(" "))
            .collect();
        let mut known: Vec<String> = TABLES
            .iter()
            .flat_map(|table| table.columns.iter().map(move |column| (table, column)))
            .map(|(table, column)| {
                let null = if column.is_nullable { " null" } else { "" };
                format!("{} {} {:?}{null}", table.name, column.name, column.kind)
            })
            .collect();
        made.sort();
        known.sort();
        assert_eq!(made, known);
    }

    fn simplified(word: &str) -> &str {
        match word {
            "INTEGER" => "Int",
            "boolean" | "BOOLEAN" => "Bool",
            word if word.starts_with("varchar") || word == "TEXT" => "Text",
            word => word,
        }
    }
}
