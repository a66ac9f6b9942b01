//! Images: everything that ends in the registry, whatever made it. A row without a tag is an image whose tag moved on.

use sea_orm::sea_query::{Cond, Condition, Expr, ExprTrait, Func, Order, Query};
use sea_orm::{QueryResult, Value};
use sha2::{Digest as _, Sha256};
use wire::ids::{AccountId, BuildId, ImageId};
use wire::images::{CreateParameters, ImageSource, ImageState, LayerView, RepositoryView};
use wire::names::{Digest, ImageName, Owner, RepoName, Tag};
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::containers;
use crate::db::Conn;
use crate::error::Result;
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{
    Cells, Word, contains, count_of, count_query, insert_numbered, int, json, select, update, words,
};

const TABLE: &str = "images";
const COLUMNS: &[&str] = &[
    "id",
    "account_id",
    "owner",
    "repo",
    "tag",
    "digest",
    "size_bytes",
    "layers",
    "parent_image_id",
    "display_name",
    "description",
    "create_parameters",
    "source",
    "build_id",
    "state",
    "created_at",
    "updated_at",
];

words!(ImageSource { Build = "build", Push = "push", Save = "save", Tag = "tag", Chart = "chart" });
words!(ImageState { Ready = "ready", Deleting = "deleting" });

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: ImageId,
    /// Who made it; none when a person pushed without our knowing whom.
    pub account_id: Option<AccountId>,
    /// Owner part of the name.
    pub owner: Owner,
    /// Repository part of the name.
    pub repo: RepoName,
    /// Tag part of the name; none when the tag has moved to a newer image.
    pub tag: Option<Tag>,
    /// The manifest's digest.
    pub digest: Digest,
    /// Compressed size in bytes.
    pub size_bytes: u64,
    /// The layers, base first.
    pub layers: Vec<LayerView>,
    /// The image that this one was built on or saved from.
    pub parent_image_id: Option<ImageId>,
    /// The name to show.
    pub display_name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// How containers of it are made by default.
    pub create_parameters: CreateParameters,
    /// What made it.
    pub source: ImageSource,
    /// The build that made it.
    pub build_id: Option<BuildId>,
    /// Whether it can be used.
    pub state: ImageState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What makes an image's row.
#[derive(Clone, Debug)]
pub struct New {
    /// Who made it.
    pub account_id: Option<AccountId>,
    /// Owner part of the name.
    pub owner: Owner,
    /// Repository part of the name.
    pub repo: RepoName,
    /// Tag part of the name.
    pub tag: Option<Tag>,
    /// The manifest's digest.
    pub digest: Digest,
    /// Compressed size in bytes.
    pub size_bytes: u64,
    /// The layers, base first.
    pub layers: Vec<LayerView>,
    /// The image that this one was built on or saved from.
    pub parent_image_id: Option<ImageId>,
    /// The name to show, at most 200 characters.
    pub display_name: Option<String>,
    /// What it is for, at most 4,000 characters.
    pub description: Option<String>,
    /// How containers of it are made by default.
    pub create_parameters: CreateParameters,
    /// What made it.
    pub source: ImageSource,
    /// The build that made it.
    pub build_id: Option<BuildId>,
    /// Whether it can be used.
    pub state: ImageState,
    /// The time.
    pub now: Timestamp,
}

/// Which images; what is none does not narrow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only of these owners; none means all of them, which only admins may see.
    pub owners: Option<&'a [Owner]>,
    /// Only of this repository.
    pub repo: Option<&'a RepoName>,
    /// Only this name.
    pub name: Option<&'a ImageName>,
    /// Name or display name contains this.
    pub search: Option<&'a str>,
    /// Only in this state.
    pub state: Option<ImageState>,
    /// Also images whose tag moved on.
    pub untagged: bool,
}

