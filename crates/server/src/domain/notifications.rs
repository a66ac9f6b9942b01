//! Notifications: who hears how a git repository's runs end, and what they hear. Sending is a job: at least once, with an id
//! that stays the same.

use serde_json::json;
use store::notification_targets::{self as targets, Row};
use store::{Conn, git_repos, jobs, runs};
use wire::builds::OperationState;
use wire::ids::{GitRepoId, NotificationTargetId};
use wire::notifications::{NotificationKind, NotificationTargetCreate, NotificationTargetView};
use wire::secret::Secret;

use super::audit::{self, Event};
use super::git_repos::Wrong;
use crate::app::App;
use crate::caller::Caller;
use crate::clients::git::GitUrl;
use crate::clients::git_api::{self, CommitStatus, Receiver};
use crate::clients::http_out::Trust;
use crate::clients::mail::{self, Letter};
use crate::clients::notify::{self, Message, Target};
use crate::error::{Error, ErrorKind, Result};

/// Targets of one repository.
const PER_REPO: usize = 20;
/// Longest address or secret in characters.
const MAX_CHARS: usize = 1_000;
/// Seconds between two trial letters to one mailbox.
const LETTER_PAUSE_SECS: i64 = 60;

fn purpose(uuid: &str, column: &str) -> String {
    format!("notification_targets.{column} {uuid}")
}

