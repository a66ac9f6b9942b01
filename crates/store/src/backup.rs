//! Backups that every engine writes and reads: export from SQLite, import into PostgreSQL. A backup is one gzip file of
//! JSON lines: a header, then each table's rows and a line with their count and hash, then a line that ends it.
//!
//! Blobs, keys and the registry's storage are not in it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use sea_orm::{QueryResult, Value};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::db::{Backend, Conn, Db, On, Tx};
use crate::error::{Cause, Error, Result};
use crate::migrations;
use crate::pages::KeyKind;
use crate::schema::{Column, Kind, TABLES, Table};
use crate::sql::{Cells, count_of, count_query, select};

const FORMAT: &str = "longshore-backup";
const VERSION: u32 = 1;
/// Rows read and written at once.
const BATCH: usize = 200;
/// The longest line that a backup may have; a row's largest texts are bounded far below.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// What is in a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The steps of the schema that its database had.
    pub migrations: Vec<String>,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    migrations: Vec<String>,
    tables: Vec<TableHeader>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableHeader {
    name: String,
    columns: Vec<String>,
}

/// Ends the rows of a table, or the whole; the hash is over the lines before it, of the table or of the whole.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    #[serde(rename = "end")]
    of: String,
    rows: u64,
    sha256: String,
}

/// Writes everything that the database holds at this moment; others may go on writing meanwhile.
pub async fn export(db: &Db, writer: &mut (dyn Write + Send)) -> Result<Summary> {
    let migrations = migrations::names();
    if db.migration_status().await?.iter().any(|step| !step.applied) {
        return Err(Error::other("the database is not migrated, migrate it before a backup"));
    }
    let mut output = Output { gzip: GzEncoder::new(writer, Compression::default()), whole: Sha256::new() };
    let tables = TABLES.iter().map(|table| TableHeader {
        name: table.name.to_owned(),
        columns: table.columns.iter().map(|column| column.name.to_owned()).collect(),
    });
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        migrations: migrations.clone(),
        tables: tables.collect(),
    };
    output.line(&header)?;

    let snapshot = db.begin_snapshot().await?;
    let mut counts = BTreeMap::new();
    for table in TABLES {
        let rows = export_table(&snapshot.on(), table, &mut output).await?;
        counts.insert(table.name.to_owned(), rows);
    }
    let whole = hex::encode(output.whole.clone().finalize());
    output.line(&End { of: FORMAT.to_owned(), rows: counts.values().sum(), sha256: whole })?;
    output.gzip.finish().and_then(Write::flush).map_err(cannot_write)?;
    Ok(Summary { migrations, rows: counts })
}

/// Reads a backup to its end and checks all that can be known of it without a database.
pub fn verify(reader: impl Read) -> Result<Summary> {
    let mut input = Input::open(reader)?;
    while input.next_rows()?.is_some() {}
    Ok(Summary { migrations: input.header.migrations, rows: input.counts })
}

/// Fills an empty, migrated database from a backup, whole or not at all; the backup is verified first.
/// [`Error::TooNew`] when a newer program wrote it.
pub async fn import(db: &Db, mut reader: impl Read + Seek + Send) -> Result<Summary> {
    let start = reader.stream_position().map_err(cannot_read)?;
    verify(&mut reader)?;
    reader.seek(SeekFrom::Start(start)).map_err(cannot_read)?;

    if db.migration_status().await?.iter().any(|step| !step.applied) {
        return Err(Error::other("the database is not migrated, migrate it before the restore"));
    }
    let tx = db.begin().await?;
    for table in TABLES {
        // The one row that the schema itself brings.
        let mut query = count_query(table.name);
        if table.name == "settings" {
            query.and_where(Expr::col("name").ne("jobs.lock"));
        }
        if count_of(&tx.on(), &query).await? > 0 {
            return Err(Error::other(format!("the database is not empty, `{}` has rows", table.name)));
        }
    }
    tx.on().change("settings", &Query::delete().from_table("settings").take()).await?;

    let mut input = Input::open(reader)?;
    while let Some((table, columns, rows)) = input.next_rows()? {
        let mut query = Query::insert();
        query.into_table(table.name).columns(columns.iter().map(|column| column.name));
        for row in rows {
            query
                .values(row.into_iter().map(Expr::from))
                .map_err(|error| Error::corrupt(error.to_string()))?;
        }
        tx.on().change(table.name, &query).await.map_err(|error| match error {
            Error::Duplicate | Error::InUse | Error::TooLong => {
                Error::corrupt(format!("the backup's rows of `{}` do not fit together", table.name))
            }
            error => error,
        })?;
    }
    restore_counters(&tx).await?;
    tx.commit().await?;
    Ok(Summary { migrations: input.header.migrations, rows: input.counts })
}

