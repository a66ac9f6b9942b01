//! Chart repositories: who has which. A public one is seen by everybody and changed by its owner and by admins; one that is not
//! public exists for those alone. The index is read before a new one is stored, so that what is there works.

use std::collections::HashSet;
use std::time::Duration;

use store::chart_repos::{self as rows, Filter, ORDERS, Row, Settings, Viewer};
use store::{Conn, accounts, chart_syncs};
use wire::builds::OperationState;
use wire::chart_repos::{
    ChartRepoBackend, ChartRepoCreate, ChartRepoQuery, ChartRepoState, ChartRepoUpdate, ChartRepoView,
    ChartSyncView, SyncCause,
};
use wire::ids::{AccountId, ChartRepoId, ChartSyncId};
use wire::page::{Page, PageQuery};
use wire::secret::Secret;

use super::audit::{self, Event};
use super::{chart_sync, hosted_packages, oci_sync};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::helm_repo::Source;
use crate::clients::http_out::{self, Credential, Trust};
use crate::clients::oci_charts::{Place, place_of};
use crate::error::{Error, ErrorKind, Result};

/// How long whoever makes a repository waits for its index; then it is read behind the scenes.
const CREATE_PATIENCE: Duration = Duration::from_secs(10);
/// Longest name.
const MAX_NAME_CHARS: usize = 128;
/// Longest description.
const MAX_DESCRIPTION_CHARS: usize = 1000;
/// Longest name and password for a server.
const MAX_CREDENTIAL_CHARS: usize = 256;
/// Longest certificates.
const MAX_CERTIFICATE_BYTES: usize = 64 << 10;
/// The domain of everything.
const DOMAIN: &str = "Default";

/// Whose eyes look.
pub(super) fn viewer(caller: &Caller) -> Viewer {
    if caller.is_admin() { Viewer::Admin } else { Viewer::Account(caller.account) }
}

/// For what a password is sealed.
fn purpose(id: ChartRepoId) -> String {
    format!("chart repository {id}")
}

/// Makes a repository. Its index is read first: what cannot be read is not made. When that takes long, the repository is made and
/// its index read behind the scenes.
pub async fn create(app: &App, caller: &Caller, new: ChartRepoCreate) -> Result<ChartRepoView> {
    let id = ChartRepoId(uuid::Uuid::now_v7());
    let (settings, password) = settings_of(app, id, new)?;
    check_room(app, &app.db, caller.account).await?;
    check_name_is_free(app, caller.account, &settings, None).await?;
    let source = source(&settings, password, Trust::from(caller))?;
    let fetched = tokio::time::timeout(
        CREATE_PATIENCE,
        chart_sync::read(app, &source, &rows::Known::default(), caller.account, None),
    )
    .await;
    let read = match fetched {
        Err(_) => None,
        Ok(Err(error)) if error.code == "fetch_timed_out" => None,
        Ok(Err(error)) => return Err(unusable(&settings.url, error)),
        Ok(Ok(read)) => Some(read),
    };

    let now = app.now();
    let tx = app.db.begin().await?;
    // Again, where nobody else can come in between.
    accounts::locked(&tx, caller.account).await?;
    check_room(app, &tx, caller.account).await?;
    rows::insert(&tx, id, caller.account, &settings, now)
        .await
        .map_err(|error| taken(error, &settings.name))?;
    audit::record(
        app,
        caller,
        &tx,
        Event { action: "chart_repo.create", target: &settings.name, acting_for: None },
    )
    .await?;
    if let Some(read) = read {
        let row = stored(rows::get(&tx, id).await?, id)?;
        chart_sync::store(app, &tx, &row, read, SyncCause::Create, now, None).await?;
    }
    tx.commit().await?;
    app.signals.chart_repos.notify_one();
    let row = stored(rows::get(&app.db, id).await?, id)?;
    view(app, caller, row).await
}

