//! How tables are written for the three engines: what they spell differently stands here once, for every step.
//!
//! Times are microseconds in BIGINT (MariaDB drops fractions of its own type). States, digests, ids and JSON are text.
//! Text compares byte by byte and to the last blank on every engine, because names mean what they spell.

use sea_orm::sea_query::{
    ColumnDef, Expr, ForeignKey, ForeignKeyAction, Index, IndexCreateStatement, Table, TableCreateStatement,
};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use sea_orm_migration::SchemaManager;

/// An index: its table, its name, its columns.
pub(super) type IndexOf = (&'static str, &'static str, &'static [&'static str]);

/// Makes tables and indexes, as far as they are not there yet.
pub(super) async fn create(
    manager: &SchemaManager<'_>,
    tables: Vec<TableCreateStatement>,
    indexes: &[IndexOf],
) -> Result<(), DbErr> {
    for table in tables {
        manager.create_table(table).await?;
    }
    for (table, name, columns) in indexes {
        // MySQL has no `IF NOT EXISTS` here.
        if !manager.has_index(table, name).await? {
            manager.create_index(index(table, name, columns)).await?;
        }
    }
    Ok(())
}

/// What the engines spell differently.
pub(super) struct Dialect {
    backend: DbBackend,
    /// Compares every byte, trailing blanks included; MariaDB and MySQL call it differently.
    mysql_collation: &'static str,
}

impl Dialect {
    pub(super) async fn of(manager: &SchemaManager<'_>) -> Result<Self, DbErr> {
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

    pub(super) fn table(&self, name: &'static str) -> Builder<'_> {
        let mut statement = Table::create();
        statement.table(name).if_not_exists();
        if self.backend == DbBackend::MySql {
            statement.engine("InnoDB").character_set("utf8mb4").collate(self.mysql_collation);
        }
        Builder { dialect: self, name, statement }
    }

    /// Adds a number that may be missing to a table that is there already.
    pub(super) async fn add_opt_int(
        &self,
        manager: &SchemaManager<'_>,
        table: &'static str,
        column: &'static str,
    ) -> Result<(), DbErr> {
        add(manager, table, column, ColumnDef::new(column).big_integer().null()).await
    }

    /// Adds a text that may be missing to a table that is there already.
    pub(super) async fn add_opt_text(
        &self,
        manager: &SchemaManager<'_>,
        table: &'static str,
        column: &'static str,
        length: u32,
    ) -> Result<(), DbErr> {
        add(manager, table, column, self.text_column(column, Some(length)).null()).await
    }

    /// Adds a text of any length that may be missing to a table that is there already.
    pub(super) async fn add_opt_long_text(
        &self,
        manager: &SchemaManager<'_>,
        table: &'static str,
        column: &'static str,
    ) -> Result<(), DbErr> {
        add(manager, table, column, self.text_column(column, None).null()).await
    }

    fn text_column(&self, name: &'static str, length: Option<u32>) -> ColumnDef {
        let mut column = ColumnDef::new(name);
        match (length, self.backend) {
            (Some(length), _) => column.string_len(length),
            (None, DbBackend::MySql) => column.custom("longtext"),
            (None, _) => column.text(),
        };
        match (self.backend, length) {
            (DbBackend::Postgres, _) => {
                column.extra("COLLATE \"C\"");
            }
            // SQLite takes a length as a comment.
            (DbBackend::Sqlite, Some(length)) => {
                column.check(Expr::cust(format!("length(\"{name}\") <= {length}")));
            }
            _ => {}
        }
        column
    }
}

/// A step that was cut off may have added it already.
async fn add(
    manager: &SchemaManager<'_>,
    table: &'static str,
    column: &'static str,
    definition: &mut ColumnDef,
) -> Result<(), DbErr> {
    if manager.has_column(table, column).await? {
        return Ok(());
    }
    manager.alter_table(Table::alter().table(table).add_column(definition).take()).await
}

/// Writes one `CREATE TABLE`.
pub(super) struct Builder<'a> {
    dialect: &'a Dialect,
    name: &'static str,
    statement: TableCreateStatement,
}

impl Builder<'_> {
    /// A number given by the database, never given twice.
    pub(super) fn number_id(mut self) -> Self {
        self.statement.col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key());
        self
    }

    pub(super) fn text_id(self, column: &'static str, length: u32) -> Self {
        self.text_column(column, Some(length), |column| column.not_null().primary_key())
    }

    pub(super) fn text(self, column: &'static str, length: u32) -> Self {
        self.text_column(column, Some(length), ColumnDef::not_null)
    }

    pub(super) fn opt_text(self, column: &'static str, length: u32) -> Self {
        self.text_column(column, Some(length), ColumnDef::null)
    }

    pub(super) fn long_text(self, column: &'static str) -> Self {
        self.text_column(column, None, ColumnDef::not_null)
    }

    pub(super) fn opt_long_text(self, column: &'static str) -> Self {
        self.text_column(column, None, ColumnDef::null)
    }

    fn text_column(
        mut self,
        name: &'static str,
        length: Option<u32>,
        finish: impl FnOnce(&mut ColumnDef) -> &mut ColumnDef,
    ) -> Self {
        let mut column = self.dialect.text_column(name, length);
        self.statement.col(finish(&mut column));
        self
    }

    pub(super) fn int(mut self, column: &'static str) -> Self {
        self.statement.col(ColumnDef::new(column).big_integer().not_null());
        self
    }

    pub(super) fn opt_int(mut self, column: &'static str) -> Self {
        self.statement.col(ColumnDef::new(column).big_integer().null());
        self
    }

    pub(super) fn bool(mut self, column: &'static str) -> Self {
        self.statement.col(ColumnDef::new(column).boolean().not_null());
        self
    }

    pub(super) fn unique(mut self, name: &'static str, columns: &[&'static str]) -> Self {
        let mut index = Index::create();
        index.name(name).unique();
        for column in columns {
            index.col(*column);
        }
        self.statement.index(&mut index);
        self
    }

    pub(super) fn primary_key(mut self, columns: &[&'static str]) -> Self {
        let mut index = Index::create();
        for column in columns {
            index.col(*column);
        }
        self.statement.primary_key(&mut index);
        self
    }

    pub(super) fn refers(
        mut self,
        column: &'static str,
        table: &'static str,
        on_delete: ForeignKeyAction,
    ) -> Self {
        self.statement.foreign_key(
            ForeignKey::create()
                .name(format!("fk_{}_{column}", self.name))
                .from(self.name, column)
                .to(table, "id")
                .on_delete(on_delete),
        );
        self
    }

    pub(super) fn done(self) -> TableCreateStatement {
        self.statement
    }
}

fn index(table: &'static str, name: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(table);
    for column in columns {
        index.col(*column);
    }
    index
}
