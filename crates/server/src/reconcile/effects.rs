//! What is asked of a machine to bring a container forward, and what a refusal means for the container. Each can be
//! done twice: the machine finds what the first time left.

use std::future::Future;
use std::time::Duration;

use store::containers::{self, Row};
use store::machine_images::{self, Key};
use wire::ids::MachineId;
use wire::limits::{LimitContainer, Limits};
use wire::link::{
    ContainerAction, ContainerVerb, CopyContainer, CreateContainer, LinkError, LinkErrorCode,
    ObservedContainer, PullImage, RegistryImage, RegistryReference, TransferEvent,
};
use wire::machine_images::MachineImageState;
use wire::names::{AccountName, Digest};

use super::observed::is_plausible;
use crate::app::App;
use crate::domain::registry;
use crate::link::CallError;

/// For calls that the machine answers as soon as its engine does.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);
/// A disk with many gigabytes takes its time; the agent gives up a little earlier.
const COPY_TIMEOUT: Duration = Duration::from_mins(65);
/// A pull that moves nothing for so long is given up.
const PULL_SILENCE: Duration = Duration::from_mins(5);
/// How often long work looks whether it is still wanted.
const WISH_INTERVAL: Duration = Duration::from_secs(1);

/// Why something could not be done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The machine or its engine cannot be reached: nothing is wrong with the container.
    Unreachable(String),
    /// It may work the next time.
    Passing(&'static str, String),
    /// It will not work until somebody changes something.
    Final(&'static str, String),
    /// A port is in use by something else on the machine.
    PortTaken(String),
    /// Its owner wants something else by now, or the server ends.
    Overtaken,
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        use LinkErrorCode as Code;
        let message = error.message;
        match error.code {
            Code::EngineDown | Code::WrongLevel => Self::Unreachable(message),
            Code::NotFound => Self::Passing("not_found_on_machine", message),
            Code::Conflict => Self::Final("conflict_on_machine", message),
            Code::PortTaken => Self::PortTaken(message),
            Code::GpuUnavailable => Self::Final("gpu_unavailable", message),
            Code::Denied => Self::Final("denied_by_machine", message),
            Code::ImageUnavailable => Self::Passing("image_unavailable", message),
            Code::Invalid | Code::BuildFailed | Code::Unsupported => {
                Self::Final("refused_by_engine", message)
            }
            Code::Engine => Self::Passing("engine_error", message),
            Code::Timeout => Self::Passing("machine_slow", message),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(error) => error.into(),
            CallError::TimedOut => Self::Passing("machine_slow", "the machine did not answer in time".into()),
            error @ (CallError::NotConnected | CallError::Broken(_)) => Self::Unreachable(error.to_string()),
        }
    }
}

/// What a machine answers is believed of the container that it was asked about, and in the form in which engines have them.
fn of_it(row: &Row, seen: ObservedContainer) -> Result<ObservedContainer, Failure> {
    if seen.container == row.id && is_plausible(&seen) {
        return Ok(seen);
    }
    let message =
        "its machine answered with something else than this container; is it the agent of this version?";
    Err(Failure::Final("machine_lies", message.into()))
}

fn image(row: &Row) -> RegistryImage {
    RegistryImage {
        repository: row.image_repository.clone(),
        reference: RegistryReference::Digest(row.image_digest.clone()),
    }
}

/// Makes sure that the machine has the image.
pub(super) async fn pull(app: &App, row: &Row, account: &AccountName) -> Result<(), Failure> {
    let repository = &row.image_repository;
    let credential = registry::pull_credential(app, row.account_id, account, repository);
    let credential = credential.map_err(|error| Failure::Passing("image_unavailable", error.to_string()))?;
    let call = PullImage { image: image(row), credential };
    let (machine, digest) = (&row.machine_id, &row.image_digest);
    while_wanted(app, row, pull_to(app, machine, digest, &call)).await?;
    let noted = note_held(app, machine, repository, digest).await;
    noted.map_err(|error| Failure::Passing("store_error", error.to_string()))
}

/// For whoever makes room on that machine: what was used least recently goes first.
async fn note_held(app: &App, machine: &MachineId, repository: &str, digest: &Digest) -> store::Result<()> {
    let now = app.now();
    if machine_images::touch(&app.db, Key { machine, repository, digest }, now).await? {
        return Ok(());
    }
    let held = machine_images::Row {
        machine_id: machine.clone(),
        repository: repository.to_owned(),
        digest: digest.clone(),
        state: MachineImageState::Held,
        size_bytes: None,
        last_used_at: now,
        account_id: None,
        attempt: 0,
        message: None,
    };
    machine_images::put(&app.db, &held).await
}

