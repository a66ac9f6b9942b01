//! Accounts.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait};
use wire::accounts::{AccountState, Role};
use wire::ids::AccountId;
use wire::names::AccountName;
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{Cells, Word, contains, count_of, insert_numbered, select, update, words};

const TABLE: &str = "accounts";
const COLUMNS: &[&str] = &[
    "id",
    "account",
    "nickname",
    "password_hash",
    "email",
    "phone",
    "photo",
    "role",
    "state",
    "created_at",
    "updated_at",
];

words!(Role { Admin = "admin", User = "user" });
words!(AccountState { Pending = "pending", Active = "active", Disabled = "disabled" });

/// An account.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: AccountId,
    /// Its name; never changes and is never given to another account.
    pub account: AccountName,
    /// The name to show.
    pub nickname: Option<String>,
    /// The password's hash in PHC form.
    pub password_hash: String,
    /// Its mail address.
    pub email: Option<String>,
    /// Its telephone number.
    pub phone: Option<String>,
    /// Which picture it has.
    pub photo: Option<String>,
    /// What it may do.
    pub role: Role,
    /// Whether it can be used.
    pub state: AccountState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the hash, which must not reach a log.
        f.debug_struct("Row")
            .field("id", &self.id)
            .field("account", &self.account)
            .field("role", &self.role)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What makes an account.
#[derive(Clone)]
pub struct New<'a> {
    /// Its name.
    pub account: &'a AccountName,
    /// The password's hash in PHC form.
    pub password_hash: &'a str,
    /// What it may do.
    pub role: Role,
    /// Whether it can be used.
    pub state: AccountState,
    /// The time.
    pub now: Timestamp,
}

/// A part of an account that its owner edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileField {
    /// The name to show, at most 200 characters.
    Nickname,
    /// The mail address, at most 320 characters.
    Email,
    /// The telephone number, at most 64 characters.
    Phone,
    /// Which picture, at most 500 characters.
    Photo,
}

impl ProfileField {
    fn column(self) -> &'static str {
        match self {
            Self::Nickname => "nickname",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Photo => "photo",
        }
    }
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: AccountId(cells.int("id")?),
        account: cells.parsed("account")?,
        nickname: cells.opt_text("nickname")?,
        password_hash: cells.text("password_hash")?,
        email: cells.opt_text("email")?,
        phone: cells.opt_text("phone")?,
        photo: cells.opt_text("photo")?,
        role: cells.word("role")?,
        state: cells.word("state")?,
        created_at: cells.time("created_at")?,
        updated_at: cells.time("updated_at")?,
    })
}

/// Makes an account; [`Error::Duplicate`] when the name exists.
pub async fn insert(c: &dyn Conn, new: &New<'_>) -> Result<Row> {
    let id = insert_numbered(
        &c.on(),
        TABLE,
        [
            ("account", new.account.as_str().into()),
            ("password_hash", new.password_hash.into()),
            ("role", new.role.text().into()),
            ("state", new.state.text().into()),
            ("created_at", new.now.0.into()),
            ("updated_at", new.now.0.into()),
        ],
    )
    .await?;
    Ok(Row {
        id: AccountId(id),
        account: new.account.clone(),
        nickname: None,
        password_hash: new.password_hash.to_owned(),
        email: None,
        phone: None,
        photo: None,
        role: new.role,
        state: new.state,
        created_at: new.now,
        updated_at: new.now,
    })
}

/// The account with a number.
pub async fn get(c: &dyn Conn, id: AccountId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The account with a number, for a change that depends on what it has: inside a transaction nobody else gets it this
/// way until the end.
pub async fn locked(c: &Tx, id: AccountId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0)).lock_exclusive();
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The account with a name.
pub async fn by_name(c: &dyn Conn, account: &AccountName) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("account").eq(account.as_str()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Accounts by number; `search` looks into name, nickname and mail address.
pub async fn list(c: &dyn Conn, search: Option<&str>, page: PageQuery) -> Result<PageOf<Row>> {
    let found = search.map(|text| contains(&["account", "nickname", "email"], text));
    let list = List {
        table: TABLE,
        key: "id",
        kind: KeyKind::Number,
        newest_first: false,
        branches: found.into_iter().collect(),
    };
    list.page(&c.on(), page, select(TABLE, COLUMNS), row).await
}

/// Changes one part of the profile; `None` empties it.
pub async fn set_profile(
    c: &dyn Conn,
    id: AccountId,
    field: ProfileField,
    value: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    set(c, id, (field.column(), value.into()), now).await
}

/// Changes the password.
pub async fn set_password(c: &dyn Conn, id: AccountId, password_hash: &str, now: Timestamp) -> Result<()> {
    set(c, id, ("password_hash", password_hash.into()), now).await
}

/// Changes what the account may do.
pub async fn set_role(c: &dyn Conn, id: AccountId, role: Role, now: Timestamp) -> Result<()> {
    set(c, id, ("role", role.text().into()), now).await
}

/// Changes whether the account can be used.
pub async fn set_state(c: &dyn Conn, id: AccountId, state: AccountState, now: Timestamp) -> Result<()> {
    set(c, id, ("state", state.text().into()), now).await
}

async fn set(c: &dyn Conn, id: AccountId, cell: crate::sql::Cell, now: Timestamp) -> Result<()> {
    let mut query = update(TABLE, [cell, ("updated_at", now.0.into())]);
    query.and_where(Expr::col("id").eq(id.0));
    match c.on().change(TABLE, &query).await? {
        0 => Err(Error::NotFound),
        _ => Ok(()),
    }
}

/// How many admins can log in. Inside a transaction the rows stay locked until its end, so that two requests cannot
/// each remove the last admin but one.
pub async fn count_active_admins(c: &dyn Conn) -> Result<u64> {
    let on = c.on();
    let is_active_admin =
        Expr::col("role").eq(Role::Admin.text()).and(Expr::col("state").eq(AccountState::Active.text()));
    if on.lists().is_none() {
        let mut query = select(TABLE, &["id"]);
        query.and_where(is_active_admin).lock_exclusive();
        return Ok(on.rows(&query).await?.len().try_into().unwrap_or(u64::MAX));
    }
    let mut query = crate::sql::count_query(TABLE);
    query.and_where(is_active_admin);
    count_of(&on, &query).await
}