/// Whether an account may have another repository.
async fn check_room(app: &App, c: &dyn Conn, account: AccountId) -> Result<()> {
    let limit = app.config.charts.repos_per_account;
    if rows::count(c, account).await? < limit {
        return Ok(());
    }
    let detail = format!("an account has at most {limit} chart repositories");
    Err(Error::conflict("too_many_chart_repos", detail)
        .hint("delete those that are not used, or ask an admin to raise `charts.repos_per_account`"))
}

/// Repositories that the caller sees.
pub async fn list(
    app: &App,
    caller: &Caller,
    query: &ChartRepoQuery,
    with_details: bool,
) -> Result<Page<ChartRepoView>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let order_by = match query.order_by.as_deref() {
        // All have the same domain.
        None | Some("" | "project_domain") => "created_at",
        Some("type") => "kind",
        Some("status") => "state",
        Some(name) => ORDERS.iter().find(|order| **order == name).copied().ok_or_else(|| {
            let shown: String = name.chars().take(50).flat_map(char::escape_debug).collect();
            Error::invalid("order_by", format!("lists of chart repositories cannot be ordered by `{shown}`"))
        })?,
    };
    let ascending = match query.order.as_deref() {
        None | Some("" | "desc") => false,
        Some("asc") => true,
        Some(_) => return Err(Error::invalid("order", "`order` is `asc` or `desc`")),
    };
    if query.search.as_ref().is_some_and(|text| text.chars().count() > 200) {
        return Err(Error::invalid("search", "`search` has at most 200 characters"));
    }
    let search = query.search.as_deref().filter(|text| !text.is_empty());
    let filter = Filter { viewer: viewer(caller), kind: query.kind, search, order_by, ascending };
    let found = rows::list(&app.db, filter, page).await?;
    let ids: Vec<ChartRepoId> = found.rows.iter().map(|row| row.id).collect();
    let releases = rows::release_counts(&app.db, &ids).await?;
    Ok(super::page_of(found, page, |row| {
        let count = releases.get(&row.id).copied().unwrap_or(0);
        shown(app, caller, row, count, with_details)
    }))
}

/// One repository, by id or name.
pub async fn get(app: &App, caller: &Caller, id_or_name: &str) -> Result<ChartRepoView> {
    let row = find(app, caller, id_or_name).await?;
    view(app, caller, row).await
}