/// Makes sure that a machine has an image; for whoever looks, how far it has come.
pub(super) async fn pull_to(
    app: &App,
    machine: &MachineId,
    digest: &Digest,
    call: &PullImage,
) -> Result<(), Failure> {
    let progress = app.pulls.begin(machine, &call.image.repository, digest);
    let mut events = app.hub.stream(machine, call, None).await?;
    loop {
        match tokio::time::timeout(PULL_SILENCE, events.next()).await {
            Ok(Some(Ok(TransferEvent::Done { .. }))) => return Ok(()),
            Ok(Some(Ok(TransferEvent::Failed(error)))) => return Err(error.into()),
            Ok(Some(Ok(TransferEvent::Progress { current_bytes, total_bytes, layers }))) => {
                progress.progressed(current_bytes, total_bytes, layers);
            }
            Ok(Some(Ok(TransferEvent::Log(_)))) => {}
            Ok(Some(Err(error))) => return Err(error.into()),
            Ok(None) => return Err(Failure::Unreachable("the pull broke off".into())),
            Err(_) => {
                return Err(Failure::Passing("machine_slow", "the pull of the image stands still".into()));
            }
        }
    }
}

/// Makes the container.
pub(super) async fn create(
    app: &App,
    row: &Row,
    account: &AccountName,
) -> Result<ObservedContainer, Failure> {
    let call = CreateContainer {
        instance: app.instance,
        container: row.id,
        account: account.clone(),
        image: image(row),
        spec: row.spec.clone(),
        is_from_copy: row.copy_of.is_some() && !row.is_outdated(),
    };
    until_shutdown(app, async { of_it(row, app.hub.call(&row.machine_id, &call, CALL_TIMEOUT).await?) }).await
}

/// Has the machine keep the disk of the container that it has.
pub(super) async fn copy(app: &App, row: &Row, engine_id: &str) -> Result<(), Failure> {
    let call = CopyContainer { instance: app.instance, container: row.id, engine_id: engine_id.to_owned() };
    let work = async {
        app.hub.call(&row.machine_id, &call, COPY_TIMEOUT).await?;
        Ok(())
    };
    while_wanted(app, row, work).await
}

/// Gives the container other limits.
pub(super) async fn limit(app: &App, row: &Row, limits: Limits) -> Result<(), Failure> {
    let call = LimitContainer { instance: app.instance, container: row.id, limits };
    until_shutdown(app, async {
        app.hub.call(&row.machine_id, &call, CALL_TIMEOUT).await?;
        Ok(())
    })
    .await
}

/// Does something to the container; what may take long ends when its owner wants something else.
pub(super) async fn act(
    app: &App,
    row: &Row,
    verb: ContainerVerb,
) -> Result<Option<ObservedContainer>, Failure> {
    let call = ContainerAction { instance: app.instance, container: row.id, verb };
    let patience = match verb {
        ContainerVerb::Stop { timeout_secs } | ContainerVerb::Restart { timeout_secs, .. } => {
            Some(Duration::from_secs(timeout_secs.into()))
        }
        _ => None,
    };
    let timeout = CALL_TIMEOUT + patience.unwrap_or_default();
    let work = async {
        let done = app.hub.call(&row.machine_id, &call, timeout).await?;
        done.container.map(|seen| of_it(row, seen)).transpose()
    };
    match patience {
        Some(_) => while_wanted(app, row, work).await,
        None => until_shutdown(app, work).await,
    }
}

async fn until_shutdown<T>(app: &App, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        () = app.shutdown.cancelled() => Err(Failure::Overtaken),
    }
}

/// Drops the work, which cancels it on the machine, as soon as the container's owner wants something else.
async fn while_wanted<T>(
    app: &App,
    row: &Row,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let changed = async {
        loop {
            tokio::time::sleep(WISH_INTERVAL).await;
            // A database that does not answer is no reason to stop.
            if let Ok(now) = containers::get(&app.db, row.id).await
                && now.is_none_or(|now| now.desired != row.desired)
            {
                return;
            }
        }
    };
    tokio::select! {
        done = until_shutdown(app, work) => done,
        () = changed => Err(Failure::Overtaken),
    }
}
