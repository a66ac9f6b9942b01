//! `longshore machine`: hosts with a Docker engine.

use clap::Subcommand;
use wire::ids::MachineId;
use wire::machines::{MachineState, MachineView};

use super::list::{self, PageArgs, name_of};
use super::session::Session;
use super::{environment, human};

/// Verbs of `longshore machine`.
#[derive(Debug, Subcommand)]
pub(crate) enum MachineCommand {
    /// List machines
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show a machine
    Show {
        /// Its id, from `longshore machine list`
        machine: MachineId,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: MachineCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        MachineCommand::List { page } => {
            let answer = session.client.get(&["api", "v1", "machines"], &page.query()).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let machines = list::page::<MachineView>(&session.printer, &answer)?;
            let rows: Vec<_> = machines.iter().map(|machine| row(session, machine)).collect();
            session.printer.table(["ID", "HOST", "STATE", "SINCE", "CORES", "MEMORY", "DISK", "GPUS"], &rows)
        }
        MachineCommand::Show { machine } => {
            let answer = session.client.get(&["api", "v1", "machines", machine.as_str()], &[]).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            show(session, &answer.view()?)
        }
    }
}

/// The state in words that a person reads.
pub(crate) fn state(machine: &MachineView) -> &'static str {
    match machine.state {
        MachineState::Online => "online",
        MachineState::EngineDown => "engine down",
        MachineState::Unknown => "unreachable",
    }
}

fn cores(machine: &MachineView) -> u32 {
    machine.facts.cpu.values().map(|socket| socket.cores).sum()
}

fn memory(machine: &MachineView) -> String {
    let memory = machine.facts.memory;
    format!("{} free of {}", human::size(memory.free << 20), human::size(memory.total << 20))
}

fn disk(machine: &MachineView) -> String {
    let disk = machine.facts.disk;
    format!("{} free of {}", human::size(disk.free << 30), human::size(disk.total << 30))
}

fn row(session: &Session, machine: &MachineView) -> [String; 8] {
    [
        machine.facts.machine_id.to_string(),
        machine.facts.hostname.clone(),
        state(machine).to_owned(),
        human::ago(machine.state_since, environment::now(), session.printer.language),
        cores(machine).to_string(),
        memory(machine),
        disk(machine),
        machine.facts.gpu.len().to_string(),
    ]
}

fn show(session: &Session, machine: &MachineView) -> anyhow::Result<()> {
    let since = human::ago(machine.state_since, environment::now(), session.printer.language);
    let facts = &machine.facts;
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut lines = vec![
        ("id", Some(facts.machine_id.to_string())),
        ("host", some(&facts.hostname)),
        ("state", Some(format!("{} ({since})", name_of(&machine.state)))),
        ("address", some(&facts.ip)),
        ("system", some(&format!("{} {}", facts.os, facts.architecture))),
        ("engine", facts.engine_version.clone()),
        ("agent", some(&facts.agent_version)),
        ("registry", some(&facts.registry)),
        ("memory", Some(memory(machine))),
        ("disk", Some(disk(machine))),
    ];
    for (key, cpu) in &facts.cpu {
        lines.push(("cpu", Some(format!("{key}: {} ({} cores)", cpu.model, cpu.cores))));
    }
    for (key, gpu) in &facts.gpu {
        lines.push(("gpu", Some(format!("{key}: {} ({})", gpu.model, human::size(gpu.memory << 20)))));
    }
    session.printer.facts(&lines)
}