/// Changes a repository. Its charts stay until the index at another address was read.
pub async fn update(
    app: &App,
    caller: &Caller,
    id_or_name: &str,
    change: ChartRepoUpdate,
) -> Result<ChartRepoView> {
    if change.is_empty() {
        return Err(Error::new(
            ErrorKind::Malformed,
            "nothing_to_change",
            "the request names nothing to change",
        ));
    }
    let row = owned(app, caller, id_or_name).await?;
    let before = &row.settings;
    if before.backend == ChartRepoBackend::Hosted
        && (change.url.is_some() || change.username.is_some() || change.password.is_some())
    {
        return Err(Error::invalid(
            "url",
            "the charts of this repository are on this server; it has no other address",
        ));
    }
    // Who one is at a server belongs to that server: whoever names another one must say it again, or could have it sent to a
    // server of his own.
    let same_place = change.url.as_ref().is_none_or(|url| {
        matches!(
            (address_of(url), address_of(&before.url)),
            (Ok(one), Ok(other)) if http_out::same_origin(&one, &other)
        )
    });
    let merged = ChartRepoCreate {
        name: change.name.unwrap_or_else(|| before.name.clone()),
        url: change.url.unwrap_or_else(|| before.url.clone()),
        kind: Some(before.kind),
        is_public: Some(change.is_public.unwrap_or(before.is_public)),
        description: change.description.or_else(|| before.description.clone()),
        username: change
            .username
            .or_else(|| before.username.clone().filter(|_| same_place))
            .filter(|name| !name.is_empty()),
        password: None,
        ca_certificate: change
            .ca_certificate
            .or_else(|| before.ca_certificate.clone())
            .filter(|pem| !pem.is_empty()),
        sync_minutes: Some(change.sync_minutes.unwrap_or(before.sync_minutes)),
        requires_signature: Some(change.requires_signature.unwrap_or(before.requires_signature)),
    };
    let has_name = merged.username.is_some();
    let (mut settings, _) = settings_of(app, row.id, merged)?;
    settings.backend = before.backend;
    settings.password = match change.password {
        Some(password) if !has_name => {
            drop(password);
            return Err(Error::invalid("username", "a password needs a `username` to go with it"));
        }
        Some(password) => Some(seal(app, row.id, &password)?),
        None if has_name && same_place && settings.username == before.username => before.password.clone(),
        None => None,
    };
    let name_changes = settings.name != before.name || settings.is_public != before.is_public;
    if name_changes {
        check_name_is_free(app, row.account_id, &settings, Some(row.id)).await?;
    }
    let reread = settings.url != before.url
        || settings.username != before.username
        || settings.password != before.password
        || settings.ca_certificate != before.ca_certificate;
    let is_here = oci_sync::is_here(app, &settings.url);
    if reread && !is_here {
        // Said at once, and to whoever gives it.
        let url = address_of(&settings.url)?;
        app.outbound
            .addresses(&url, Trust::from(caller))
            .await
            .map_err(|error| unusable(&settings.url, error))?;
    }
    let now = app.now();
    let tx = app.db.begin().await?;
    let done =
        rows::set(&tx, &row, &settings, reread, now).await.map_err(|error| taken(error, &settings.name))?;
    if !done {
        return Err(Error::conflict(
            "changed_meanwhile",
            "the chart repository was changed at the same time",
        )
        .hint("try again"));
    }
    let acting_for = Some(row.account_id);
    audit::record(
        app,
        caller,
        &tx,
        Event { action: "chart_repo.update", target: &settings.name, acting_for },
    )
    .await?;
    tx.commit().await?;
    app.signals.chart_repos.notify_one();
    if reread {
        // Waited for, so that the answer says how it is; a failure is kept with the repository and shown.
        let row = stored(rows::get(&app.db, row.id).await?, row.id)?;
        if let Err(failure) = chart_sync::sync(app, &row, SyncCause::Change).await {
            tracing::debug!(code = failure.code, "the index at the new address cannot be read");
        }
    }
    let row = stored(rows::get(&app.db, row.id).await?, row.id)?;
    view(app, caller, row).await
}

/// Reads the index of a repository now.
pub async fn sync(app: &App, caller: &Caller, id_or_name: &str) -> Result<(ChartRepoView, ChartSyncView)> {
    let row = owned(app, caller, id_or_name).await?;
    check_is_elsewhere(&row)?;
    let done = chart_sync::sync(app, &row, SyncCause::Manual).await?;
    let row = stored(rows::get(&app.db, row.id).await?, row.id)?;
    Ok((view(app, caller, row).await?, done))
}

/// Asks for the index of a repository to be read; it is, also after a restart of the server.
pub async fn request_sync(app: &App, caller: &Caller, id_or_name: &str) -> Result<ChartSyncView> {
    let row = owned(app, caller, id_or_name).await?;
    check_is_elsewhere(&row)?;
    if let Some(open) = chart_syncs::open(&app.db).await?.into_iter().find(|sync| sync.repo_id == row.id) {
        return Ok(chart_sync::view(open));
    }
    let sync = chart_syncs::Row {
        id: ChartSyncId(uuid::Uuid::now_v7()),
        repo_id: row.id,
        cause: SyncCause::Manual,
        state: OperationState::Queued,
        reason: None,
        message: None,
        started_at: app.now(),
        ended_at: None,
        found: chart_syncs::Found::default(),
    };
    chart_syncs::insert(&app.db, &sync).await?;
    app.signals.chart_repos.notify_one();
    Ok(chart_sync::view(sync))
}

