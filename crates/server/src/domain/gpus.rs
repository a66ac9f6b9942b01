//! Graphics processors: what they are, what they do, and who has them. Every account sees which can be had; by whom one
//! is held or used is shown to that account and to admins.

use std::collections::{HashMap, HashSet};

use store::containers::{self, Behind};
use store::gpu_leases;
use store::machines::Row;
use wire::gpus::{GpuLeaseView, GpuProcess, GpuProcessView, GpuReading, GpuSample, GpuState, GpuView};
use wire::ids::{GpuId, MachineId};
use wire::page::{Page, PageQuery};

use crate::app::App;
use crate::caller::Caller;
use crate::error::Result;

/// Lists the graphics processors of all machines, or of one.
pub async fn list(
    app: &App,
    caller: &Caller,
    machine: Option<&str>,
    page: PageQuery,
) -> Result<Page<GpuView>> {
    let mut gpus = Vec::new();
    for row in super::machines::all(app).await? {
        if machine.is_none_or(|machine| machine == row.facts.machine_id.as_str()) {
            gpus.extend(of_machine(app, caller, &row).await?);
        }
    }
    let total = gpus.len() as u64;
    let skipped = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    let taken = usize::try_from(page.limit()).unwrap_or(usize::MAX);
    let data = gpus.into_iter().skip(skipped).take(taken).collect();
    Ok(Page { data, total, limit: page.limit(), offset: page.offset() })
}

/// What is wrong with a machine's graphics processors.
pub(super) fn problem(app: &App, row: &Row) -> Option<String> {
    app.gpu_readings.get(&row.facts.machine_id)?.problem.clone()
}

/// What of a machine works and is used by no process from outside.
pub(super) async fn free(app: &App, row: &Row) -> Result<HashSet<GpuId>> {
    let machine = &row.facts.machine_id;
    let Some(reading) = app.gpu_readings.get(machine) else { return Ok(HashSet::new()) };
    let users = users(app, machine, Some(&reading)).await?;
    let is_free = |sample: &&GpuSample| !is_used_from_outside(sample, &users);
    Ok(reading.gpus.iter().filter(is_free).map(|sample| sample.uuid.clone()).collect())
}

/// A process that is in none of our containers takes a graphics processor whatever our book says.
fn is_used_from_outside(sample: &GpuSample, users: &Users) -> bool {
    sample.processes.iter().any(|process| user(process, users).is_none())
}

fn user<'u>(process: &GpuProcess, users: &'u Users) -> Option<&'u Behind> {
    users.get(process.engine_id.as_ref()?)
}

/// The graphics processors of one machine, each followed by its instances.
pub(super) async fn of_machine(app: &App, caller: &Caller, row: &Row) -> Result<Vec<GpuView>> {
    if row.facts.gpu.is_empty() {
        return Ok(Vec::new());
    }
    let machine = &row.facts.machine_id;
    let reading = app.gpu_readings.get(machine);
    let users = users(app, machine, reading.as_deref()).await?;
    let leases = gpu_leases::list(&app.db, Some(machine)).await?;
    let look = Look { caller, machine, reading: reading.as_deref(), users: &users, leases: &leases };
    // As numbers, or 10 would come before 2.
    let mut numbered: Vec<_> = row.facts.gpu.iter().collect();
    numbered.sort_by_key(|(key, _)| key.parse::<u32>().unwrap_or(u32::MAX));
    let mut views = Vec::new();
    for (key, gpu) in numbered {
        let shown =
            Shown { key: key.clone(), uuid: gpu.uuid.as_ref(), model: &gpu.model, memory: gpu.memory };
        let own_state = match (&gpu.instances, gpu.is_kept) {
            (Some(_), _) => Some(GpuState::Divided),
            (None, true) => Some(GpuState::Kept),
            (None, false) => None,
        };
        views.push(look.view(shown, own_state));
        for (number, instance) in gpu.instances.iter().flatten().enumerate() {
            let shown = Shown {
                key: format!("{key}.{number}"),
                uuid: Some(&instance.uuid),
                model: &instance.model,
                memory: instance.memory,
            };
            views.push(look.view(shown, gpu.is_kept.then_some(GpuState::Kept)));
        }
    }
    Ok(views)
}

