//! `longshore machine`: hosts with a Docker engine.

use clap::Subcommand;
use wire::ids::{InviteId, MachineId};
use wire::invites::{InviteCreate, InviteCreated, InviteView};
use wire::machines::{MachineState, MachineUpdate, MachineView};

use super::list::{self, PageArgs, name_of};
use super::session::Session;
use super::{environment, gpu, human, words};

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
    /// Invite a machine: prints the line to type there (admins)
    Invite {
        /// How long the invitation is good, such as `15m` or `12h` [default: `1h`]
        #[arg(long, value_name = "TIME", value_parser = human::parse_duration)]
        expires_in: Option<u64>,
    },
    /// List invitations that were not used yet (admins)
    Invites {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Take an invitation back (admins)
    Uninvite {
        /// Its id, from `longshore machine invites`
        #[arg(value_parser = list::parse_id::<InviteId>)]
        id: InviteId,
    },
    /// Give a machine no new work; what runs on it goes on (admins)
    Drain {
        /// Its id, from `longshore machine list`
        machine: MachineId,
        /// Why, for those who wonder
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Say what people call a machine, beside its host name (admins)
    Label {
        /// Its id, from `longshore machine list`
        machine: MachineId,
        /// The label; empty takes it back
        label: String,
    },
    /// Give a machine new work again (admins)
    Resume {
        /// Its id, from `longshore machine list`
        machine: MachineId,
    },
    /// Forget a machine's key, so that it can join anew (admins)
    Release {
        /// Its id, from `longshore machine list`
        machine: MachineId,
    },
    /// Remove a machine on which no container is left (admins)
    #[command(alias = "rm")]
    Delete {
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
        MachineCommand::Invite { expires_in } => invite(session, expires_in).await,
        MachineCommand::Invites { page } => invites(session, &page).await,
        MachineCommand::Uninvite { id } => {
            let id = id.to_string();
            let answer = session.client.delete(&["api", "v1", "invites", &id]).await?;
            session.done(&answer, words::INVITE_DELETED, &[&id])
        }
        MachineCommand::Drain { machine, reason } => {
            let change = MachineUpdate { is_drained: Some(true), reason, label: None };
            let answer = session.client.patch(&["api", "v1", "machines", machine.as_str()], &change).await?;
            session.done(&answer, words::MACHINE_DRAINED, &[machine.as_str()])
        }
        MachineCommand::Resume { machine } => {
            let change = MachineUpdate { is_drained: Some(false), ..MachineUpdate::default() };
            let answer = session.client.patch(&["api", "v1", "machines", machine.as_str()], &change).await?;
            session.done(&answer, words::MACHINE_RESUMED, &[machine.as_str()])
        }
        MachineCommand::Label { machine, label } => {
            let change = MachineUpdate { label: Some(label.clone()), ..MachineUpdate::default() };
            let answer = session.client.patch(&["api", "v1", "machines", machine.as_str()], &change).await?;
            session.done(&answer, words::MACHINE_LABELLED, &[machine.as_str(), &label])
        }
        MachineCommand::Release { machine } => {
            let path = ["api", "v1", "machines", machine.as_str(), "release"];
            let answer = session.client.post_empty(&path).await?;
            session.done(&answer, words::MACHINE_RELEASED, &[machine.as_str()])
        }
        MachineCommand::Delete { machine } => {
            let answer = session.client.delete(&["api", "v1", "machines", machine.as_str()]).await?;
            session.done(&answer, words::MACHINE_DELETED, &[machine.as_str()])
        }
    }
}

async fn invite(session: &Session, expires_in: Option<u64>) -> anyhow::Result<()> {
    let answer = session.client.post(&["api", "v1", "invites"], &InviteCreate { expires_in }).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let invite: InviteCreated = answer.view()?;
    let language = session.printer.language;
    let ends = human::ago(invite.expires_at, environment::now(), language);
    session.printer.say(words::INVITE_CREATED, &[&ends]);
    // What the server takes for its address may be one that only itself can reach: then the address by which this command
    // reached it is the better guess.
    let own = session.client.server();
    let is_local =
        |url: &str| url.contains("//127.") || url.contains("//localhost") || url.contains("//[::1]");
    let url = if is_local(&invite.url) || !is_local(&own) { own } else { invite.url };
    session.printer.data(&format!("longshore agent join {url} {} --service", invite.token))
}

async fn invites(session: &Session, page: &PageArgs) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "invites"], &page.query()).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let ago = |time| human::ago(time, environment::now(), session.printer.language);
    let invites = list::page::<InviteView>(&session.printer, &answer)?;
    let rows: Vec<_> = invites
        .into_iter()
        .map(|invite| [invite.id.to_string(), ago(invite.created_at), ago(invite.expires_at)])
        .collect();
    session.printer.table(["ID", "CREATED", "EXPIRES"], &rows)
}

/// The state in words that a person reads.
pub(crate) fn state(machine: &MachineView) -> &'static str {
    match machine.state {
        _ if machine.quarantine_reason.is_some() => "quarantined",
        MachineState::Online if machine.drained_at.is_some() => "drained",
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
        ("label", machine.label.clone()),
        ("state", Some(format!("{} ({since})", name_of(&machine.state)))),
        ("quarantined", machine.quarantine_reason.clone()),
        (
            "drained",
            machine.drained_at.map(|_| machine.drain_reason.clone().unwrap_or_else(|| "yes".to_owned())),
        ),
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
    if machine.gpus.is_empty() {
        for (key, gpu) in &facts.gpu {
            lines.push(("gpu", Some(format!("{key}: {} ({})", gpu.model, human::size(gpu.memory << 20)))));
        }
    }
    for found in &machine.gpus {
        let state = name_of(&found.state);
        lines
            .push(("gpu", Some(format!("{}: {} ({}), {state}", found.key, found.model, gpu::memory(found)))));
    }
    lines.push(("gpu problem", machine.gpu_problem.clone()));
    session.printer.facts(&lines)
}
