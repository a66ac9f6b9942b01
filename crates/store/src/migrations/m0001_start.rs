//! The first schema: accounts, logins, tokens, the audit log, images, builds, jobs, machines, containers, settings and
//! what the registry reported.
//!
//! Times are microseconds in BIGINT (MariaDB drops fractions of its own type). States, digests, ids and JSON are text.
//! Text compares byte by byte and to the last blank on every engine, because names mean what they spell.

use sea_orm::sea_query::{
    ColumnDef, Expr, ForeignKey, ForeignKeyAction, Index, IndexCreateStatement, OnConflict, Query, Table,
    TableCreateStatement,
};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

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
        for table in tables(&dialect) {
            manager.create_table(table).await?;
        }
        for (table, name, columns) in INDEXES {
            // MySQL has no `IF NOT EXISTS` here.
            if !manager.has_index(table, name).await? {
                manager.create_index(index(table, name, columns)).await?;
            }
        }
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

/// What the engines spell differently.
struct Dialect {
    backend: DbBackend,
    /// Compares every byte, trailing blanks included; MariaDB and MySQL call it differently.
    mysql_collation: &'static str,
}

impl Dialect {
    async fn of(manager: &SchemaManager<'_>) -> Result<Self, DbErr> {
        let backend = manager.get_database_backend();
        let mut mysql_collation = "utf8mb4_0900_bin";
        if backend == DbBackend::MySql {
            let query = Statement::from_string(backend, "SELECT VERSION() AS version");
            let row = manager.get_connection().query_one_raw(query).await?;
            let version: String = row.map(|row| row.try_get("", "version")).transpose()?.unwrap_or_default();
            if version.contains("MariaDB") {
                mysql_collation = "utf8mb4_nopad_bin";
            }
        }
        Ok(Self { backend, mysql_collation })
    }

    fn table(&self, name: &'static str) -> Builder<'_> {
        let mut statement = Table::create();
        statement.table(name).if_not_exists();
        if self.backend == DbBackend::MySql {
            statement.engine("InnoDB").character_set("utf8mb4").collate(self.mysql_collation);
        }
        Builder { dialect: self, name, statement }
    }
}

/// Writes one `CREATE TABLE`.
struct Builder<'a> {
    dialect: &'a Dialect,
    name: &'static str,
    statement: TableCreateStatement,
}

impl Builder<'_> {
    /// A number given by the database, never given twice.
    fn number_id(mut self) -> Self {
        self.statement.col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key());
        self
    }

    fn text_id(self, column: &'static str, length: u32) -> Self {
        self.text_column(column, Some(length), |column| column.not_null().primary_key())
    }

    fn text(self, column: &'static str, length: u32) -> Self {
        self.text_column(column, Some(length), ColumnDef::not_null)
    }

    fn opt_text(self, column: &'static str, length: u32) -> Self {
        self.text_column(column, Some(length), ColumnDef::null)
    }

    fn long_text(self, column: &'static str) -> Self {
        self.text_column(column, None, ColumnDef::not_null)
    }

    fn opt_long_text(self, column: &'static str) -> Self {
        self.text_column(column, None, ColumnDef::null)
    }

    fn text_column(
        mut self,
        name: &'static str,
        length: Option<u32>,
        finish: impl FnOnce(&mut ColumnDef) -> &mut ColumnDef,
    ) -> Self {
        let mut column = ColumnDef::new(name);
        match (length, self.dialect.backend) {
            (Some(length), _) => column.string_len(length),
            (None, DbBackend::MySql) => column.custom("longtext"),
            (None, _) => column.text(),
        };
        match (self.dialect.backend, length) {
            (DbBackend::Postgres, _) => {
                column.extra("COLLATE \"C\"");
            }
            // SQLite takes a length as a comment.
            (DbBackend::Sqlite, Some(length)) => {
                column.check(Expr::cust(format!("length(\"{name}\") <= {length}")));
            }
            _ => {}
        }
        self.statement.col(finish(&mut column));
        self
    }

    fn int(mut self, column: &'static str) -> Self {
        self.statement.col(ColumnDef::new(column).big_integer().not_null());
        self
    }

    fn opt_int(mut self, column: &'static str) -> Self {
        self.statement.col(ColumnDef::new(column).big_integer().null());
        self
    }

    fn bool(mut self, column: &'static str) -> Self {
        self.statement.col(ColumnDef::new(column).boolean().not_null());
        self
    }

    fn unique(mut self, name: &'static str, columns: &[&'static str]) -> Self {
        let mut index = Index::create();
        index.name(name).unique();
        for column in columns {
            index.col(*column);
        }
        self.statement.index(&mut index);
        self
    }

    fn primary_key(mut self, columns: &[&'static str]) -> Self {
        let mut index = Index::create();
        for column in columns {
            index.col(*column);
        }
        self.statement.primary_key(&mut index);
        self
    }

    fn refers(mut self, column: &'static str, table: &'static str, on_delete: ForeignKeyAction) -> Self {
        self.statement.foreign_key(
            ForeignKey::create()
                .name(format!("fk_{}_{column}", self.name))
                .from(self.name, column)
                .to(table, "id")
                .on_delete(on_delete),
        );
        self
    }

    fn done(self) -> TableCreateStatement {
        self.statement
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

const INDEXES: &[(&str, &str, &[&str])] = &[
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

fn index(table: &'static str, name: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(table);
    for column in columns {
        index.col(*column);
    }
    index
}
