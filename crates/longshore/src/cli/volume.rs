//! `longshore volume`: folders that outlive containers.

use clap::Subcommand;
use wire::ids::{MachineId, VolumeId};
use wire::names::VolumeName;
use wire::page::Page;
use wire::volumes::VolumeView;

use super::failure::Failure;
use super::list::{self, PageArgs, WhoseArgs, name_of};
use super::session::Session;
use super::{environment, human, words};

/// Verbs of `longshore volume`.
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// List volumes; `container run --volume` makes them
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        whose: WhoseArgs,
        /// Only on this machine
        #[arg(long, value_name = "ID")]
        machine: Option<MachineId>,
    },
    /// Show a volume
    Show {
        /// Its name or number
        volume: VolumeArg,
        /// On which machine, where more than one has a volume of the name
        #[arg(long, value_name = "ID")]
        machine: Option<MachineId>,
    },
    /// Delete a volume and everything in it
    #[command(alias = "rm")]
    Delete {
        /// Its name or number
        volume: VolumeArg,
        /// On which machine, where more than one has a volume of the name
        #[arg(long, value_name = "ID")]
        machine: Option<MachineId>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// A volume by number or by name.
#[derive(Clone, Debug)]
pub(crate) enum VolumeArg {
    /// By number.
    Id(VolumeId),
    /// By name.
    Name(VolumeName),
}

impl std::str::FromStr for VolumeArg {
    type Err = wire::names::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => Ok(Self::Name(text.parse()?)),
        }
    }
}

/// Runs a verb.
pub(crate) async fn run(command: VolumeCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        VolumeCommand::List { page, whose, machine } => all(session, &page, &whose, machine).await,
        VolumeCommand::Show { volume, machine } => show(session, &volume, machine).await,
        VolumeCommand::Delete { volume, machine, yes } => {
            let id = find(session, &volume, machine).await?.to_string();
            let shown = match &volume {
                VolumeArg::Id(id) => id.to_string(),
                VolumeArg::Name(name) => name.to_string(),
            };
            session.ask(yes, words::DELETE_VOLUME, &[&shown])?;
            let answer = session.client.delete(&["api", "v1", "volumes", &id]).await?;
            session.done(&answer, words::VOLUME_DELETED, &[&shown])
        }
    }
}

/// The number of a volume.
async fn find(session: &Session, volume: &VolumeArg, machine: Option<MachineId>) -> anyhow::Result<VolumeId> {
    let name = match volume {
        VolumeArg::Id(id) => return Ok(*id),
        VolumeArg::Name(name) => name.to_string(),
    };
    let mut query = vec![("name", name.clone())];
    query.extend(machine.map(|id| ("machine", id.to_string())));
    let page: Page<VolumeView> = session.client.get(&["api", "v1", "volumes"], &query).await?.view()?;
    let language = session.printer.language;
    match page.data.as_slice() {
        [one] => Ok(one.id),
        [] => Err(Failure::new(language.say(words::NO_VOLUME, &[&name]))
            .hint(language.pick(words::NO_VOLUME_HINT))
            .into()),
        several => {
            let mut failure = Failure::new(language.say(words::SEVERAL_VOLUMES, &[&name]));
            failure.details =
                several.iter().map(|volume| format!("{} on {}", volume.id, volume.machine_id)).collect();
            Err(failure.hint(language.pick(words::SEVERAL_VOLUMES_HINT)).into())
        }
    }
}

async fn all(
    session: &Session,
    page: &PageArgs,
    whose: &WhoseArgs,
    machine: Option<MachineId>,
) -> anyhow::Result<()> {
    let mut query = whose.query(page);
    query.extend(machine.map(|id| ("machine", id.to_string())));
    let answer = session.client.get(&["api", "v1", "volumes"], &query).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let now = environment::now();
    let rows: Vec<_> = list::page::<VolumeView>(&session.printer, &answer)?
        .into_iter()
        .map(|volume| {
            [
                volume.id.to_string(),
                volume.name.to_string(),
                volume.account.to_string(),
                volume.machine_id.to_string(),
                name_of(&volume.state),
                volume.size_bytes.map(human::size).unwrap_or_default(),
                containers(&volume),
                human::ago(volume.created_at, now, session.printer.language),
            ]
        })
        .collect();
    session
        .printer
        .table(["ID", "NAME", "ACCOUNT", "MACHINE", "STATE", "SIZE", "CONTAINERS", "CREATED"], &rows)
}

fn containers(volume: &VolumeView) -> String {
    volume.containers.iter().map(|container| container.name.to_string()).collect::<Vec<_>>().join(", ")
}

async fn show(session: &Session, volume: &VolumeArg, machine: Option<MachineId>) -> anyhow::Result<()> {
    let id = find(session, volume, machine).await?.to_string();
    let answer = session.client.get(&["api", "v1", "volumes", &id], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let volume: VolumeView = answer.view()?;
    session.printer.facts(&[
        ("id", Some(volume.id.to_string())),
        ("name", Some(volume.name.to_string())),
        ("account", Some(volume.account.to_string())),
        ("machine", Some(volume.machine_id.to_string())),
        ("state", Some(name_of(&volume.state))),
        ("size", volume.size_bytes.map(human::size)),
        ("containers", Some(containers(&volume)).filter(|names| !names.is_empty())),
        ("created", Some(human::ago(volume.created_at, environment::now(), session.printer.language))),
    ])
}