/// How a repository was synced, newest first.
pub async fn syncs(
    app: &App,
    caller: &Caller,
    id_or_name: &str,
    page: PageQuery,
) -> Result<Page<ChartSyncView>> {
    let row = find(app, caller, id_or_name).await?;
    let found = chart_syncs::list(&app.db, row.id, page).await?;
    Ok(super::page_of(found, page, chart_sync::view))
}

/// Deletes a repository with its charts, unless something was installed from it.
pub async fn delete(app: &App, caller: &Caller, id_or_name: &str) -> Result<ChartRepoView> {
    let row = owned(app, caller, id_or_name).await?;
    let shown = view(app, caller, row.clone()).await?;
    let is_hosted = row.settings.backend == ChartRepoBackend::Hosted;
    // Nobody adds a package while those of the repository go.
    let _guard = app.chart_syncs.packages.lock().await;
    let packages = if is_hosted { hosted_packages::of(app, row.id).await? } else { HashSet::new() };
    let tx = app.db.begin().await?;
    let releases = release_count(&tx, row.id).await?;
    if releases > 0 {
        return Err(Error::conflict("chart_repo_in_use", format!("{releases} release use this repo"))
            .hint("uninstall them first: `longshore release list`")
            .with("release_count", releases));
    }
    if is_hosted {
        super::images::remove_charts(app, &tx, &row.account).await?;
    }
    if !rows::delete(&tx, row.id).await? {
        return Err(not_there(id_or_name));
    }
    let acting_for = Some(row.account_id);
    audit::record(
        app,
        caller,
        &tx,
        Event { action: "chart_repo.delete", target: &row.settings.name, acting_for },
    )
    .await?;
    tx.commit().await?;
    app.signals.jobs.any();
    app.chart_syncs.forget(row.id);
    hosted_packages::forget(app, packages).await?;
    Ok(shown)
}

/// The repository with this id, or else the one with this name: the caller's own before the public one.
pub(super) async fn find(app: &App, caller: &Caller, id_or_name: &str) -> Result<Row> {
    if let Ok(id) = id_or_name.parse()
        && let Some(row) = rows::get(&app.db, id).await?
    {
        let is_seen = row.settings.is_public || caller.may_act_for(row.account_id);
        return if is_seen { Ok(row) } else { Err(not_there(id_or_name)) };
    }
    let mut found = rows::by_name(&app.db, viewer(caller), id_or_name).await?;
    if let Some(own) = found.iter().position(|row| row.account_id == caller.account) {
        return Ok(found.swap_remove(own));
    }
    if let Some(public) = found.iter().position(|row| row.settings.is_public) {
        return Ok(found.swap_remove(public));
    }
    match (found.pop(), found.is_empty()) {
        (Some(row), true) => Ok(row),
        (Some(_), false) => Err(Error::conflict(
            "ambiguous",
            format!("several accounts have a chart repository `{id_or_name}`"),
        )
        .hint("name it by its id")),
        (None, _) => Err(not_there(id_or_name)),
    }
}

/// The same, for whoever wants to change it.
pub(super) async fn owned(app: &App, caller: &Caller, id_or_name: &str) -> Result<Row> {
    let row = find(app, caller, id_or_name).await?;
    if caller.may_act_for(row.account_id) {
        return Ok(row);
    }
    Err(Error::forbidden("not_owner", "only its owner and admins can change this chart repository"))
}

/// What is kept here needs no sync.
fn check_is_elsewhere(row: &Row) -> Result<()> {
    match row.settings.backend {
        ChartRepoBackend::Common => Ok(()),
        ChartRepoBackend::Hosted => Err(Error::conflict(
            "chart_repo_hosted",
            "the charts of this repository are on this server and need no sync",
        )),
    }
}

fn not_there(id_or_name: &str) -> Error {
    Error::not_found("chart repository", id_or_name)
}

fn stored(row: Option<Row>, id: ChartRepoId) -> Result<Row> {
    row.ok_or_else(|| not_there(&id.to_string()))
}

