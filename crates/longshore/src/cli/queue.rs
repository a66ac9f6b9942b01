//! `longshore queue`: the line of those who wait for GPUs.

use clap::Subcommand;
use wire::ids::MachineId;
use wire::queue::QueueView;

use super::container::gpus_in_words;
use super::list::{self, PageArgs, name_of};
use super::session::Session;
use super::{environment, human};

/// Verbs of `longshore queue`.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List who waits and for what, first come first
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: QueueCommand, session: &Session) -> anyhow::Result<()> {
    let QueueCommand::List { page } = command;
    let answer = session.client.get(&["api", "v1", "queue"], &page.query()).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let rows: Vec<_> = list::page::<QueueView>(&session.printer, &answer)?
        .into_iter()
        .map(|place| {
            // In the words of a person where the server tells them.
            let why = place.message.clone().or_else(|| place.reason.as_ref().map(name_of));
            [
                place.position.to_string(),
                holder(&place),
                place.gpus.as_ref().map(gpus_in_words).unwrap_or_default(),
                place.machine_id.as_ref().map(MachineId::to_string).unwrap_or_default(),
                human::ago(place.since, environment::now(), session.printer.language),
                why.unwrap_or_default(),
            ]
        })
        .collect();
    session.printer.table(["NUMBER", "CONTAINER", "GPUS", "MACHINE", "SINCE", "WAITS FOR"], &rows)
}

/// Who waits; the server does not tell everybody.
fn holder(place: &QueueView) -> String {
    match (&place.container, &place.account) {
        (Some(container), Some(account)) => format!("{container} ({account})"),
        _ => "another account".to_owned(),
    }
}