/// Adds somebody to tell.
pub async fn create(
    app: &App,
    caller: &Caller,
    repo: GitRepoId,
    new: &NotificationTargetCreate,
) -> Result<NotificationTargetView> {
    let found = super::git_repos::find(app, caller, repo).await?;
    let mut wrong = Wrong::default();
    let address = new.address.expose().trim();
    let is_url = address.starts_with("https://") || address.starts_with("http://");
    if new.kind == NotificationKind::Email {
        if !mail::is_address(address) {
            wrong.add("address", "`address` is that of a mailbox, such as `alice@example.org`");
        }
    } else if !is_url
        || address.chars().count() > MAX_CHARS
        || address.chars().any(|c| c.is_control() || c == ' ')
    {
        wrong.add("address", "`address` begins with `https://` or `http://` and has at most 1000 characters");
    }
    let secret = new.secret.as_ref().filter(|secret| !secret.expose().is_empty());
    if secret.is_some_and(|secret| {
        secret.expose().chars().count() > MAX_CHARS || secret.expose().chars().any(char::is_control)
    }) {
        wrong.add("secret", "`secret` is one line of at most 1000 characters");
    }
    wrong.done()?;
    let uuid = uuid::Uuid::now_v7().to_string();
    let sealed = app.keys.sealing.seal(&purpose(&uuid, "address"), &Secret::new(address))?;
    let secret = secret.map(|secret| app.keys.sealing.seal(&purpose(&uuid, "secret"), secret)).transpose()?;
    let row = targets::New {
        uuid: &uuid,
        git_repo_id: repo,
        kind: new.kind,
        address: &sealed,
        secret: secret.as_deref(),
        now: app.now(),
    };
    let tx = app.db.begin().await?;
    if !git_repos::lock(&tx, repo).await? {
        return Err(Error::not_found("git repository", repo));
    }
    if targets::of_repo(&tx, repo).await?.len() >= PER_REPO {
        let detail = format!("a git repository tells at most {PER_REPO} targets");
        return Err(Error::conflict("too_many_targets", detail).hint("delete one first"));
    }
    let id = targets::insert(&tx, &row).await?;
    let target = id.to_string();
    let event =
        Event { action: "notification_target.create", target: &target, acting_for: Some(found.account_id) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    let row = targets::get(&app.db, id).await?;
    view(app, row.ok_or_else(|| Error::not_found("notification target", id))?)
}

/// Who is told of a repository's runs.
pub async fn list(app: &App, caller: &Caller, repo: GitRepoId) -> Result<Vec<NotificationTargetView>> {
    super::git_repos::find(app, caller, repo).await?;
    targets::of_repo(&app.db, repo).await?.into_iter().map(|row| view(app, row)).collect()
}

async fn find(app: &App, caller: &Caller, repo: GitRepoId, id: NotificationTargetId) -> Result<Row> {
    super::git_repos::find(app, caller, repo).await?;
    let row = targets::get(&app.db, id).await?;
    row.filter(|row| row.git_repo_id == repo).ok_or_else(|| Error::not_found("notification target", id))
}

/// Tells somebody no more.
pub async fn delete(app: &App, caller: &Caller, repo: GitRepoId, id: NotificationTargetId) -> Result<()> {
    find(app, caller, repo, id).await?;
    let tx = app.db.begin().await?;
    targets::delete(&tx, id).await?;
    let target = id.to_string();
    let event = Event { action: "notification_target.delete", target: &target, acting_for: None };
    audit::record(app, caller, &tx, event).await?;
    Ok(tx.commit().await?)
}

/// Sends a trial message at once; what is wrong is said in plain words.
pub async fn test(
    app: &App,
    caller: &Caller,
    repo: GitRepoId,
    id: NotificationTargetId,
) -> Result<NotificationTargetView> {
    let row = find(app, caller, repo, id).await?;
    // Letters go to mailboxes of people who did not ask for them.
    let again_at = row.last_at.filter(|_| row.kind == NotificationKind::Email);
    if again_at.is_some_and(|last| last.plus_secs(LETTER_PAUSE_SECS) > app.now()) {
        let detail = "this mailbox got a letter a moment ago";
        return Err(Error::new(ErrorKind::TooMany(60), "too_many_letters", detail).hint("wait a minute"));
    }
    let message = Message {
        id: &format!("test_{}", uuid::Uuid::now_v7().simple()),
        text: "Longshore: this is a test / 这是一条测试消息",
        body: &json!({"type": "test"}),
        now: app.now(),
    };
    let sent = deliver(app, Trust::from(caller), &row, &message).await;
    note(app, id, &sent).await?;
    sent?;
    let row = targets::get(&app.db, id).await?;
    view(app, row.ok_or_else(|| Error::not_found("notification target", id))?)
}

async fn deliver(app: &App, trust: Trust, row: &Row, message: &Message<'_>) -> Result<()> {
    let address = app.keys.sealing.open(&purpose(&row.uuid, "address"), &row.address)?;
    let secret = row.secret.as_deref();
    let secret =
        secret.map(|sealed| app.keys.sealing.open(&purpose(&row.uuid, "secret"), sealed)).transpose()?;
    if row.kind == NotificationKind::Email {
        let subject = message.text.lines().next().unwrap_or_default();
        let letter = Letter { to: address.expose(), subject, text: message.text, id: message.id };
        return mail::send(&app.config.mail, &letter).await;
    }
    let target = Target { kind: row.kind, address: &address, secret: secret.as_ref() };
    notify::send(&app.outbound, trust, &target, message).await
}

async fn note(app: &App, id: NotificationTargetId, sent: &Result<()>) -> Result<()> {
    let text = match sent {
        Ok(()) => "sent".to_owned(),
        Err(error) => error.to_string(),
    };
    Ok(targets::set_result(&app.db, id, &text, app.now()).await?)
}

/// Writes the jobs that tell of a run, in the transaction that changes it: how its commit fares, and, at its end,
/// everybody who is to hear of it.
pub(crate) async fn enqueue(app: &App, conn: &impl Conn, run: &runs::Row, is_end: bool) -> Result<()> {
    let now = app.now();
    let repo = git_repos::get(conn, run.git_repo_id).await?;
    let Some(repo) = repo else { return Ok(()) };
    let uuid = run.uuid.to_string();
    if repo.content.status_token.is_some() {
        let job =
            jobs::New { kind: jobs::Kind::ReportStatus, target: &uuid, account_id: None, run_at: now, now };
        jobs::enqueue(conn, &job).await?;
    }
    if !is_end {
        return Ok(());
    }
    for target in targets::of_repo(conn, run.git_repo_id).await? {
        let target = format!("{uuid} {}", target.id);
        let job = jobs::New { kind: jobs::Kind::Notify, target: &target, account_id: None, run_at: now, now };
        jobs::enqueue(conn, &job).await?;
    }
    Ok(())
}

/// Tells one target how a run ended. What is gone meanwhile is nothing to tell.
pub(crate) async fn notify(app: &App, run: &runs::Row, id: NotificationTargetId) -> Result<()> {
    let Some(row) = targets::get(&app.db, id).await? else { return Ok(()) };
    let Some(caller) = super::runs::worker(app, run.account_id).await? else { return Ok(()) };
    let view = super::runs::get(app, &caller, run.id).await?;
    let mark = match run.state {
        OperationState::Succeeded => "✅",
        OperationState::Cancelled => "⏹",
        _ => "❌",
    };
    let commit: String = run.commit.as_deref().unwrap_or_default().chars().take(12).collect();
    let state = serde_json::to_value(run.state).map_err(Error::internal)?;
    let state = state.as_str().unwrap_or_default();
    let mut text = format!("{mark} {}: {state}\n{}:{} {commit}", run.name, run.image, run.image_tag);
    if let Some(message) = &run.message {
        text.push('\n');
        text.push_str(message);
    }
    let message = Message {
        id: &format!("run_{}_{id}", run.uuid.0.simple()),
        text: &text,
        body: &json!({"type": "run.ended", "run": view}),
        now: app.now(),
    };
    let sent = deliver(app, Trust::from(&caller), &row, &message).await;
    note(app, id, &sent).await?;
    sent
}

/// Tells the git server how a run's commit fares, until it has heard the newest: of two who tell, the slower one must not
/// have the last word with what is no longer true.
pub(crate) async fn report_status(app: &App, run: &runs::Row) -> Result<()> {
    let mut run = run.clone();
    loop {
        report_once(app, &run).await?;
        match runs::get(&app.db, run.id).await? {
            Some(now) if now.state != run.state => run = now,
            _ => return Ok(()),
        }
    }
}

async fn report_once(app: &App, run: &runs::Row) -> Result<()> {
    let Some(repo) = git_repos::get(&app.db, run.git_repo_id).await? else { return Ok(()) };
    let Some(caller) = super::runs::worker(app, run.account_id).await? else { return Ok(()) };
    let sealed = repo.content.status_token.as_deref();
    let Some(token) = super::git_repos::open(app, &repo, "status_token", sealed)? else { return Ok(()) };
    let Some(commit) = &run.commit else { return Ok(()) };
    let url: GitUrl = repo.content.url.parse().map_err(Error::internal)?;
    let description = match run.state {
        OperationState::Queued => "waits",
        OperationState::Running => "is being built",
        OperationState::Succeeded => "built and pushed",
        OperationState::Cancelled => "cancelled",
        OperationState::Failed => run.reason.as_deref().unwrap_or("failed"),
    };
    let page = app
        .config
        .public_url
        .as_deref()
        .map(|url| format!("{}/api/v1/runs/{}/log", url.trim_end_matches('/'), run.id));
    let status = CommitStatus { commit, state: run.state, description, target_url: page.as_deref() };
    let authority = super::git_repos::authority(app, &repo).await?;
    let receiver = Receiver {
        repo: &url,
        provider: repo.content.options.provider,
        token: &token,
        authority: authority.as_deref(),
    };
    git_api::report(&app.outbound, Trust::from(&caller), &receiver, &status).await
}

/// Notes in a run's log that the git server did not take its status.
pub(crate) async fn note_unreported(app: &App, run: &runs::Row, error: &Error) -> Result<()> {
    let line = format!("the commit's status did not reach the git server: {error}");
    super::run_log::note(&app.db, run, &line, app.now()).await
}

fn view(app: &App, row: Row) -> Result<NotificationTargetView> {
    let address = app.keys.sealing.open(&purpose(&row.uuid, "address"), &row.address)?;
    let text = address.expose();
    if row.kind == NotificationKind::Email {
        return Ok(shown(row, text.to_owned()));
    }
    // The rest of such an address is a secret by itself.
    let end = text.find("://").map_or(0, |at| at + 3);
    let end = text[end..].find(['/', '?', '#']).map_or(text.len(), |at| end + at);
    let host = text[..end].rsplit_once('@').map_or(&text[..end], |(_, host)| host);
    let origin = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
    Ok(shown(row, format!("{origin}/***")))
}

fn shown(row: Row, address: String) -> NotificationTargetView {
    NotificationTargetView {
        id: row.id,
        kind: row.kind,
        address,
        has_secret: row.secret.is_some(),
        last_result: row.last_result,
        last_at: row.last_at,
        created_at: row.created_at,
    }
}