pub(crate) fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: ImageId(cells.int("id")?),
        account_id: cells.opt_int("account_id")?.map(AccountId),
        owner: cells.parsed("owner")?,
        repo: cells.parsed("repo")?,
        tag: cells.opt_parsed("tag")?,
        digest: cells.parsed("digest")?,
        size_bytes: cells.count("size_bytes")?,
        layers: cells.json("layers")?,
        parent_image_id: cells.opt_int("parent_image_id")?.map(ImageId),
        display_name: cells.opt_text("display_name")?,
        description: cells.opt_text("description")?,
        create_parameters: cells.json("create_parameters")?,
        source: cells.word("source")?,
        build_id: cells.opt_parsed("build_id")?.map(BuildId),
        state: cells.word("state")?,
        created_at: cells.time("created_at")?,
        updated_at: cells.time("updated_at")?,
    })
}

/// The name as seed 001 keeps it, in one column; also what searches look into.
fn full_name(owner: &Owner, repo: &RepoName, tag: Option<&Tag>, digest: &Digest) -> String {
    match tag {
        Some(tag) => format!("{owner}/{repo}:{tag}"),
        None => format!("{owner}/{repo}@{digest}"),
    }
}

/// For every number of layers from the bottom, the hash of their digests.
fn layer_chains(layers: &[LayerView]) -> Vec<String> {
    let mut hasher = Sha256::new();
    let mut chains = Vec::with_capacity(layers.len());
    for layer in layers {
        hasher.update(layer.digest.as_str());
        hasher.update(b"\n");
        chains.push(hex::encode(hasher.clone().finalize()));
    }
    chains
}

/// Stores an image; [`crate::Error::Duplicate`] when its tag exists: [`untag`] that one in the same transaction to move it.
pub async fn insert(c: &dyn Conn, new: &New) -> Result<Row> {
    let id = insert_numbered(
        &c.on(),
        TABLE,
        [
            ("account_id", new.account_id.map(|id| id.0).into()),
            ("owner", new.owner.as_str().into()),
            ("repo", new.repo.as_str().into()),
            ("tag", new.tag.as_ref().map(Tag::as_str).into()),
            ("name", full_name(&new.owner, &new.repo, new.tag.as_ref(), &new.digest).into()),
            ("digest", new.digest.as_str().into()),
            ("size_bytes", int(new.size_bytes)?.into()),
            ("layers", json(&new.layers)?.into()),
            ("layer_chain", layer_chains(&new.layers).pop().into()),
            ("layer_count", i64::try_from(new.layers.len()).unwrap_or(i64::MAX).into()),
            ("parent_image_id", new.parent_image_id.map(|id| id.0).into()),
            ("display_name", new.display_name.as_deref().into()),
            ("description", new.description.as_deref().into()),
            ("create_parameters", json(&new.create_parameters)?.into()),
            ("source", new.source.text().into()),
            ("build_id", new.build_id.map(|id| id.to_string()).into()),
            ("state", new.state.text().into()),
            ("created_at", new.now.0.into()),
            ("updated_at", new.now.0.into()),
        ],
    )
    .await?;
    Ok(Row {
        id: ImageId(id),
        account_id: new.account_id,
        owner: new.owner.clone(),
        repo: new.repo.clone(),
        tag: new.tag.clone(),
        digest: new.digest.clone(),
        size_bytes: new.size_bytes,
        layers: new.layers.clone(),
        parent_image_id: new.parent_image_id,
        display_name: new.display_name.clone(),
        description: new.description.clone(),
        create_parameters: new.create_parameters.clone(),
        source: new.source,
        build_id: new.build_id,
        state: new.state,
        created_at: new.now,
        updated_at: new.now,
    })
}

