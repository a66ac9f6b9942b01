//! Git repositories. Secrets are kept as the server sealed them; this crate cannot open them.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use wire::git_repos::GitRepoOptions;
use wire::ids::{AccountId, GitRepoId};
use wire::time::Timestamp;

use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::filtered::{self, Filter};
use crate::pages::PageOf;
use crate::sql::{Cell, Cells, insert_numbered, json, select, update};

const TABLE: &str = "git_repos";
const COLUMNS: &[&str] = &[
    "id",
    "uuid",
    "account_id",
    "repo_name",
    "url",
    "credential",
    "branch",
    "tag",
    "build_path",
    "dockerfile",
    "job",
    "kind",
    "image",
    "description",
    "ca_secret",
    "name",
    "ssh_key",
    "known_hosts",
    "webhook_secret",
    "status_token",
    "options",
    "last_commit",
    "next_look_at",
    "created_at",
    "updated_at",
];

/// A git repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The repository.
    pub id: GitRepoId,
    /// Binds sealed values to this row.
    pub uuid: String,
    /// Whose it is.
    pub account_id: AccountId,
    /// What may be changed.
    pub content: Content,
    /// The commit that was built last.
    pub last_commit: Option<String>,
    /// When the git server is looked at next.
    pub next_look_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What may be changed of a git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Its name, unique for its account.
    pub repo_name: String,
    /// Where it is, without user and password.
    pub url: String,
    /// User and password, sealed.
    pub credential: Option<String>,
    /// Branch, tag or commit.
    pub branch: String,
    /// The images' tag.
    pub tag: String,
    /// The folder to build.
    pub build_path: String,
    /// The Dockerfile.
    pub dockerfile: String,
    /// The runner.
    pub job: String,
    /// A word of the owner's own.
    pub kind: String,
    /// Where images go.
    pub image: String,
    /// What it is.
    pub description: String,
    /// The certificate authority, sealed.
    pub ca_secret: Option<String>,
    /// A second name of the owner's own.
    pub name: String,
    /// The SSH key, sealed.
    pub ssh_key: Option<String>,
    /// Keys of git servers that were met, as OpenSSH keeps them.
    pub known_hosts: Option<String>,
    /// What webhooks are signed with, sealed.
    pub webhook_secret: Option<String>,
    /// The token for the git server, sealed.
    pub status_token: Option<String>,
    /// What else it does.
    pub options: GitRepoOptions,
}

/// What makes a git repository.
#[derive(Clone, Debug)]
pub struct New<'a> {
    /// Binds sealed values to this row.
    pub uuid: &'a str,
    /// Whose it is.
    pub account_id: AccountId,
    /// The rest.
    pub content: &'a Content,
    /// The time.
    pub now: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: GitRepoId(cells.int("id")?),
        uuid: cells.text("uuid")?,
        account_id: AccountId(cells.int("account_id")?),
        content: Content {
            repo_name: cells.text("repo_name")?,
            url: cells.text("url")?,
            credential: cells.opt_text("credential")?,
            branch: cells.text("branch")?,
            tag: cells.text("tag")?,
            build_path: cells.text("build_path")?,
            dockerfile: cells.text("dockerfile")?,
            job: cells.text("job")?,
            kind: cells.text("kind")?,
            image: cells.text("image")?,
            description: cells.text("description")?,
            ca_secret: cells.opt_text("ca_secret")?,
            name: cells.text("name")?,
            ssh_key: cells.opt_text("ssh_key")?,
            known_hosts: cells.opt_text("known_hosts")?,
            webhook_secret: cells.opt_text("webhook_secret")?,
            status_token: cells.opt_text("status_token")?,
            options: cells.json("options")?,
        },
        last_commit: cells.opt_text("last_commit")?,
        next_look_at: cells.opt_time("next_look_at")?,
        created_at: cells.time("created_at")?,
        updated_at: cells.time("updated_at")?,
    })
}

fn cells(content: &Content) -> Result<Vec<Cell>> {
    Ok(vec![
        ("repo_name", content.repo_name.as_str().into()),
        ("url", content.url.as_str().into()),
        ("credential", content.credential.as_deref().into()),
        ("branch", content.branch.as_str().into()),
        ("tag", content.tag.as_str().into()),
        ("build_path", content.build_path.as_str().into()),
        ("dockerfile", content.dockerfile.as_str().into()),
        ("job", content.job.as_str().into()),
        ("kind", content.kind.as_str().into()),
        ("image", content.image.as_str().into()),
        ("description", content.description.as_str().into()),
        ("ca_secret", content.ca_secret.as_deref().into()),
        ("name", content.name.as_str().into()),
        ("ssh_key", content.ssh_key.as_deref().into()),
        ("known_hosts", content.known_hosts.as_deref().into()),
        ("webhook_secret", content.webhook_secret.as_deref().into()),
        ("status_token", content.status_token.as_deref().into()),
        ("options", json(&content.options)?.into()),
    ])
}

