//! What happened to runs, in words: lines that the server writes at each turn of a run, and that people may add to.

use store::filtered::Filter;
use store::run_log::{self, Row};
use store::{Conn, PageOf, git_repos, runners, runs};
use wire::ids::{BuildId, RunLogId, RunnerUuid};
use wire::runs::RunLogView;
use wire::time::Timestamp;

use super::git_repos::{Wrong, visible};
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};

/// Longest line in bytes.
const MSG_BYTES: usize = 64 << 10;

/// A line to add.
#[derive(Clone, Copy, Debug)]
pub struct NewLine<'a> {
    /// The repository, by name.
    pub repo_name: &'a str,
    /// The run, by its uuid; none when empty.
    pub event_uuid: &'a str,
    /// The runner, by its uuid; none when empty.
    pub runner_uuid: &'a str,
    /// What happened.
    pub msg: &'a str,
}

/// Notes what the server did to a run, in the transaction that does it.
pub async fn note(conn: &dyn Conn, run: &runs::Row, msg: &str, now: Timestamp) -> Result<()> {
    let runner = runners::of_run(conn, run.id).await?;
    let runner = runner.map(|runner| runner.uuid.to_string()).unwrap_or_default();
    let line = run_log::New {
        account_id: run.account_id,
        git_repo_id: run.git_repo_id,
        run_id: Some(run.id),
        repo_name: &run.repo_name,
        event_uuid: &run.uuid.to_string(),
        runner_uuid: &runner,
        msg,
        now,
    };
    run_log::insert_later(conn, &line).await?;
    Ok(())
}

/// Adds a line to the log of one's own repository.
pub async fn create(app: &App, caller: &Caller, new: NewLine<'_>) -> Result<RunLogView> {
    let mut wrong = Wrong::default();
    check_msg(&mut wrong, new.msg);
    let unknown = |what: &str| format!("there is no {what} of this name");
    let repo = match super::git_repos::by_name(app, caller, new.repo_name).await {
        Ok(id) => git_repos::get(&app.db, id).await?,
        Err(error) if error.code == "not_found" => None,
        Err(error) => return Err(error),
    };
    let mut run = None;
    if !new.event_uuid.is_empty() {
        run = match new.event_uuid.parse::<BuildId>() {
            Ok(uuid) => runs::by_uuid(&app.db, uuid).await?,
            Err(_) => None,
        };
        let belongs =
            run.as_ref().is_some_and(|run| repo.as_ref().is_some_and(|repo| repo.id == run.git_repo_id));
        if !belongs {
            wrong.add("event_uuid", unknown("run of this repository"));
        }
    }
    if !new.runner_uuid.is_empty() {
        let runner = match new.runner_uuid.parse::<RunnerUuid>() {
            Ok(uuid) => runners::by_uuid(&app.db, uuid).await?,
            Err(_) => None,
        };
        let belongs = runner
            .is_some_and(|runner| repo.as_ref().is_some_and(|repo| repo.account_id == runner.account_id));
        if !belongs {
            wrong.add("runner_uuid", unknown("runner"));
        }
    }
    let Some(repo) = repo else {
        wrong.add("repo_name", unknown("git repository"));
        wrong.done()?;
        return Err(Error::internal("what is wrong was not told"));
    };
    wrong.done()?;
    let line = run_log::New {
        account_id: repo.account_id,
        git_repo_id: repo.id,
        run_id: run.map(|run| run.id),
        repo_name: &repo.content.repo_name,
        event_uuid: new.event_uuid,
        runner_uuid: new.runner_uuid,
        msg: new.msg,
        now: app.now(),
    };
    let id = run_log::insert(&app.db, &line).await?;
    get(app, caller, id).await
}

fn check_msg(wrong: &mut Wrong, msg: &str) {
    if msg.is_empty() {
        wrong.add("msg", "`msg` is missing");
    } else if msg.len() > MSG_BYTES {
        wrong.add("msg", format!("`msg` has more than {} KiB", MSG_BYTES >> 10));
    }
}

/// Lines, narrowed and ordered; one's own, everybody's for an admin.
pub async fn list(app: &App, caller: &Caller, filter: Filter) -> Result<PageOf<RunLogView>> {
    let found = run_log::list(&app.db, &visible(caller, filter)).await?;
    Ok(PageOf { rows: found.rows.into_iter().map(view).collect(), total: found.total })
}

/// A line: one's own, or any for an admin.
pub async fn get(app: &App, caller: &Caller, id: RunLogId) -> Result<RunLogView> {
    find(app, caller, id).await.map(view)
}

async fn find(app: &App, caller: &Caller, id: RunLogId) -> Result<Row> {
    let row = run_log::get(&app.db, id).await?;
    row.filter(|row| caller.may_act_for(row.account_id)).ok_or_else(|| Error::not_found("line", id))
}

/// Changes what a line says.
pub async fn update(app: &App, caller: &Caller, id: RunLogId, msg: Option<&str>) -> Result<RunLogView> {
    find(app, caller, id).await?;
    if let Some(msg) = msg {
        let mut wrong = Wrong::default();
        check_msg(&mut wrong, msg);
        wrong.done()?;
        run_log::set_msg(&app.db, id, msg, app.now()).await?;
    }
    get(app, caller, id).await
}

/// Deletes a line.
pub async fn delete(app: &App, caller: &Caller, id: RunLogId) -> Result<()> {
    find(app, caller, id).await?;
    run_log::delete(&app.db, id).await?;
    Ok(())
}

fn view(row: Row) -> RunLogView {
    RunLogView {
        id: row.id,
        repo_name: row.repo_name,
        event_uuid: row.event_uuid,
        runner_uuid: row.runner_uuid,
        msg: row.msg,
        updated_at: row.updated_at,
    }
}