/// The image with a number.
pub async fn get(c: &dyn Conn, id: ImageId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The image that has a tag now.
pub async fn by_name(c: &dyn Conn, name: &ImageName) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.cond_where(is_named(name));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// The newest image of a repository with a digest, under whatever tag.
pub async fn by_digest(c: &dyn Conn, owner: &Owner, repo: &RepoName, digest: &Digest) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query
        .cond_where(in_repository(owner, repo).add(Expr::col("digest").eq(digest.as_str())))
        .order_by("id", Order::Desc)
        .limit(1);
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

fn is_named(name: &ImageName) -> Condition {
    in_repository(&name.owner, &name.repo).add(Expr::col("tag").eq(name.tag.as_str()))
}

fn in_repository(owner: &Owner, repo: &RepoName) -> Condition {
    Cond::all().add(Expr::col("owner").eq(owner.as_str())).add(Expr::col("repo").eq(repo.as_str()))
}

/// Images, newest first.
pub async fn list(c: &dyn Conn, filter: Filter<'_>, page: PageQuery) -> Result<PageOf<Row>> {
    let narrowed = || {
        Cond::all()
            .add_option(filter.repo.map(|repo| Expr::col("repo").eq(repo.as_str())))
            .add_option(filter.name.map(is_named))
            .add_option(filter.search.map(|text| contains(&["name", "display_name"], text)))
            .add_option(filter.state.map(|state| Expr::col("state").eq(state.text())))
            .add_option((!filter.untagged).then(|| Expr::col("tag").is_not_null()))
    };
    let branches = match distinct(filter.owners) {
        None if narrowed().is_empty() => Vec::new(),
        None => vec![narrowed()],
        Some(owners) if owners.is_empty() => return Ok(PageOf { rows: Vec::new(), total: 0 }),
        Some(owners) => {
            owners.iter().map(|owner| narrowed().add(Expr::col("owner").eq(owner.as_str()))).collect()
        }
    };
    let list = List { table: TABLE, key: "id", kind: KeyKind::Number, newest_first: true, branches };
    list.page(&c.on(), page, select(TABLE, COLUMNS), row).await
}

/// Each owner once: a name given twice would list its images twice.
fn distinct(owners: Option<&[Owner]>) -> Option<Vec<&Owner>> {
    let mut owners: Vec<&Owner> = owners?.iter().collect();
    owners.sort();
    owners.dedup();
    Some(owners)
}

fn of_owners(owners: Option<&[Owner]>) -> Condition {
    Cond::all().add_option(
        owners.map(|owners| Expr::col("owner").is_in(owners.iter().map(|owner| owner.as_str().to_owned()))),
    )
}

/// Repositories that have a tag, by name. `owners`: none means all of them.
pub async fn repositories(
    c: &dyn Conn,
    owners: Option<&[Owner]>,
    page: PageQuery,
) -> Result<PageOf<RepositoryView>> {
    let on = c.on();
    let mut query = Query::select();
    query
        .columns(["owner", "repo"])
        .expr_as(Func::count(Expr::col("tag")), "tags")
        .expr_as(Func::max(Expr::col("created_at")), "updated_at")
        .from(TABLE)
        .cond_where(of_owners(owners).add(Expr::col("tag").is_not_null()))
        .group_by_columns(["owner", "repo"]);
    let mut counting = Query::select();
    counting.expr_as(Expr::val(1).count(), "n").from_subquery(query.clone(), "repositories");
    let total = count_of(&on, &counting).await?;

    query
        .order_by("owner", Order::Asc)
        .order_by("repo", Order::Asc)
        .limit(page.limit())
        .offset(page.offset());
    let view = |row: &QueryResult| {
        let cells = Cells(row);
        Ok(RepositoryView {
            owner: cells.parsed("owner")?,
            repo: cells.parsed("repo")?,
            tags: cells.count("tags")?,
            updated_at: cells.time("updated_at")?,
        })
    };
    let rows = on.rows(&query).await?.iter().map(view).collect::<Result<_>>()?;
    Ok(PageOf { rows, total })
}

/// The tags of a repository by name, and what they point at.
pub async fn tags(c: &dyn Conn, owner: &Owner, repo: &RepoName) -> Result<Vec<(Tag, Digest)>> {
    let mut query = select(TABLE, &["tag", "digest"]);
    query
        .cond_where(in_repository(owner, repo).add(Expr::col("tag").is_not_null()))
        .order_by("tag", Order::Asc);
    let tag = |row: &QueryResult| Ok((Cells(row).parsed("tag")?, Cells(row).parsed("digest")?));
    c.on().rows(&query).await?.iter().map(tag).collect()
}

/// What made the images of a repository, each word once.
pub async fn sources(c: &dyn Conn, owner: &Owner, repo: &RepoName) -> Result<Vec<ImageSource>> {
    let mut query = select(TABLE, &["source"]);
    query.distinct().cond_where(in_repository(owner, repo));
    c.on().rows(&query).await?.iter().map(|row| Cells(row).word("source")).collect()
}

/// The charts that were pushed for an owner.
pub async fn charts(c: &dyn Conn, owner: &Owner) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("owner").eq(owner.as_str()))
        .and_where(Expr::col("source").eq(ImageSource::Chart.text()))
        .order_by("id", Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Takes the tag off an image, because it moves to another; whether it had one.
pub async fn untag(c: &dyn Conn, id: ImageId, now: Timestamp) -> Result<bool> {
    let on = c.on();
    let scope = on.scope().await?;
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.0)).lock_exclusive();
    let Some(found) = scope.on().row(&query).await?.as_ref().map(row).transpose()? else { return Ok(false) };
    if found.tag.is_none() {
        return Ok(false);
    }
    let name = full_name(&found.owner, &found.repo, None, &found.digest);
    let mut query =
        update(TABLE, [("tag", Value::String(None)), ("name", name.into()), ("updated_at", now.0.into())]);
    query.and_where(Expr::col("id").eq(id.0));
    scope.on().change(TABLE, &query).await?;
    scope.commit().await?;
    Ok(true)
}

