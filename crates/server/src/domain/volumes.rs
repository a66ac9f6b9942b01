//! Volumes: folders of an account on one machine, which outlive containers. A volume is made when the first container asks
//! for it by a name, and is removed when its owner says so and no container has it. Somebody else's cannot be asked for:
//! names are looked up among the account's own.

use serde_json::json;
use store::{Conn, Tx, accounts, images, volumes};
use wire::containers::ContainerCreate;
use wire::ids::{AccountId, MachineId, VolumeId};
use wire::names::{AccountName, VolumeName};
use wire::page::{Page, PageQuery};
use wire::volumes::{HOME, HOME_TARGET, VolumeMount, VolumeMountCreate, VolumeState, VolumeView};

use super::accounts::{Named, subject};
use super::audit::{self, Event};
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};

/// The most containers that are named when one is in the way.
const MAX_LISTED: usize = 20;

/// Which volumes to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Every account's.
    pub is_all: bool,
    /// This account's.
    pub account: Option<String>,
    /// Only on this machine.
    pub machine: Option<String>,
    /// Only of this name.
    pub name: Option<String>,
}

/// Lists volumes, newest first: the caller's own; an admin may ask for others.
pub async fn list(app: &App, caller: &Caller, filter: &Filter, page: PageQuery) -> Result<Page<VolumeView>> {
    if filter.is_all && !caller.is_admin() {
        return Err(Error::forbidden("admin_only", "only an admin can list every account's volumes"));
    }
    let account = match (filter.is_all, &filter.account) {
        (true, None) => None,
        (_, name) => Some(subject(app, caller, name.as_deref().map(Named::Account)).await?.account),
    };
    let machine = filter.machine.as_deref().map(str::parse::<MachineId>).transpose();
    let name = filter.name.as_deref().map(str::parse::<VolumeName>).transpose();
    let (Ok(machine), Ok(name)) = (machine, name) else {
        // Nothing has a name that is none.
        return Ok(Page { data: Vec::new(), total: 0, limit: page.limit(), offset: page.offset() });
    };
    let filter = volumes::Filter { account, machine: machine.as_ref(), name: name.as_ref() };
    let found = volumes::list(&app.db, filter, page).await?;
    let ids: Vec<VolumeId> = found.rows.iter().map(|(row, _)| row.id).collect();
    let mut users = volumes::users(&app.db, &ids).await?;
    Ok(super::page_of(found, page, |(row, account)| {
        let containers = users.remove(&row.id).unwrap_or_default();
        view(app, row, account, containers)
    }))
}

/// One volume.
pub async fn get(app: &App, caller: &Caller, id: VolumeId) -> Result<VolumeView> {
    let row = find(&app.db, caller, id).await?;
    shown(app, row).await
}

