//! `longshore gpu`: graphics processors of all machines.

use clap::Subcommand;
use wire::gpus::{GpuLeaseView, GpuView};
use wire::ids::MachineId;

use super::list::{self, PageArgs, name_of};
use super::session::Session;
use super::{environment, human};

/// Verbs of `longshore gpu`.
#[derive(Debug, Subcommand)]
pub(crate) enum GpuCommand {
    /// List graphics processors: what they do, who has them and until when
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        page: PageArgs,
        /// Only on this machine
        #[arg(long, value_name = "ID")]
        machine: Option<MachineId>,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: GpuCommand, session: &Session) -> anyhow::Result<()> {
    let GpuCommand::List { page, machine } = command;
    let mut query = page.query();
    query.extend(machine.map(|machine| ("machine", machine.to_string())));
    let answer = session.client.get(&["api", "v1", "gpus"], &query).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let gpus = list::page::<GpuView>(&session.printer, &answer)?;
    let rows: Vec<_> = gpus.iter().map(|gpu| row(session, gpu)).collect();
    let headings = [
        "MACHINE",
        "GPU",
        "MODEL",
        "MEMORY",
        "BUSY",
        "TEMP",
        "POWER",
        "STATE",
        "HOLDER",
        "SINCE",
        "UNTIL",
        "PROCESSES",
    ];
    session.printer.table(headings, &rows)
}

/// Memory in use and in all.
pub(crate) fn memory(gpu: &GpuView) -> String {
    let total = human::size(gpu.memory << 20);
    match gpu.memory_used {
        Some(used) => format!("{} of {total}", human::size(used << 20)),
        None => total,
    }
}

fn row(session: &Session, gpu: &GpuView) -> [String; 12] {
    let ago = |since| human::ago(since, environment::now(), session.printer.language);
    let with_unit = |number: Option<u32>, unit: &str| number.map(|number| format!("{number}{unit}"));
    [
        gpu.machine_id.to_string(),
        gpu.key.clone(),
        gpu.model.clone(),
        memory(gpu),
        with_unit(gpu.utilization_percent, "%").unwrap_or_default(),
        with_unit(gpu.temperature_celsius, "°C").unwrap_or_default(),
        with_unit(gpu.power_watts, " W").unwrap_or_default(),
        name_of(&gpu.state),
        gpu.lease.as_ref().map(holder).unwrap_or_default(),
        gpu.lease.as_ref().map(|lease| ago(lease.since)).unwrap_or_default(),
        gpu.lease.as_ref().and_then(|lease| lease.until).map(ago).unwrap_or_default(),
        processes(gpu),
    ]
}

/// Who holds it; the server does not tell everybody.
fn holder(lease: &GpuLeaseView) -> String {
    match (&lease.container, &lease.account) {
        (Some(container), Some(account)) => format!("{container} ({account})"),
        _ => "another account".to_owned(),
    }
}

/// Who uses it, as far as the server tells.
fn processes(gpu: &GpuView) -> String {
    let told = |process: &wire::gpus::GpuProcessView| match (&process.container, &process.user) {
        (Some(container), _) => format!("{} ({container})", process.name),
        (None, Some(user)) => format!("{} ({user}, pid {})", process.name, process.pid),
        (None, None) => process.name.clone(),
    };
    gpu.processes.iter().map(told).collect::<Vec<_>>().join(", ")
}