/// Changes whether an image can be used; true when it was otherwise before.
pub async fn set_state(c: &dyn Conn, id: ImageId, state: ImageState, now: Timestamp) -> Result<bool> {
    let mut query = update(TABLE, [("state", state.text().into()), ("updated_at", now.0.into())]);
    query.and_where(Expr::col("id").eq(id.0)).and_where(Expr::col("state").ne(state.text()));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Changes what is shown of an image: none leaves a text as it is, `Some(None)` empties it. Whether there is the image.
pub async fn update_texts(
    c: &dyn Conn,
    id: ImageId,
    display_name: Option<Option<&str>>,
    description: Option<Option<&str>>,
    now: Timestamp,
) -> Result<bool> {
    let mut query = update(TABLE, [("updated_at", now.0.into())]);
    if let Some(text) = display_name {
        query.value("display_name", text);
    }
    if let Some(text) = description {
        query.value("description", text);
    }
    query.and_where(Expr::col("id").eq(id.0));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Removes an image's row; whether there was one. [`crate::Error::InUse`] when images or containers depend on it.
pub async fn delete(c: &dyn Conn, id: ImageId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.0)).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// The images built on or saved from an image, and the containers made from it.
pub async fn dependents(c: &dyn Conn, id: ImageId) -> Result<(Vec<Row>, Vec<containers::Row>)> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("parent_image_id").eq(id.0)).order_by("id", Order::Asc);
    let images = c.on().rows(&query).await?.iter().map(row).collect::<Result<_>>()?;
    Ok((images, containers::of_image(c, id).await?))
}

/// The images built on or saved from any of these, by number; at most so many.
pub async fn children(c: &dyn Conn, parents: &[ImageId], most: u64) -> Result<Vec<Row>> {
    if parents.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("parent_image_id").is_in(parents.iter().map(|id| id.0)))
        .order_by("id", Order::Asc)
        .limit(most);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// How many rows of a repository, tagged or not, have a digest: the registry's copy goes with the last one.
pub async fn count_by_digest(c: &dyn Conn, owner: &Owner, repo: &RepoName, digest: &Digest) -> Result<u64> {
    let mut query = count_query(TABLE);
    query.cond_where(in_repository(owner, repo).add(Expr::col("digest").eq(digest.as_str())));
    count_of(&c.on(), &query).await
}

/// The usable image of these owners whose layers are the longest beginning of `layers`, short of all of them.
pub async fn parent_of_layers(
    c: &dyn Conn,
    owners: &[Owner],
    layers: &[LayerView],
) -> Result<Option<ImageId>> {
    let mut chains = layer_chains(layers);
    chains.pop();
    if chains.is_empty() || owners.is_empty() {
        return Ok(None);
    }
    let mut query = select(TABLE, &["id"]);
    query
        .cond_where(
            of_owners(Some(owners))
                .add(Expr::col("layer_chain").is_in(chains))
                .add(Expr::col("state").eq(ImageState::Ready.text())),
        )
        .order_by("layer_count", Order::Desc)
        .order_by("id", Order::Desc)
        .limit(1);
    let found = c.on().row(&query).await?;
    found.map(|row| Cells(&row).int("id").map(ImageId)).transpose()
}