type Users = HashMap<String, Behind>;

/// Our containers whose processes use a machine's graphics processors, by the engine's id.
async fn users(app: &App, machine: &MachineId, reading: Option<&GpuReading>) -> Result<Users> {
    let processes = reading.iter().flat_map(|reading| &reading.gpus).flat_map(|gpu| &gpu.processes);
    let mut engine_ids: Vec<&str> = processes.filter_map(|process| process.engine_id.as_deref()).collect();
    engine_ids.sort_unstable();
    engine_ids.dedup();
    let found = containers::behind(&app.db, machine, &engine_ids).await?;
    Ok(found.into_iter().map(|behind| (behind.engine_id.clone(), behind)).collect())
}

/// What is asked of one machine for one caller.
struct Look<'a> {
    caller: &'a Caller,
    machine: &'a MachineId,
    reading: Option<&'a GpuReading>,
    users: &'a Users,
    leases: &'a [gpu_leases::Row],
}

/// One graphics processor, or an instance of one.
struct Shown<'a> {
    key: String,
    uuid: Option<&'a GpuId>,
    model: &'a str,
    memory: u64,
}

impl Look<'_> {
    fn view(&self, shown: Shown<'_>, own_state: Option<GpuState>) -> GpuView {
        let sample = self.sample(shown.uuid);
        let lease = self.lease(shown.uuid);
        let state = match (own_state, sample) {
            // Held also while its machine is out of reach: it is given to nobody else.
            _ if lease.is_some() => GpuState::Leased,
            (_, None) => GpuState::Unknown,
            (Some(state), Some(_)) => state,
            (None, Some(sample)) if is_used_from_outside(sample, self.users) => GpuState::Outside,
            (None, Some(_)) => GpuState::Free,
        };
        let processes = sample.map(|sample| sample.processes.iter()).into_iter().flatten();
        GpuView {
            machine_id: self.machine.clone(),
            key: shown.key,
            uuid: shown.uuid.cloned(),
            model: shown.model.to_owned(),
            memory: shown.memory,
            memory_used: sample.map(|sample| sample.memory_used),
            utilization_percent: sample.and_then(|sample| sample.utilization_percent),
            temperature_celsius: sample.and_then(|sample| sample.temperature_celsius),
            power_watts: sample.and_then(|sample| sample.power_watts),
            state,
            lease: lease.map(|lease| self.lease_view(lease)),
            processes: processes.filter_map(|process| self.process(process)).collect(),
        }
    }

    fn sample(&self, uuid: Option<&GpuId>) -> Option<&GpuSample> {
        self.reading?.gpus.iter().find(|sample| Some(&sample.uuid) == uuid)
    }

    fn lease(&self, uuid: Option<&GpuId>) -> Option<&gpu_leases::Row> {
        self.leases.iter().find(|lease| Some(&lease.gpu) == uuid)
    }

    fn lease_view(&self, lease: &gpu_leases::Row) -> GpuLeaseView {
        let is_shown = self.caller.may_act_for(lease.account_id);
        GpuLeaseView {
            since: lease.since,
            until: lease.until,
            container_id: is_shown.then_some(lease.container_id),
            container: is_shown.then(|| lease.container.clone()),
            account: is_shown.then(|| lease.account.clone()),
        }
    }

    /// None when the caller may not see it.
    fn process(&self, process: &GpuProcess) -> Option<GpuProcessView> {
        let user = user(process, self.users);
        let is_admin = self.caller.is_admin();
        if !is_admin && user.is_none_or(|user| user.account_id != self.caller.account) {
            return None;
        }
        Some(GpuProcessView {
            pid: process.pid,
            name: process.name.clone(),
            user: process.user.clone().filter(|_| is_admin),
            memory: process.memory,
            container_id: user.map(|user| user.id),
            container: user.map(|user| user.name.clone()),
            account: user.map(|user| user.account.clone()),
        })
    }
}
