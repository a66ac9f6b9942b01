//! Quotas: how much an account's containers may have at the same time; graphics processors of its pods in clusters count beside
//! those of its containers. Who asks for graphics processors waits until there is
//! room; everybody else is refused. Whatever makes an account use more holds the lock of the leases, so that two requests
//! cannot both take the last room.

use std::collections::HashMap;

use store::containers::{self, Row};
use store::{Conn, Tx, accounts, quotas};
use wire::accounts::Role;
use wire::ids::{AccountId, ContainerId};
use wire::quotas::{AccountClass, QuotaLimits, QuotaUpdate, QuotaUse, QuotaView};

use super::audit::{self, Event};
use crate::app::App;
use crate::caller::Caller;
use crate::config::QuotaConfig;
use crate::error::{Error, ErrorKind, Result};

/// The largest number that can be set.
const LARGEST: u64 = 1 << 60;

/// What a container needs of its account's quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) gpus: u32,
    pub(super) cpu_millis: u64,
    pub(super) memory_bytes: u64,
}

impl Needs {
    /// Those of a container that is to run; while its limits are changed, the greater of both.
    pub(super) fn of(row: &Row) -> Self {
        let now = row.spec.limits();
        let wished = row.wished_limits.as_ref().map_or(now, |wished| wished.limits);
        Self {
            gpus: row.gpu_wish.as_ref().map_or(0, |wish| wish.count),
            cpu_millis: u64::from(now.cpu_millis.max(wished.cpu_millis)),
            memory_bytes: now.memory_bytes.max(wished.memory_bytes),
        }
    }
}

/// What an account may have, and has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) limits: QuotaLimits,
    pub(super) used: QuotaUse,
}

impl Room {
    /// What there is not enough of, in words; none when a container with these needs may run.
    pub(super) fn lacks(&self, needs: &Needs) -> Option<String> {
        let Self { limits, used } = self;
        let row = |what, needs, used, limit: Option<u64>| (what, needs, used, limit);
        [
            row("GPUs", needs.gpus.into(), used.gpus.into(), limits.gpus.map(u64::from)),
            row(
                "running containers",
                1,
                used.running_containers.into(),
                limits.running_containers.map(u64::from),
            ),
            row("cpu_millis", needs.cpu_millis, used.cpu_millis, limits.cpu_millis),
            row("bytes of memory", needs.memory_bytes, used.memory_bytes, limits.memory_bytes),
        ]
        .into_iter()
        .find_map(|(what, needs, used, limit)| {
            let limit = limit.filter(|limit| needs > 0 && used.saturating_add(needs) > *limit)?;
            Some(format!("the account's quota is {limit} {what}, it uses {used} and this needs {needs}"))
        })
        .or_else(|| {
            // Nobody knows what a container will write: it may begin as long as there is room.
            let limit = limits.disk_bytes.filter(|limit| used.disk_bytes >= *limit)?;
            Some(format!("the account's quota is {limit} bytes on disks, and it holds {}", used.disk_bytes))
        })
    }

    /// What there would not be enough of if the account used nothing.
    fn can_never_have(&self, needs: &Needs) -> Option<String> {
        Self { used: QuotaUse::default(), ..*self }.lacks(needs)
    }

    /// Takes what a container needs.
    pub(super) fn take(&mut self, needs: &Needs) {
        let used = &mut self.used;
        used.gpus = used.gpus.saturating_add(needs.gpus);
        used.cpu_millis = used.cpu_millis.saturating_add(needs.cpu_millis);
        used.memory_bytes = used.memory_bytes.saturating_add(needs.memory_bytes);
        used.running_containers = used.running_containers.saturating_add(1);
    }

    fn count(&mut self, row: &Row) {
        let used = &mut self.used;
        if row.leased_at.is_some() {
            let held = u32::try_from(row.spec.gpus.len()).unwrap_or(u32::MAX);
            used.gpus = used.gpus.saturating_add(held);
        }
        if row.is_active() {
            self.take(&Needs { gpus: 0, ..Needs::of(row) });
        }
    }
}

/// What these accounts may have, and have: all of them.
pub(super) async fn rooms(app: &App, c: &dyn Conn, of: &[AccountId]) -> Result<HashMap<AccountId, Room>> {
    rooms_without(app, c, of, None).await
}

