//! Does to a release what was wished, through Helm, in the name of the namespace's account. Before it, every Helm of an earlier
//! server that works on the same release is ended; what such a one left pending is forgotten; and what it had brought to its
//! end is found by the operation's own mark and not done twice. Afterwards the release's row says what the cluster has.

use std::time::Duration;

use store::namespaces::Row as Namespace;
use store::release_operations::{self, Row as Operation};
use store::releases;
use wire::builds::OperationState;
use wire::ids::ReleaseOperationId;
use wire::namespaces::NamespaceState;
use wire::releases::{ReleaseAction, ReleaseState};
use wire::workloads::WorkloadState;

use super::worker::persist;
use crate::app::App;
use crate::blobs::{BlobKind, blocking};
use crate::clients::helm::{HelmError, Workplace};
use crate::clients::kube::{As, Cluster, Failure, OPERATION_LABEL, RELEASE_LABEL};
use crate::domain::manifests::kinds;
use crate::domain::releases::frozen::{FOLDER, VALUES};
use crate::domain::releases::records::{self, Record};
use crate::domain::releases::{Payload, look, operations, payload_of, workplace};
use crate::error::{Error, ErrorKind, Result};
use crate::operation_logs::LogWriter;

/// Attempts after which an operation has failed whatever the reason.
const MAX_ATTEMPTS: u32 = 20;
/// How often the operation's own row is looked at without a sign.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of what Helm says that are kept.
const LOG_BYTES: u64 = 1 << 20;
/// Revisions that Helm keeps of a release.
const REVISIONS_KEPT: &str = "10";
/// Steps of one call that may each take the operation's time: hooks before, objects, hooks after.
const STEPS: u64 = 4;
/// How long operations that have ended are kept with their logs, in seconds.
const KEEP_SECS: i64 = 90 * 24 * 3600;
/// Operations that are removed together.
const SWEEP_ROWS: u64 = 200;

/// Why an operation did not come about.
enum Stop {
    /// A reason for programs, words for people.
    Failed(&'static str, String),
    /// Somebody gave it up.
    Cancelled,
    /// Another attempt may do better.
    Again(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Again(error)
    }
}

impl From<store::Error> for Stop {
    fn from(error: store::Error) -> Self {
        Self::Again(error.into())
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Said { ref message, .. } => {
                let words = format!("the cluster says: {message}");
                let error = Error::from(failure);
                match error.kind {
                    ErrorKind::Unavailable | ErrorKind::TooMany(_) => Self::Again(error),
                    _ => Self::Failed("cluster_refused", words),
                }
            }
            failure => Self::Again(failure.into()),
        }
    }
}

pub(super) async fn run(app: &App, job: &store::jobs::Row) -> Result<()> {
    let Ok(id) = job.target.parse::<ReleaseOperationId>() else {
        tracing::error!("this job names no operation");
        return Ok(());
    };
    let found = persist(app, || async { Ok(release_operations::get(&app.db, id).await?) }).await?;
    let Some(operation) = found.filter(|operation| !operation.state.is_final()) else {
        app.operation_logs.ended(operations::log_id(id));
        return Ok(());
    };
    let payload = payload_of(app, &operation)?;
    let mut work = Work { app, job, operation, payload, records: None };
    let result = work.execute().await;
    match result {
        Ok(()) => work.end(OperationState::Succeeded, None).await,
        Err(Stop::Cancelled) => {
            work.end(OperationState::Cancelled, Some(("cancelled", "it was cancelled".to_owned()))).await
        }
        Err(Stop::Failed(reason, message)) => work.end(OperationState::Failed, Some((reason, message))).await,
        Err(Stop::Again(error)) if job.attempt >= MAX_ATTEMPTS => {
            let message = format!("it was tried {} times; the last time: {error}", job.attempt);
            work.end(OperationState::Failed, Some(("lost", message))).await
        }
        Err(Stop::Again(error)) => {
            work.say(&format!("[{error}; trying again]\n")).await;
            Err(error)
        }
    }
}

/// One attempt.
struct Work<'a> {
    app: &'a App,
    job: &'a store::jobs::Row,
    operation: Operation,
    payload: Payload,
    /// What Helm keeps in the cluster, as it was seen last.
    records: Option<Vec<Record>>,
}

