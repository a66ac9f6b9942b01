//! Saving a container, where it differs from a build: its machine copies what it changed, and what was pushed gets the
//! configuration of the image that the container was made from. Each step can be done again: the copy is found under the
//! build's own tag, and the same copy becomes the same image.

use std::time::Duration;

use store::builds::Save;
use store::{containers, images};
use wire::ids::MachineId;
use wire::link::{LinkErrorCode, RegistryImage, RegistryReference, RemoveImage};
use wire::names::Digest;
use wire::saves::{CommitContainer, CommitEvent};

use super::build_image::{Made, Stop, Work};
use super::build_progress::Log;
use crate::clients::registry::Repository;
use crate::domain::saves::{self, Saved};
use crate::error::{Error, ErrorKind};

/// How often it is looked for the container's machine.
const MACHINE_PAUSE: Duration = Duration::from_secs(1);
/// How long a machine may take to forget an image.
const FORGET_TIMEOUT: Duration = Duration::from_secs(30);

/// The container that is saved, and the image that it was made from.
pub(super) struct Subject {
    container: containers::Row,
    image: images::Row,
}

impl Work<'_> {
    async fn container(&self, save: &Save) -> Result<containers::Row, Stop> {
        let found = containers::get(&self.app.db, save.container_id).await?;
        found
            .filter(|row| row.engine_id.is_some() && row.desired != containers::Desired::Deleted)
            .ok_or_else(|| Stop::failed("container_gone", "the container was deleted before it was saved"))
    }

    /// The container's machine, once its engine answers.
    pub(super) async fn machine_of(&self, save: &Save) -> Result<MachineId, Stop> {
        loop {
            let container = self.container(save).await?;
            let is_there = self.app.hub.connected().contains(&container.machine_id);
            if is_there && self.has_engine(&container.machine_id).await {
                return Ok(container.machine_id);
            }
            if self.is_over() {
                let message = "the container's machine was not there until the time was over";
                return Err(Stop::failed("machine_lost", message));
            }
            tokio::time::sleep(MACHINE_PAUSE).await;
        }
    }

    /// Has the machine copy what the container changed.
    pub(super) async fn commit(
        &self,
        save: &Save,
        machine: &MachineId,
        log: &mut Log,
    ) -> Result<Subject, Stop> {
        let (app, build) = (self.app, self.build);
        let container = self.container(save).await?;
        let image = images::get(&app.db, container.image_id).await?;
        let image = image.ok_or_else(|| Stop::Broken(Error::internal("a container's image is missing")))?;
        log.write(&format!("Saving container `{}`, made from {}\n", container.name, container.image_name));
        let bytes_max = app.config.containers.save_bytes;
        let call = CommitContainer {
            instance: app.instance,
            container: container.id,
            build: build.id,
            author: build.account.clone(),
            pause: save.options.is_paused,
            bytes_max,
        };
        let mut events = app.hub.stream(machine, &call, None).await.map_err(Stop::of_call)?;
        loop {
            let Some(event) = events.next().await else {
                let detail = "the machine said nothing more";
                return Err(Stop::Lost(Error::unavailable("machine_unreachable", detail)));
            };
            match event.map_err(Stop::of_call)? {
                CommitEvent::Begun { size_bytes } => {
                    log.write(&format!("It has written {} MiB; they are copied\n", size_bytes >> 20));
                }
                CommitEvent::Done => {
                    log.write("Copied; what is new is pushed\n");
                    saves::mount_base(app, &image, &build.image).await;
                    return Ok(Subject { container, image });
                }
                CommitEvent::TooLarge { size_bytes } => {
                    let message = format!(
                        "the container has written {} MiB, and {} MiB may be saved",
                        size_bytes >> 20,
                        bytes_max >> 20
                    );
                    return Err(Stop::failed("too_large", message));
                }
                CommitEvent::Failed(error) if error.code == LinkErrorCode::NotFound => {
                    return Err(Stop::failed("container_gone", error.message));
                }
                CommitEvent::Failed(error) => return Err(Stop::of_refusal(error, "save_failed")),
            }
        }
    }

    /// Makes the image of what was pushed.
    pub(super) async fn finish_save(
        &self,
        subject: &Subject,
        machine: &MachineId,
        made: Made,
    ) -> Result<Made, Stop> {
        let (app, build) = (self.app, self.build);
        let save = build.save.as_ref().ok_or_else(|| Stop::Broken(Error::internal("nothing is saved")))?;
        let repository: Repository =
            subject.container.image_repository.parse().map_err(|error| Stop::Broken(Error::from(error)))?;
        let Made { digest: staged, facts, base, log_bytes, writer, .. } = made;
        // It keeps what was pushed from being removed, and that is what comes next.
        drop(facts);
        let saved = Saved {
            image: &build.image,
            staged: &staged,
            base: (&repository, &subject.container.image_digest),
            keep: save.options.keep.as_ref(),
            author: &build.account,
            note: save.note.as_deref(),
        };
        let rewritten = match saves::rewrite(app, &saved).await {
            Err(error) if error.kind == ErrorKind::Unavailable => return Err(Stop::Lost(error)),
            other => other,
        };
        // Not after the image is recorded: who is cut off here pushes again.
        self.forget_staged(machine, &staged).await;
        match rewritten {
            Ok((digest, facts)) => {
                Ok(Made { digest, facts, base, parent: Some(subject.image.id), log_bytes, writer })
            }
            Err(error) => Err(Stop::failed("verify_failed", error.to_string())),
        }
    }

    /// Takes away what was pushed in the image's place. What stays by mistake is an image without a name, which nobody can
    /// find.
    async fn forget_staged(&self, machine: &MachineId, staged: &Digest) {
        let (app, build) = (self.app, self.build);
        if let Err(error) = saves::forget_staged(app, &build.image, staged).await {
            tracing::warn!(%error, build.id = %build.id, "what was pushed of a container stays in the registry");
        }
        let reference = RegistryReference::Digest(staged.clone());
        let call = RemoveImage { image: RegistryImage { repository: build.image.repository(), reference } };
        if let Err(error) = app.hub.call(machine, &call, FORGET_TIMEOUT).await {
            tracing::debug!(%error, "a machine keeps a copy of a container");
        }
    }
}