/// The same, without one container.
async fn rooms_without(
    app: &App,
    c: &dyn Conn,
    of: &[AccountId],
    without: Option<ContainerId>,
) -> Result<HashMap<AccountId, Room>> {
    let mut rooms = HashMap::new();
    let set = quotas::of_accounts(c, of).await?;
    for id in of {
        let Some(account) = accounts::get(c, *id).await? else { continue };
        let own = set.iter().find(|row| row.account_id == *id).map(|row| row.limits).unwrap_or_default();
        let limits = effective(&app.config.quotas, account.role, own);
        let used = QuotaUse { disk_bytes: app.disk_uses.of_account(*id), ..QuotaUse::default() };
        rooms.insert(*id, Room { limits, used });
    }
    for row in containers::in_use(c, of).await?.iter().filter(|row| Some(row.id) != without) {
        if let Some(room) = rooms.get_mut(&row.account_id) {
            room.count(row);
        }
    }
    for (id, room) in &mut rooms {
        let pods = u32::try_from(gpus_of_pods(app, c, *id).await?).unwrap_or(u32::MAX);
        room.used.gpus = room.used.gpus.saturating_add(pods);
    }
    Ok(rooms)
}

/// The graphics processors that an account's pods have or wait for, in all clusters.
async fn gpus_of_pods(app: &App, c: &dyn Conn, account: AccountId) -> Result<u64> {
    let namespaces = store::namespaces::all_of_account(c, account).await?;
    Ok(namespaces.iter().map(|row| super::namespaces::gpus_of(app, row)).sum())
}

/// How many graphics processors are left of an account's quota for somebody who has some of those in use; none when nothing
/// bounds it.
pub(super) async fn gpus_left(app: &App, account: AccountId, own: u64) -> Result<Option<u64>> {
    let room = rooms(app, &app.db, &[account]).await?.remove(&account).unwrap_or_default();
    let others = u64::from(room.used.gpus).saturating_sub(own);
    Ok(room.limits.gpus.map(|limit| u64::from(limit).saturating_sub(others)))
}

/// The settings bind everybody but admins, who could change them; what is set for an account binds it.
fn effective(config: &QuotaConfig, role: Role, own: QuotaLimits) -> QuotaLimits {
    let settings = match role {
        Role::Admin => QuotaLimits::default(),
        Role::User => QuotaLimits {
            gpus: config.gpus,
            cpu_millis: config.cpu_millis,
            memory_bytes: config.memory_bytes,
            running_containers: config.running_containers,
            disk_bytes: config.disk_bytes,
        },
    };
    QuotaLimits {
        gpus: own.gpus.or(settings.gpus),
        cpu_millis: own.cpu_millis.or(settings.cpu_millis),
        memory_bytes: own.memory_bytes.or(settings.memory_bytes),
        running_containers: own.running_containers.or(settings.running_containers),
        disk_bytes: own.disk_bytes.or(settings.disk_bytes),
    }
}

/// Refuses what an account may not have: now, or at all when it can wait. The caller holds the lock of the leases.
pub(super) async fn require(
    app: &App,
    tx: &Tx,
    account: AccountId,
    needs: &Needs,
    container: Option<ContainerId>,
) -> Result<()> {
    let room = rooms_without(app, tx, &[account], container).await?.remove(&account).unwrap_or_default();
    let can_wait = needs.gpus > 0;
    let lack = if can_wait { room.can_never_have(needs) } else { room.lacks(needs) };
    match lack {
        None => Ok(()),
        Some(lack) if room.can_never_have(needs).is_some() => Err(Error::conflict("over_quota", lack)
            .hint("ask for less, or let an admin raise the quota: `longshore account quota`")),
        Some(lack) => Err(Error::conflict("over_quota", lack)
            .hint("stop or delete containers that are not needed, or let an admin raise the quota")),
    }
}

/// An account's quota: one's own, or any for an admin.
pub async fn get(app: &App, caller: &Caller, name: &str) -> Result<QuotaView> {
    let row = super::accounts::find(app, name).await?;
    if !caller.may_act_for(row.id) {
        return Err(Error::not_found("account", name));
    }
    let set = quotas::of_accounts(&app.db, &[row.id]).await?.pop();
    let room = rooms(app, &app.db, &[row.id]).await?.remove(&row.id).unwrap_or_default();
    Ok(QuotaView {
        account: row.account,
        class: set.map_or(AccountClass::Normal, |set| set.class),
        limits: room.limits,
        own: set.map(|set| set.limits).unwrap_or_default(),
        used: room.used,
        pod_gpus: gpus_of_pods(app, &app.db, row.id).await?,
    })
}