/// Where an attempt works.
struct Place {
    namespace: Namespace,
    cluster: Cluster,
    work: Workplace,
}

impl Work<'_> {
    async fn execute(&mut self) -> Result<(), Stop> {
        let (app, id) = (self.app, self.operation.id);
        app.helm.end_leftovers(self.operation.release_id).await?;
        let is_begun =
            persist(app, || async { Ok(release_operations::set_running(&app.db, id, app.now()).await?) });
        if !is_begun.await? {
            return Err(Stop::Cancelled);
        }
        app.operation_logs.touched(operations::log_id(id));
        let place = self.place().await?;
        self.look(&place).await?;
        if self.is_cancelled().await? {
            return Err(Stop::Cancelled);
        }
        let done = match self.operation.action {
            ReleaseAction::Install | ReleaseAction::Upgrade => self.install(&place).await,
            ReleaseAction::Rollback => self.roll_back(&place).await,
            ReleaseAction::Uninstall => self.uninstall(&place).await,
            ReleaseAction::Recover => self.recover(&place).await,
        };
        // Whatever came of it, the row is to say what there is.
        let looked = self.look(&place).await;
        done?;
        looked?;
        Ok(())
    }

    async fn place(&self) -> Result<Place, Stop> {
        let app = self.app;
        let found = store::namespaces::get(&app.db, self.payload.namespace_id).await?;
        let Some(namespace) = found else {
            return Err(Stop::Failed("namespace_gone", "the namespace was deleted".to_owned()));
        };
        if namespace.state == NamespaceState::Deleting {
            return Err(Stop::Failed("namespace_gone", "the namespace is being deleted".to_owned()));
        }
        if namespace.state != NamespaceState::Ready {
            let detail = format!("the namespace `{}` is not ready", namespace.name);
            return Err(Stop::Again(Error::unavailable("namespace_not_ready", detail)));
        }
        let cluster = crate::domain::clusters::client_of(app, namespace.cluster_id).await?;
        let (work, _) = workplace(app, &namespace, self.operation.release_id).await?;
        Ok(Place { namespace, cluster, work })
    }

    async fn look(&mut self, place: &Place) -> Result<(), Stop> {
        let found = records::of_release(&place.cluster, &place.namespace, &self.operation.place.name).await?;
        self.records = Some(found);
        Ok(())
    }

    fn newest(&self) -> Option<&Record> {
        self.records.as_ref().and_then(|records| records.last())
    }

    async fn is_cancelled(&self) -> Result<bool> {
        let row = release_operations::get(&self.app.db, self.operation.id).await?;
        Ok(row.is_none_or(|row| row.cancel_requested || row.state.is_final()))
    }

    /// Makes way: nobody works on the release but us, and what an earlier attempt of ours left pending is forgotten.
    async fn make_way(&mut self, place: &Place) -> Result<(), Stop> {
        let Some(newest) = self.newest().cloned().filter(Record::is_pending) else { return Ok(()) };
        let is_of_ours = self.job.attempt > 1
            && newest.revision > self.operation.base_revision
            && newest.release == Some(self.operation.release_id);
        if !is_of_ours {
            let message = format!(
                "Helm left the release in the state `{}`: somebody else works on it, or was cut off; if nobody does, recover it: `longshore release recover`",
                newest.status
            );
            return Err(Stop::Failed("release_pending", message));
        }
        self.say("[an earlier attempt was cut off; doing it again]\n").await;
        records::forget(&place.cluster, &place.namespace, &newest).await?;
        self.look(place).await
    }

    async fn install(&mut self, place: &Place) -> Result<(), Stop> {
        let (release, operation) = (self.operation.release_id.to_string(), self.operation.id.to_string());
        if self
            .newest()
            .is_some_and(|newest| newest.operation == Some(self.operation.id) && newest.status == "deployed")
        {
            // An earlier attempt did it and was cut off before it could say so.
            return Ok(());
        }
        let is_first = self.operation.action == ReleaseAction::Install;
        if is_first && self.newest().is_some_and(|newest| newest.release != Some(self.operation.release_id)) {
            let message = "a release of this name is in the namespace already, and it was not installed here";
            return Err(Stop::Failed("exists", message.to_owned()));
        }
        self.make_way(place).await?;
        let chart = self.payload.chart.take();
        let chart = chart.ok_or_else(|| Error::internal("an operation lost its chart"))?;
        let into = place.work.path().to_owned();
        blocking(move || chart.write(&into)).await?;
        let labels = format!("{RELEASE_LABEL}={release},{OPERATION_LABEL}={operation}");
        let timeout = format!("{}s", self.payload.timeout_secs);
        let name = self.operation.place.name.clone();
        let mut arguments = vec![
            "upgrade",
            "--install",
            &name,
            FOLDER,
            "--values",
            VALUES,
            "--labels",
            &labels,
            "--history-max",
            REVISIONS_KEPT,
            "--timeout",
            &timeout,
            "--debug",
            "--output",
            "json",
        ];
        if self.payload.is_waiting {
            arguments.push("--wait");
        }
        self.helm(place, &arguments).await
    }

    async fn roll_back(&mut self, place: &Place) -> Result<(), Stop> {
        let is_done = self.job.attempt > 1
            && self.newest().is_some_and(|newest| {
                newest.revision > self.operation.base_revision && newest.status == "deployed"
            });
        if is_done {
            return Ok(());
        }
        self.make_way(place).await?;
        let target = self.payload.target.ok_or_else(|| Error::internal("a rollback lost its revision"))?;
        self.go_back_to(place, target).await
    }

    async fn go_back_to(&self, place: &Place, revision: u64) -> Result<(), Stop> {
        let (timeout, revision) = (format!("{}s", self.payload.timeout_secs), revision.to_string());
        let name = self.operation.place.name.as_str();
        let mut arguments = vec![
            "rollback",
            name,
            &revision,
            "--history-max",
            REVISIONS_KEPT,
            "--timeout",
            &timeout,
            "--debug",
        ];
        if self.payload.is_waiting {
            arguments.push("--wait");
        }
        self.helm(place, &arguments).await
    }

    async fn uninstall(&self, place: &Place) -> Result<(), Stop> {
        let timeout = format!("{}s", self.payload.timeout_secs);
        let name = self.operation.place.name.as_str();
        if self.newest().is_some() {
            let arguments =
                ["uninstall", name, "--ignore-not-found", "--wait", "--timeout", &timeout, "--debug"];
            self.helm(place, &arguments).await?;
        }
        self.remove_leftovers(place).await
    }

    /// What carries the release's label and is in no record: attempts that were cut off left it.
    async fn remove_leftovers(&self, place: &Place) -> Result<(), Stop> {
        let who = As::Tenant(&place.namespace.name);
        let selector = format!("labelSelector={RELEASE_LABEL}%3D{}", self.operation.release_id);
        for kind in kinds::KINDS.iter().filter(|kind| !kind.is_for_admins) {
            let path = kind.path(place.namespace.name.as_str());
            for metadata in place.cluster.metadata(who, &format!("{path}?{selector}")).await? {
                let is_kept = metadata["annotations"]["helm.sh/resource-policy"] == "keep";
                let is_going = metadata["deletionTimestamp"].is_string();
                let (Some(name), false, false) = (metadata["name"].as_str(), is_kept, is_going) else {
                    continue;
                };
                self.say(&format!("[removing {} {name}, which was left over]\n", kind.name)).await;
                place.cluster.delete(who, &format!("{path}/{name}"), metadata["uid"].as_str()).await?;
            }
        }
        Ok(())
    }

    async fn recover(&mut self, place: &Place) -> Result<(), Stop> {
        let Some(newest) = self.newest().cloned().filter(Record::is_pending) else {
            self.say("[nothing is pending]\n").await;
            return Ok(());
        };
        let records = self.records.iter().flatten();
        let good = records.filter(|record| matches!(record.status.as_str(), "deployed" | "superseded"));
        let good = good.map(|record| record.revision).max();
        match good {
            Some(revision) => {
                records::forget(&place.cluster, &place.namespace, &newest).await?;
                self.go_back_to(place, revision).await
            }
            // Nothing was there before: what was begun is taken away again.
            None => self.uninstall(place).await,
        }
    }

    /// Calls Helm with what it says going into the log, until it ends or somebody gives the operation up.
    async fn helm(&self, place: &Place, arguments: &[&str]) -> Result<(), Stop> {
        let app = self.app;
        let id = operations::log_id(self.operation.id);
        let mut log = app.operation_logs.writer(id, LOG_BYTES).map_err(Error::from)?;
        write(&mut log, &format!("[helm {}]\n", arguments.first().copied().unwrap_or_default()));
        let secs = self.payload.timeout_secs.saturating_mul(STEPS).saturating_add(60);
        let may_stop = matches!(
            self.operation.action,
            ReleaseAction::Install | ReleaseAction::Upgrade | ReleaseAction::Rollback
        );
        let ended = app
            .helm
            .run(&place.work, arguments, secs, |line| write(&mut log, &format!("{line}\n")), async {
                if may_stop {
                    self.until_cancelled().await;
                } else {
                    std::future::pending::<()>().await;
                }
            })
            .await;
        log.finish().map_err(Error::from)?;
        match ended {
            Ok(ended) if ended.is_success => Ok(()),
            Ok(ended) => Err(self.explained(place, &ended.complaint).await),
            Err(HelmError::Cancelled) => Err(Stop::Cancelled),
            Err(HelmError::TimedOut(secs)) => {
                Err(Stop::Failed("timeout", format!("Helm did not end within {secs} seconds")))
            }
            Err(error @ (HelmError::NotInstalled(_) | HelmError::NotStarted(_))) => {
                let error = Error::from(error);
                let hint = error.hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default();
                Err(Stop::Failed("helm_missing", format!("{error}{hint}")))
            }
            Err(error @ HelmError::TooMuch(_)) => Err(Stop::Failed("helm_failed", error.to_string())),
        }
    }

    async fn until_cancelled(&self) {
        let mut progress = self.app.operation_logs.follow(operations::log_id(self.operation.id));
        loop {
            match self.is_cancelled().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "cannot look whether an operation was cancelled"),
            }
            let revision = progress.borrow_and_update().revision;
            let heard = progress.wait_for(|progress| progress.revision != revision);
            // Lines of the log are no news here.
            if tokio::time::timeout(LOOK_EVERY, heard).await.is_ok_and(|heard| heard.is_err()) {
                tokio::time::sleep(LOOK_EVERY).await;
                progress = self.app.operation_logs.follow(operations::log_id(self.operation.id));
            }
        }
    }

    /// Why Helm failed, with what the cluster says of the object that is to blame.
    async fn explained(&self, place: &Place, complaint: &str) -> Stop {
        if complaint.contains("cluster unreachable") || complaint.contains("connection refused") {
            return Stop::Again(Error::unavailable("cluster_unreachable", complaint.to_owned()));
        }
        let is_late = complaint.contains("context deadline exceeded")
            || complaint.contains("timed out waiting")
            || complaint.contains("would exceed context deadline");
        let names = self.payload.after.as_ref().map(|after| after.content.resources.as_slice());
        let seen = look::resources(&place.cluster, &place.namespace, names.unwrap_or_default()).await;
        let trouble = seen.ok().into_iter().flatten().find_map(|resource| {
            let is_well = matches!(resource.state, WorkloadState::Ready | WorkloadState::Missing);
            let message = resource.message.filter(|_| !is_well)?;
            Some(format!("{} `{}`: {message}", resource.kind.as_str(), resource.name))
        });
        if is_late {
            let secs = self.payload.timeout_secs;
            let why = trouble.map(|trouble| format!("; {trouble}")).unwrap_or_default();
            return Stop::Failed("timeout", format!("not everything was ready within {secs} seconds{why}"));
        }
        let why = trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        Stop::Failed("helm_failed", format!("Helm says: {complaint}{why}"))
    }

    /// Adds a line of our own to the log.
    async fn say(&self, text: &str) {
        let (app, id, text) = (self.app.clone(), operations::log_id(self.operation.id), text.to_owned());
        let said = blocking(move || {
            let mut log = app.operation_logs.writer(id, LOG_BYTES)?;
            log.write(&text)?;
            log.finish().map(drop)
        });
        if let Err(error) = said.await {
            tracing::warn!(%error, "cannot write the log of an operation");
        }
    }

    /// The operation's one final state, together with the job's end and with what the release is now.
    async fn end(&self, state: OperationState, why: Option<(&'static str, String)>) -> Result<()> {
        let line = match &why {
            None => "[done]\n".to_owned(),
            Some((reason, message)) => format!("[{reason}: {message}]\n"),
        };
        self.say(&line).await;
        let (app, operation, job) = (self.app, &self.operation, self.job);
        let why = why.as_ref().map(|(reason, message)| (*reason, message.as_str()));
        let id = operations::log_id(operation.id);
        persist(app, || async {
            let now = app.now();
            let tx = app.db.begin().await?;
            if !store::jobs::done(&tx, job.id, job.epoch).await? {
                return Err(Error::conflict("job_lost", "another worker has this operation now"));
            }
            let revision = self.newest().map(|newest| newest.revision);
            let ended = release_operations::finish(&tx, operation.id, state, why, revision, now).await?;
            if let (true, Some(release)) = (ended, releases::get(&tx, operation.release_id).await?) {
                self.note(&tx, &release, state, why, now).await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await?;
        tracing::info!(operation.id = %operation.id, release = %operation.place.name, action = ?operation.action, state = ?state, "an operation on a release ended");
        app.operation_logs.touched(id);
        app.operation_logs.ended(id);
        Ok(())
    }

    /// What the release is now, as Helm's newest record says.
    async fn note(
        &self,
        tx: &store::Tx,
        release: &releases::Row,
        state: OperationState,
        why: Option<(&str, &str)>,
        now: wire::time::Timestamp,
    ) -> Result<()> {
        let is_well = state == OperationState::Succeeded;
        if is_well && self.operation.action == ReleaseAction::Uninstall {
            releases::delete(tx, release.id).await?;
            return Ok(());
        }
        let newest = self.newest();
        let is_new = newest.is_some_and(|newest| newest.revision > self.operation.base_revision);
        let after = self.payload.after.as_ref().filter(|_| is_well || is_new);
        let (chart, resources) = match after {
            Some(after) => (after.chart(), Some(after.resources()?)),
            None => (release.chart.clone(), release.resources.clone()),
        };
        let now_is = match newest.map(|newest| newest.status.as_str()) {
            Some("deployed") => ReleaseState::Deployed,
            Some("pending-install") => ReleaseState::PendingInstall,
            Some("pending-upgrade") => ReleaseState::PendingUpgrade,
            Some("pending-rollback") => ReleaseState::PendingRollback,
            _ => ReleaseState::Failed,
        };
        let gone = ("not_installed", "nothing of it is in the cluster; upgrade it to install it again");
        let revision = match &self.records {
            // It was never looked.
            None => release.revision,
            Some(_) => newest.map_or(0, |newest| newest.revision),
        };
        let why = match (why, now_is, newest) {
            (None, ReleaseState::Failed, None) => Some(gone),
            (why, ..) => why,
        };
        let outcome = releases::Outcome {
            state: now_is,
            revision,
            chart: &chart,
            resources: resources.as_deref(),
            reason: why.map(|(reason, _)| reason),
            message: why.map(|(_, message)| message),
        };
        releases::finish(tx, release.id, self.operation.id, &outcome, now).await?;
        Ok(())
    }
}

fn write(log: &mut LogWriter, text: &str) {
    if let Err(error) = log.write(text) {
        tracing::warn!(%error, "cannot write the log of an operation");
    }
}

/// Forgets operations that ended long ago, and their logs.
pub(super) async fn sweep(app: &App) -> Result<()> {
    let before = app.now().plus_secs(-KEEP_SECS);
    loop {
        let old = release_operations::ended_before(&app.db, before, SWEEP_ROWS).await?;
        if old.is_empty() {
            return Ok(());
        }
        for id in old {
            release_operations::delete(&app.db, id).await?;
            let (blobs, name) = (app.blobs.clone(), operations::log_id(id).to_string());
            blocking(move || blobs.delete(BlobKind::BuildLog, &name)).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let said = |code: u16| Failure::Said {
            code,
            reason: "x".to_owned(),
            message: "no".to_owned(),
            causes: Vec::new(),
        };

        assert!(matches!(Stop::from(said(403)), Stop::Failed("cluster_refused", _)));
        assert!(matches!(Stop::from(said(503)), Stop::Again(_)));
        assert!(matches!(Stop::from(Failure::Unreachable("x".to_owned())), Stop::Again(_)));
    }
}