/// PostgreSQL goes on counting where it was, whatever numbers rows brought with them.
async fn restore_counters(tx: &Tx) -> Result<()> {
    let on = tx.on();
    if on.backend() != Backend::Postgres {
        return Ok(());
    }
    for table in TABLES.iter().filter(|table| table.is_numbered) {
        let name = table.name;
        on.rows_raw(&format!(
            "SELECT setval(pg_get_serial_sequence('{name}', 'id'), COALESCE((SELECT MAX(id) FROM {name}), 0) + 1, false)"
        ))
        .await?;
    }
    Ok(())
}

struct Output<'a> {
    gzip: GzEncoder<&'a mut (dyn Write + Send)>,
    whole: Sha256,
}

impl Output<'_> {
    /// Writes a value as one line; the line's bytes.
    fn line(&mut self, value: &impl Serialize) -> Result<Vec<u8>> {
        let mut line =
            serde_json::to_vec(value).map_err(|error| Error::other(format!("a row is no JSON: {error}")))?;
        line.push(b'\n');
        self.whole.update(&line);
        self.gzip.write_all(&line).map_err(cannot_write)?;
        Ok(line)
    }
}

async fn export_table(on: &On<'_>, table: &Table, output: &mut Output<'_>) -> Result<u64> {
    let names: Vec<&'static str> = table.columns.iter().map(|column| column.name).collect();
    let mut hasher = Sha256::new();
    let mut count: u64 = 0;
    let mut last: Option<Value> = None;
    loop {
        let mut query = select(table.name, &names);
        for key in table.key {
            query.order_by(*key, Order::Asc);
        }
        query.limit(BATCH as u64);
        match (table.key, &last) {
            ([key], Some(last)) => {
                query.and_where(Expr::col(*key).gt(last.clone()));
            }
            ([_], None) => {}
            // Only small tables have a key of several columns.
            _ => {
                query.offset(count);
            }
        }
        let rows = on.rows(&query).await?;
        for row in &rows {
            let values =
                table.columns.iter().map(|column| json_of(row, *column)).collect::<Result<Vec<_>>>()?;
            hasher.update(output.line(&values)?);
            count += 1;
        }
        if rows.len() < BATCH {
            break;
        }
        if let (Some(row), [key]) = (rows.last(), table.key) {
            let kind = table.columns.iter().find(|column| column.name == *key).map(|column| column.kind);
            let kind = if kind == Some(Kind::Int) { KeyKind::Number } else { KeyKind::Text };
            last = Some(kind.read(row, key)?);
        }
    }
    let end = End { of: table.name.to_owned(), rows: count, sha256: hex::encode(hasher.finalize()) };
    output.line(&end)?;
    Ok(count)
}

fn json_of(row: &QueryResult, column: Column) -> Result<Json> {
    let cells = Cells(row);
    let name = column.name;
    Ok(match (column.kind, column.is_nullable) {
        (Kind::Int, false) => cells.int(name)?.into(),
        (Kind::Int, true) => cells.opt_int(name)?.into(),
        (Kind::Text, false) => cells.text(name)?.into(),
        (Kind::Text, true) => cells.opt_text(name)?.into(),
        (Kind::Bool, _) => cells.bool(name)?.into(),
    })
}