/// Wants a volume gone with everything in it; refused while a container has it. Doing it again changes nothing.
pub async fn delete(app: &App, caller: &Caller, id: VolumeId) -> Result<VolumeView> {
    let found = find(&app.db, caller, id).await?;
    let tx = app.db.begin().await?;
    // Whoever makes a container locks the account, too: it cannot be asked for in between.
    accounts::locked(&tx, found.account_id).await?;
    let row = find(&tx, caller, id).await?;
    if row.state == VolumeState::Deleting {
        return shown(app, row).await;
    }
    let containers = volumes::users(&tx, &[id]).await?.remove(&id).unwrap_or_default();
    if !containers.is_empty() {
        let detail = match containers.len() {
            1 => format!("volume `{}` is in use: container `{}` has it", row.name, containers[0].name),
            count => format!("volume `{}` is in use: {count} containers have it", row.name),
        };
        let listed: Vec<_> = containers.into_iter().take(MAX_LISTED).collect();
        let error = Error::conflict("volume_in_use", detail).hint("delete those containers first");
        return Err(error.with("containers", json!(listed)));
    }
    volumes::set_state(&tx, id, VolumeState::Deleting).await?;
    let event =
        Event { action: "volume.delete", target: row.name.as_str(), acting_for: Some(row.account_id) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    app.signals.volumes.notify_one();
    shown(app, volumes::Row { state: VolumeState::Deleting, ..row }).await
}

/// What is foreign does not exist.
async fn find(conn: &dyn Conn, caller: &Caller, id: VolumeId) -> Result<volumes::Row> {
    let found = volumes::get(conn, id).await?.filter(|row| caller.may_act_for(row.account_id));
    found.ok_or_else(|| Error::not_found("volume", id))
}

async fn shown(app: &App, row: volumes::Row) -> Result<VolumeView> {
    let account = accounts::get(&app.db, row.account_id).await?;
    let account = account.ok_or_else(|| Error::internal("a volume's account is missing"))?;
    let containers = volumes::users(&app.db, &[row.id]).await?.remove(&row.id).unwrap_or_default();
    Ok(view(app, row, account.account, containers))
}

fn view(
    app: &App,
    row: volumes::Row,
    account: AccountName,
    containers: Vec<wire::containers::ContainerRef>,
) -> VolumeView {
    VolumeView {
        size_bytes: app.disk_uses.of_volume(&row.machine_id, row.id),
        id: row.id,
        name: row.name,
        account,
        machine_id: row.machine_id,
        state: row.state,
        containers,
        created_at: row.created_at,
    }
}

/// The volumes that a container asks for, with the one that `home` means: at its working directory, so that what is written
/// there is kept. And that working directory, when there was none.
pub(super) fn asked(new: &ContainerCreate, image: &images::Row) -> (Vec<VolumeMountCreate>, Option<String>) {
    let mut asked = new.volumes.clone();
    let mut working_dir = new.working_dir.clone();
    if new.home {
        let of_image =
            image.create_parameters.working_dir.clone().filter(|folder| !folder.trim_matches('/').is_empty());
        let target = working_dir.clone().or(of_image).unwrap_or_else(|| {
            working_dir = Some(HOME_TARGET.to_owned());
            HOME_TARGET.to_owned()
        });
        let name = HOME.parse().expect("it is a valid name");
        asked.push(VolumeMountCreate { name, target, is_read_only: false });
    }
    (asked, working_dir)
}

/// As they stand in a specification before they have numbers.
pub(super) fn unnumbered(asked: &[VolumeMountCreate]) -> Vec<VolumeMount> {
    let mount = |asked: &VolumeMountCreate| VolumeMount {
        volume: VolumeId(0),
        name: asked.name.clone(),
        target: asked.target.clone(),
        is_read_only: asked.is_read_only,
    };
    asked.iter().map(mount).collect()
}

/// The machine on which an account has volumes of these names; none when it has none of them.
pub(super) async fn machine_of(
    app: &App,
    account: AccountId,
    asked: &[VolumeMountCreate],
) -> Result<Option<MachineId>> {
    let mut there: Option<(MachineId, VolumeName)> = None;
    for one in asked {
        for row in volumes::by_name(&app.db, account, &one.name).await? {
            match &there {
                Some((machine, _)) if *machine == row.machine_id => {}
                None => there = Some((row.machine_id, row.name)),
                Some((machine, name)) => {
                    let detail = format!(
                        "volume `{name}` is on machine `{machine}`, and volume `{}` on machine `{}`",
                        row.name, row.machine_id
                    );
                    let error = Error::conflict("machine_needed", detail)
                        .hint("say with `machine` which of them is meant; volumes do not move");
                    return Err(Error { field: Some("machine".into()), ..error });
                }
            }
        }
    }
    Ok(there.map(|(machine, _)| machine))
}

/// Finds the volumes of an account on a machine or makes their rows. The caller has locked the account.
pub(super) async fn claim(
    app: &App,
    tx: &Tx,
    account: AccountId,
    machine: &MachineId,
    asked: &[VolumeMount],
) -> Result<Vec<VolumeMount>> {
    let limit = app.config.containers.volumes_per_account;
    let mut mounts = Vec::with_capacity(asked.len());
    for one in asked {
        let there = volumes::by_name(tx, account, &one.name).await?;
        let row = match there.into_iter().find(|row| row.machine_id == *machine) {
            Some(row) if row.state == VolumeState::Deleting => {
                let detail = format!("volume `{}` is being deleted", row.name);
                return Err(Error::conflict("being_deleted", detail).hint("try again when it is gone"));
            }
            Some(row) => row,
            None if volumes::count_of_account(tx, account).await? >= limit => {
                let detail = format!("an account has at most {limit} volumes");
                return Err(Error::conflict("too_many_volumes", detail)
                    .hint("delete those that are not used: `longshore volume list`"));
            }
            None => volumes::insert(tx, account, machine, &one.name, app.now()).await?,
        };
        mounts.push(VolumeMount { volume: row.id, ..one.clone() });
    }
    Ok(mounts)
}
