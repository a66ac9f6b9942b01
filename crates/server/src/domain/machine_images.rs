//! Images on machines: who has which, and having one fetched before somebody needs it. The machines are asked by
//! `reconcile/machine_images`.

use store::images::Row as Image;
use store::machine_images::{self, Key, Row};
use wire::ids::ImageId;
use wire::images::ImageState;
use wire::machine_images::{MachineImageState, MachineImageView};
use wire::page::Page;

use super::audit::{self, Event};
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};

/// The machines that have an image, and those that are to have it.
pub async fn list(app: &App, caller: &Caller, id: ImageId) -> Result<Page<MachineImageView>> {
    let image = super::images::visible(&app.db, caller, id).await?;
    let rows = machine_images::of_image(&app.db, &repository(&image), &image.digest).await?;
    let data: Vec<_> = rows.into_iter().map(|row| view(app, row)).collect();
    let total = data.len() as u64;
    Ok(Page { data, total, limit: total, offset: 0 })
}

/// Has a machine fetch an image (admin). One that is there already is as if it were used just now; one that could not be
/// fetched is tried again.
pub async fn prefetch(app: &App, caller: &Caller, id: ImageId, machine: &str) -> Result<MachineImageView> {
    super::accounts::require_admin(caller)?;
    let image = super::images::visible(&app.db, caller, id).await?;
    if image.state != ImageState::Ready {
        return Err(Error::conflict("image_deleting", format!("image `{id}` is being deleted")));
    }
    let machine = super::machines::find(app, machine).await?.facts.machine_id;
    let (repository, now) = (repository(&image), app.now());
    let key = Key { machine: &machine, repository: &repository, digest: &image.digest };
    let tx = app.db.begin().await?;
    let present = machine_images::get(&tx, key).await?;
    let row = match present {
        Some(row) if row.state == MachineImageState::Held => Row { last_used_at: now, ..row },
        // What is being fetched goes on.
        Some(row) if row.state == MachineImageState::Pulling => row,
        _ => Row {
            machine_id: machine.clone(),
            repository: repository.clone(),
            digest: image.digest.clone(),
            state: MachineImageState::Wanted,
            size_bytes: None,
            last_used_at: now,
            account_id: Some(caller.account),
            attempt: 0,
            message: None,
        },
    };
    machine_images::put(&tx, &row).await?;
    let target = format!("{repository}@{} on {machine}", image.digest);
    let event = Event { action: "image.prefetch", target: &target, acting_for: None };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    app.signals.machine_images.notify_one();
    Ok(view(app, row))
}

/// `owner/repo` of an image.
pub(crate) fn repository(image: &Image) -> String {
    format!("{}/{}", image.owner, image.repo)
}

fn view(app: &App, row: Row) -> MachineImageView {
    MachineImageView {
        state: row.state,
        size_bytes: row.size_bytes,
        last_used_at: row.last_used_at,
        pull: app.pulls.progress(&row.machine_id, &row.repository, &row.digest),
        message: row.message,
        machine_id: row.machine_id,
    }
}