/// Reads a backup and checks it on the way: nothing in it is believed.
struct Input<R: Read> {
    lines: BufReader<GzDecoder<R>>,
    header: Header,
    /// The tables of the header, and their columns, in the header's order.
    tables: Vec<(&'static Table, Vec<Column>)>,
    at: usize,
    counts: BTreeMap<String, u64>,
    hasher: Sha256,
    whole: Sha256,
    count: u64,
}

/// Rows of a table, in the order of its columns.
type Rows = (&'static Table, Vec<Column>, Vec<Vec<Value>>);

impl<R: Read> Input<R> {
    fn open(reader: R) -> Result<Self> {
        let mut lines = BufReader::new(GzDecoder::new(reader));
        let line = read_line(&mut lines)?.ok_or_else(|| Error::corrupt("the file is empty"))?;
        let foreign = |_| Error::corrupt("the file is not a backup of Longshore");
        // Newer programs may write other headers: what they are is asked first.
        let kind: HeaderKind = serde_json::from_slice(&line).map_err(foreign)?;
        if kind.format != FORMAT {
            return Err(Error::corrupt("the file is not a backup of Longshore"));
        }
        if kind.version > VERSION {
            return Err(Error::TooNew(format!("backup format {}", kind.version)));
        }
        let known = migrations::names();
        if let Some(unknown) = kind.migrations.iter().find(|step| !known.contains(step)) {
            return Err(Error::TooNew(unknown.chars().take(100).collect()));
        }
        let header: Header = serde_json::from_slice(&line).map_err(foreign)?;
        let tables = header.tables.iter().map(known_table).collect::<Result<Vec<_>>>()?;
        // An older program had fewer steps and therefore fewer tables; those that it had stand in today's order.
        let is_of_today = header.migrations == known;
        let mut todays = TABLES.iter().map(|table| table.name);
        let is_in_order = tables.iter().all(|(table, _)| todays.any(|name| name == table.name));
        let is_whole = !tables.is_empty() && (!is_of_today || tables.len() == TABLES.len());
        if !is_in_order || !is_whole {
            return Err(Error::corrupt("the backup's tables are not those of its version"));
        }
        let mut whole = Sha256::new();
        whole.update(&line);
        let hasher = Sha256::new();
        Ok(Self { lines, header, tables, at: 0, counts: BTreeMap::new(), hasher, whole, count: 0 })
    }

    /// Some of the next rows of one table; none at the verified end.
    fn next_rows(&mut self) -> Result<Option<Rows>> {
        while let Some((table, columns)) = self.tables.get(self.at) {
            let mut rows = Vec::new();
            while rows.len() < BATCH {
                let line = read_line(&mut self.lines)?.ok_or_else(cut_off)?;
                self.whole.update(&line);
                if line.first() == Some(&b'[') {
                    self.hasher.update(&line);
                    self.count += 1;
                    rows.push(row_of(table, columns, &line)?);
                    continue;
                }
                let hash = hex::encode(std::mem::take(&mut self.hasher).finalize());
                check_end(&line, table.name, self.count, &hash)?;
                self.counts.insert(table.name.to_owned(), self.count);
                self.count = 0;
                self.at += 1;
                break;
            }
            if !rows.is_empty() {
                return Ok(Some((table, columns.clone(), rows)));
            }
        }
        let line = read_line(&mut self.lines)?.ok_or_else(cut_off)?;
        let hash = hex::encode(self.whole.clone().finalize());
        check_end(&line, FORMAT, self.counts.values().sum(), &hash)?;
        match read_line(&mut self.lines)? {
            None => Ok(None),
            Some(_) => Err(Error::corrupt("something follows the end of the backup")),
        }
    }
}

/// What every version of the header has.
#[derive(Deserialize)]
struct HeaderKind {
    format: String,
    version: u32,
    migrations: Vec<String>,
}

fn known_table(header: &TableHeader) -> Result<(&'static Table, Vec<Column>)> {
    let table = TABLES
        .iter()
        .find(|table| table.name == header.name)
        .ok_or_else(|| Error::corrupt("the backup has a table that is not known"))?;
    let mut columns = Vec::new();
    for name in &header.columns {
        let column = table.columns.iter().find(|column| column.name == name);
        match column {
            Some(column) if columns.iter().all(|known: &Column| known.name != column.name) => {
                columns.push(*column);
            }
            _ => {
                return Err(Error::corrupt(format!(
                    "the backup's columns of `{}` are not those of its version",
                    table.name
                )));
            }
        }
    }
    Ok((table, columns))
}

fn row_of(table: &Table, columns: &[Column], line: &[u8]) -> Result<Vec<Value>> {
    let damaged = || Error::corrupt(format!("a row of `{}` in the backup does not parse", table.name));
    let values: Vec<Json> = serde_json::from_slice(line).map_err(|_| damaged())?;
    if values.len() != columns.len() {
        return Err(damaged());
    }
    columns
        .iter()
        .zip(values)
        .map(|(column, value)| match (column.kind, value) {
            (Kind::Int, Json::Null) if column.is_nullable => Ok(Value::BigInt(None)),
            (Kind::Text, Json::Null) if column.is_nullable => Ok(Value::String(None)),
            (Kind::Int, Json::Number(number)) => number.as_i64().map(Value::from).ok_or_else(damaged),
            (Kind::Text, Json::String(text)) => Ok(Value::from(text)),
            (Kind::Bool, Json::Bool(value)) => Ok(Value::from(value)),
            _ => Err(damaged()),
        })
        .collect()
}

fn check_end(line: &[u8], name: &str, rows: u64, sha256: &str) -> Result<()> {
    let end: End = serde_json::from_slice(line)
        .map_err(|_| Error::corrupt(format!("the end of `{name}` in the backup does not parse")))?;
    if end.of != name || end.rows != rows || end.sha256 != sha256 {
        return Err(Error::corrupt(format!("the backup's rows of `{name}` are not those that were written")));
    }
    Ok(())
}

/// The next line with its end; none at the end of the file.
fn read_line(reader: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(cannot_read)?;
    match line.last() {
        None if read == 0 => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        _ => Err(cut_off()),
    }
}

fn cut_off() -> Error {
    Error::corrupt("the backup is cut off, or a line of it is too long")
}

fn cannot_write(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::StorageFull {
        return Error::Full;
    }
    Error::Other(Cause::with("the backup cannot be written", error))
}

fn cannot_read(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            Error::corrupt("the file is not a whole backup of Longshore")
        }
        _ => Error::Other(Cause::with("the backup cannot be read", error)),
    }
}