/// Stores a git repository. [`crate::Error::Duplicate`] when its account has one of this name.
pub async fn insert(c: &dyn Conn, new: &New<'_>) -> Result<GitRepoId> {
    let mut row = cells(new.content)?;
    row.extend([
        ("uuid", new.uuid.into()),
        ("account_id", new.account_id.0.into()),
        ("created_at", new.now.0.into()),
        ("updated_at", new.now.0.into()),
    ]);
    insert_numbered(&c.on(), TABLE, row).await.map(GitRepoId)
}

/// Changes a git repository; runs and their log follow its name.
pub async fn update_content(tx: &Tx, id: GitRepoId, content: &Content, now: Timestamp) -> Result<()> {
    let on = tx.on();
    let mut row = cells(content)?;
    row.push(("updated_at", now.0.into()));
    let mut query = update(TABLE, row);
    query.and_where(Expr::col("id").eq(id.0));
    on.change(TABLE, &query).await?;
    for table in ["runs", "run_log"] {
        let mut query = update(table, [("repo_name", content.repo_name.as_str().into())]);
        query
            .and_where(Expr::col("git_repo_id").eq(id.0))
            .and_where(Expr::col("repo_name").ne(content.repo_name.as_str()));
        on.change(table, &query).await?;
    }
    Ok(())
}

/// Notes the keys of git servers that were met.
pub async fn set_known_hosts(c: &dyn Conn, id: GitRepoId, known_hosts: &str) -> Result<()> {
    let mut query = update(TABLE, [("known_hosts", known_hosts.into())]);
    query.and_where(Expr::col("id").eq(id.0));
    c.on().change_quietly(&query).await?;
    Ok(())
}

/// Notes the commit that was built last.
pub async fn set_last_commit(c: &dyn Conn, id: GitRepoId, commit: &str) -> Result<()> {
    let mut query = update(TABLE, [("last_commit", commit.into())]);
    query.and_where(Expr::col("id").eq(id.0));
    c.on().change_quietly(&query).await?;
    Ok(())
}

/// Notes when the git server is looked at next; whether nobody else did so meanwhile.
pub async fn set_next_look(
    c: &dyn Conn,
    id: GitRepoId,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<bool> {
    let mut query = update(TABLE, [("next_look_at", to.map(|time| time.0).into())]);
    query.and_where(Expr::col("id").eq(id.0));
    match from {
        Some(from) => query.and_where(Expr::col("next_look_at").eq(from.0)),
        None => query.and_where(Expr::col("next_look_at").is_null()),
    };
    Ok(c.on().change_quietly(&query).await? > 0)
}

/// Git repositories at which it is time to look.
pub async fn due(c: &dyn Conn, now: Timestamp, limit: u64) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("next_look_at").lte(now.0))
        .order_by((TABLE, "next_look_at"), Order::Asc)
        .limit(limit);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// A git repository.
pub async fn get(c: &dyn Conn, id: GitRepoId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The same, for a change that depends on what it is: inside a transaction nobody else changes it until the end.
pub async fn locked(c: &Tx, id: GitRepoId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0)).lock_exclusive();
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Holds a git repository for the rest of a transaction; false when it is not there.
pub async fn lock(c: &Tx, id: GitRepoId) -> Result<bool> {
    let mut query = select(TABLE, &["id"]);
    query.and_where(Expr::col("id").eq(id.0)).lock_exclusive();
    Ok(c.on().row(&query).await?.is_some())
}

/// Git repositories with a name: one of each account at most.
pub async fn by_name(c: &dyn Conn, account: Option<AccountId>, name: &str) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("repo_name").eq(name)).order_by((TABLE, "id"), Order::Asc).limit(100);
    if let Some(account) = account {
        query.and_where(Expr::col("account_id").eq(account.0));
    }
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Git repositories, narrowed and ordered.
pub async fn list(c: &dyn Conn, filter: &Filter) -> Result<PageOf<Row>> {
    filtered::list(c, TABLE, COLUMNS, filter, row).await
}

/// Removes a git repository with its runs and their log; whether there was one.
pub async fn delete(c: &dyn Conn, id: GitRepoId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.0)).take();
    let on = c.on();
    let is_gone = on.change(TABLE, &query).await? > 0;
    for table in
        ["runs", "runners", "run_log", "webhook_deliveries", "notification_targets", "git_repo_secrets"]
    {
        on.touch(table);
    }
    Ok(is_gone)
}