/// Sets an account's quota (admin). What runs goes on; the line is looked at again.
pub async fn set(app: &App, caller: &Caller, name: &str, update: &QuotaUpdate) -> Result<QuotaView> {
    super::accounts::require_admin(caller)?;
    let account = super::accounts::find(app, name).await?;
    let numbers = [
        ("cpu_millis", update.cpu_millis),
        ("memory_bytes", update.memory_bytes),
        ("disk_bytes", update.disk_bytes),
    ];
    for (field, value) in numbers {
        if value.is_some_and(|value| value > LARGEST) {
            let error = Error::new(ErrorKind::Invalid, "invalid", format!("`{field}` is at most {LARGEST}"));
            return Err(Error { field: Some(field.into()), ..error });
        }
    }
    let row = quotas::Row {
        account_id: account.id,
        class: update.class,
        limits: QuotaLimits {
            gpus: update.gpus,
            cpu_millis: update.cpu_millis,
            memory_bytes: update.memory_bytes,
            running_containers: update.running_containers,
            disk_bytes: update.disk_bytes,
        },
    };
    let tx = app.db.begin().await?;
    quotas::set(&tx, &row).await?;
    let event = Event { action: "account.quota", target: account.account.as_str(), acting_for: None };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    app.signals.line.notify_one();
    get(app, caller, name).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_said_with_numbers() {
        let limits = QuotaLimits { gpus: Some(2), running_containers: Some(3), ..QuotaLimits::default() };
        let mut room = Room { limits, used: QuotaUse::default() };
        let needs = Needs { gpus: 1, cpu_millis: 1_000, memory_bytes: 1 };

        assert_eq!(room.lacks(&needs), None);
        room.take(&needs);
        room.take(&needs);
        let said = room.lacks(&needs).unwrap();
        assert_eq!(said, "the account's quota is 2 GPUs, it uses 2 and this needs 1");
        assert_eq!(room.lacks(&Needs { gpus: 0, ..needs }), None, "who asks for none is not held to it");
        assert_eq!(room.can_never_have(&needs), None);
        assert!(room.can_never_have(&Needs { gpus: 3, ..needs }).is_some());
        room.take(&Needs { gpus: 0, ..needs });
        assert!(room.lacks(&Needs { gpus: 0, ..needs }).unwrap().contains("3 running containers"));
    }

    #[test]
    fn numbers_that_overflow_are_too_large_and_not_small() {
        let limits = QuotaLimits { memory_bytes: Some(10), ..QuotaLimits::default() };
        let room = Room { limits, used: QuotaUse { memory_bytes: u64::MAX, ..QuotaUse::default() } };

        assert!(room.lacks(&Needs { memory_bytes: u64::MAX, ..Needs::default() }).is_some());
    }

    #[test]
    fn who_holds_as_much_on_disks_as_may_be_held_starts_nothing_more() {
        let limits = QuotaLimits { disk_bytes: Some(100), ..QuotaLimits::default() };
        let room = |disk_bytes| Room { limits, used: QuotaUse { disk_bytes, ..QuotaUse::default() } };

        assert_eq!(room(99).lacks(&Needs::default()), None);
        let said = room(100).lacks(&Needs::default()).unwrap();
        assert_eq!(said, "the account's quota is 100 bytes on disks, and it holds 100");
        assert_eq!(room(100).can_never_have(&Needs::default()), None, "room can be made");
    }

    #[test]
    fn settings_bind_everybody_but_admins_and_an_accounts_own_come_first() {
        let config = QuotaConfig { gpus: Some(4), ..QuotaConfig::default() };
        let own = QuotaLimits { gpus: Some(1), ..QuotaLimits::default() };

        assert_eq!(effective(&config, Role::User, QuotaLimits::default()).gpus, Some(4));
        assert_eq!(effective(&config, Role::Admin, QuotaLimits::default()).gpus, None);
        assert_eq!(effective(&config, Role::Admin, own).gpus, Some(1));
        assert_eq!(effective(&config, Role::User, own).gpus, Some(1));
    }
}
