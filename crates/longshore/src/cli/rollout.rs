//! Waiting for workloads: until what was applied runs, or until it is clear that it does not.

use std::time::{Duration, Instant};

use wire::workloads::{WorkloadApplied, WorkloadState, WorkloadView};

use super::failure::Failure;
use super::session::Session;
use super::words;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// How long something has to have failed: what is replaced fails for a moment longer than it is there.
const FAILED_FOR: Duration = Duration::from_secs(10);

/// Waits until all workloads are as wished, saying what they wait for; fails with the first that will not be, or when it takes longer.
pub(super) async fn until_ready(
    session: &Session,
    applied: &[WorkloadApplied],
    patience: Duration,
) -> anyhow::Result<()> {
    let began = Instant::now();
    for one in applied {
        let what = format!("{}/{}", one.kind.as_str().to_ascii_lowercase(), one.name);
        let (mut said, mut failed) = (None, None);
        loop {
            let view = look(session, one).await?;
            let message = view.message.unwrap_or_else(|| super::list::name_of(&view.state));
            match view.state {
                WorkloadState::Ready => break,
                WorkloadState::Failed | WorkloadState::Missing | WorkloadState::Deleting => {
                    let since: &mut Instant = failed.get_or_insert_with(Instant::now);
                    if since.elapsed() >= FAILED_FOR {
                        return Err(failure(session, &what, one, &message).into());
                    }
                }
                WorkloadState::Progressing | WorkloadState::Unknown => failed = None,
            }
            if said.as_ref() != Some(&message) {
                session.printer.say(words::WORKLOAD_WAITS, &[&what, &message]);
                said = Some(message.clone());
            }
            if began.elapsed() >= patience {
                return Err(failure(session, &what, one, &message).into());
            }
            tokio::time::sleep(PAUSE).await;
        }
        session.printer.say(words::WORKLOAD_READY, &[&what]);
    }
    Ok(())
}

async fn look(session: &Session, wanted: &WorkloadApplied) -> anyhow::Result<WorkloadView> {
    let query = [("namespace", wanted.namespace.to_string()), ("limit", wire::page::MAX_LIMIT.to_string())];
    let answer = session.client.get(&["api", "v1", "workloads"], &query).await?;
    let page: wire::page::Page<WorkloadView> = answer.view()?;
    let found = page.data.into_iter().find(|found| found.kind == wanted.kind && found.name == wanted.name);
    found.ok_or_else(|| Failure::new(format!("workload `{}` was deleted meanwhile", wanted.name)).into())
}

fn failure(session: &Session, what: &str, wanted: &WorkloadApplied, message: &str) -> Failure {
    let language = session.printer.language;
    let hint = language.say(words::WORKLOAD_SHOW_HINT, &[what, wanted.namespace.as_str()]);
    Failure::new(language.say(words::WORKLOAD_NOT_READY, &[what, message])).hint(hint)
}