async fn release_count(c: &dyn Conn, id: ChartRepoId) -> Result<u64> {
    Ok(rows::release_counts(c, &[id]).await?.get(&id).copied().unwrap_or(0))
}

async fn view(app: &App, caller: &Caller, row: Row) -> Result<ChartRepoView> {
    let count = release_count(&app.db, row.id).await?;
    Ok(shown(app, caller, row, count, true))
}

/// A repository as the caller may see it.
fn shown(app: &App, caller: &Caller, row: Row, release_count: u64, with_details: bool) -> ChartRepoView {
    let is_owner = caller.may_act_for(row.account_id);
    let looked = app.chart_syncs.last_look(row.id).filter(|at| Some(*at) > row.last_sync_at);
    let status = match row.state {
        ChartRepoState::Syncing => None,
        ChartRepoState::Ready => Some(OperationState::Succeeded),
        ChartRepoState::Failed => Some(OperationState::Failed),
    };
    let details = |value: u64| with_details.then_some(value);
    ChartRepoView {
        id: row.id,
        is_public: row.settings.is_public,
        project_domain: DOMAIN.to_owned(),
        release_count,
        kind: row.settings.kind,
        backend: row.settings.backend,
        status: row.state,
        next_sync_at: chart_sync::next_at(app, &row),
        chart_count: details(row.known.chart_count),
        chart_version_count: details(row.known.version_count),
        skipped_count: details(row.known.skipped_count),
        last_sync_at: looked.or(row.last_sync_at),
        last_sync_status: status,
        last_sync_error: row.error,
        owner: row.account,
        description: row.settings.description,
        has_password: is_owner.then_some(row.settings.password.is_some()),
        username: row.settings.username.filter(|_| is_owner),
        sync_minutes: row.settings.sync_minutes,
        requires_signature: row.settings.requires_signature,
        name: row.settings.name,
        url: row.settings.url,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

/// Checks what somebody wants a repository to be.
fn settings_of(app: &App, id: ChartRepoId, new: ChartRepoCreate) -> Result<(Settings, Option<Secret>)> {
    let name = new.name.trim().to_owned();
    let is_name = (1..=MAX_NAME_CHARS).contains(&name.chars().count())
        && !name.contains(|c: char| {
            c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\' | '?' | '#' | '%')
        })
        && !matches!(name.as_str(), "." | "..");
    if !is_name {
        let rule = "a chart repository's name has 1 to 128 characters, without spaces and without `/`, `\\`, `?`, `#` and `%`";
        return Err(Error { code: "invalid_name", ..Error::invalid("name", rule) });
    }
    if name.parse::<ChartRepoId>().is_ok() {
        // It would stand in the way of the repository with that id.
        return Err(Error {
            code: "invalid_name",
            ..Error::invalid("name", "a chart repository's name is not an id")
        });
    }
    let url = new.url.trim().to_owned();
    if url.is_empty() {
        return Err(Error { code: "missing_url", ..Error::invalid("url", "Missing repo url") });
    }
    address_of(&url)?;
    let text = |field: &'static str, value: Option<String>, max: usize| match value {
        Some(text) if text.chars().count() > max || text.chars().any(|c| c.is_control() && c != '\n') => {
            Err(Error::invalid(
                field,
                format!("`{field}` has at most {max} characters, and no control characters"),
            ))
        }
        other => Ok(other.filter(|text| !text.is_empty())),
    };
    let description = text("description", new.description, MAX_DESCRIPTION_CHARS)?;
    let username = text("username", new.username, MAX_CREDENTIAL_CHARS)?;
    if username.as_ref().is_some_and(|name| name.contains(':')) {
        return Err(Error::invalid("username", "a `username` has no `:` in it"));
    }
    let password = new.password.filter(|password| !password.expose().is_empty());
    if let Some(password) = &password {
        if username.is_none() {
            return Err(Error::invalid("username", "a password needs a `username` to go with it"));
        }
        if password.expose().chars().count() > 16 * MAX_CREDENTIAL_CHARS {
            return Err(Error::invalid("password", "the password is too long"));
        }
    }
    let ca_certificate = new.ca_certificate.filter(|pem| !pem.trim().is_empty());
    if let Some(pem) = &ca_certificate {
        if pem.len() > MAX_CERTIFICATE_BYTES {
            return Err(Error::invalid("ca_certificate", "the certificates are longer than 64 KiB"));
        }
        http_out::check_authorities(pem)?;
    }
    let sync_minutes = new.sync_minutes.unwrap_or(app.config.charts.sync_minutes);
    if sync_minutes != 0 && !(5..=43_200).contains(&sync_minutes) {
        return Err(Error::invalid("sync_minutes", "`sync_minutes` is 0 (never) or 5 to 43,200"));
    }
    let sealed = password.as_ref().map(|password| seal(app, id, password)).transpose()?;
    let settings = Settings {
        name,
        url,
        kind: new.kind.unwrap_or_default(),
        backend: ChartRepoBackend::Common,
        is_public: new.is_public.unwrap_or(app.config.charts.public_by_default),
        description,
        username,
        password: sealed,
        ca_certificate,
        sync_minutes,
        requires_signature: new.requires_signature.unwrap_or(false),
    };
    Ok((settings, password))
}

fn seal(app: &App, id: ChartRepoId, password: &Secret) -> Result<String> {
    app.keys.sealing.seal(&purpose(id), password)
}

/// The address that is connected to: of charts in a registry, the registry's with their path.
fn address_of(url: &str) -> Result<reqwest::Url> {
    let Some(place) = place_of(url) else { return http_out::parse_url(url) };
    let Place { mut base, path } = place?;
    base.set_path(&path);
    Ok(base)
}

/// Where the index of settings is.
fn source(settings: &Settings, password: Option<Secret>, trust: Trust) -> Result<Source> {
    let credential = settings
        .username
        .clone()
        .map(|username| Credential { username, password: password.unwrap_or_else(|| Secret::new("")) });
    Ok(Source {
        url: address_of(&settings.url)?,
        place: place_of(&settings.url).transpose()?,
        trust,
        credential,
        authorities: settings.ca_certificate.clone(),
    })
}

/// Where the index of a stored repository is.
pub(super) fn source_of(app: &App, row: &Row, trust: Trust) -> Result<Source> {
    let sealed = row.settings.password.as_deref();
    let password = sealed.map(|sealed| app.keys.sealing.open(&purpose(row.id), sealed)).transpose()?;
    source(&row.settings, password, trust)
}

/// A name is unique among the public ones and among an account's own, so that it always means one repository.
async fn check_name_is_free(
    app: &App,
    account: AccountId,
    settings: &Settings,
    except: Option<ChartRepoId>,
) -> Result<()> {
    let is_taken = rows::has_name(&app.db, account, &settings.name, except).await?
        || (settings.is_public
            && rows::by_name(&app.db, Viewer::Account(account), &settings.name)
                .await?
                .iter()
                .any(|row| row.settings.is_public && Some(row.id) != except));
    if is_taken { Err(name_taken(&settings.name)) } else { Ok(()) }
}

fn taken(error: store::Error, name: &str) -> Error {
    match error {
        store::Error::Duplicate => name_taken(name),
        other => other.into(),
    }
}

fn name_taken(name: &str) -> Error {
    Error::conflict("exists", format!("there is a chart repository `{name}` already"))
        .hint("choose another name")
}

/// An index that cannot be read, of a repository that is to be made.
fn unusable(url: &str, error: Error) -> Error {
    let is_ours = matches!(error.kind, ErrorKind::Internal | ErrorKind::Unavailable | ErrorKind::Full);
    if is_ours || error.code == "invalid_url" {
        return error;
    }
    Error {
        kind: ErrorKind::Invalid,
        code: "chart_repo_unusable",
        detail: format!("Add helm repo {url} failed: {}", error.detail),
        field: Some("url".to_owned()),
        ..error
    }
    .with("reason", error.code)
}
