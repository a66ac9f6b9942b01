//! Looks at git servers for new commits, for repositories that are not told by webhooks, and starts runs by the clock.

use std::time::Duration;

use ring::rand::SecureRandom as _;
use store::git_repos::{self, Row};
use store::runs;
use wire::runs::RunCause;

use crate::app::App;
use crate::domain;
use crate::domain::runs::{REF_CHARS, Start};
use crate::error::Result;

/// How often it is asked whether it is time.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Repositories that are looked at one after the other.
const AT_ONCE: u64 = 50;
/// How long a git server may take to tell its refs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn run(app: App) {
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let due = match git_repos::due(&app.db, app.now(), AT_ONCE).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "cannot see which git repositories are to be looked at");
                continue;
            }
        };
        for row in due {
            tokio::select! {
                () = app.shutdown.cancelled() => return,
                looked = look(&app, &row) => if let Err(error) = looked {
                    tracing::info!(%error, git_repo.id = %row.id, "cannot look for new commits; trying again at the next time");
                },
            }
        }
    }
}

/// The next time is stored before the look, so that a git server that hangs delays nobody for long, and of several servers
/// one looks. Scheduled times that passed while no server ran become one run.
async fn look(app: &App, row: &Row) -> Result<()> {
    let (now, options) = (app.now(), &row.content.options);
    let schedule = domain::git_repos::schedule_of(options);
    let secs = i64::from(options.poll_minutes).saturating_mul(60);
    let next_look = (secs > 0).then(|| now.plus_secs(secs + jitter(app, secs)));
    let next_run = schedule.as_ref().and_then(|schedule| schedule.next_after(now));
    let next = next_look.into_iter().chain(next_run).min();
    if !git_repos::set_next_look(&app.db, row.id, row.next_look_at, next).await? {
        return Ok(());
    }
    let Some(due) = row.next_look_at else { return Ok(()) };
    if schedule.is_some_and(|schedule| schedule.has_between(due, now)) {
        return start_scheduled(app, row).await;
    }
    if secs == 0 {
        return Ok(());
    }
    let Some(caller) = domain::runs::worker(app, row.account_id).await? else { return Ok(()) };
    let name = row.content.branch.clone();
    let commit = domain::git_repos::resolve(app, &caller, row, &name, PATIENCE).await?;
    let is_known = row.last_commit.as_deref() == Some(commit.id.as_str())
        || runs::has_commit(&app.db, row.id, &commit.id).await?;
    if is_known {
        return Ok(());
    }
    let git_ref = kept_ref(&commit.git_ref);
    let start =
        Start { cause: RunCause::Poll, git_ref: Some(git_ref), commit: Some(&commit.id), ..Start::MANUAL };
    match domain::runs::start(app, &caller, row.id, start).await {
        Ok(_) => Ok(()),
        // A webhook was quicker.
        Err(error) if error.code == "run_exists" => Ok(()),
        Err(error) => Err(error),
    }
}

/// The name by which a commit was found; none where it has none, or one that is too long to be kept: its id is enough.
fn kept_ref(git_ref: &str) -> &str {
    if git_ref == "HEAD" || git_ref.chars().count() > REF_CHARS { "" } else { git_ref }
}

async fn start_scheduled(app: &App, row: &Row) -> Result<()> {
    let Some(caller) = domain::runs::worker(app, row.account_id).await? else { return Ok(()) };
    let start = Start { cause: RunCause::Schedule, ..Start::MANUAL };
    domain::runs::start(app, &caller, row.id, start).await.map(drop)
}

/// Up to a tenth earlier or later, so that what was added together is not asked together.
fn jitter(app: &App, secs: i64) -> i64 {
    let mut byte = [0];
    if app.random.fill(&mut byte).is_err() {
        return 0;
    }
    (i64::from(byte[0]) - 128) * secs / 1_280
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_built_also_where_its_branch_has_too_long_a_name() {
        let name = format!("refs/heads/{}", "b".repeat(300));

        assert_eq!(kept_ref("refs/heads/main"), "refs/heads/main");
        assert_eq!(kept_ref("HEAD"), "");
        assert_eq!(kept_ref(&name), "");
    }
}
