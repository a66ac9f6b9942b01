//! `longshore audit`: who changed what.

use clap::Subcommand;
use wire::audit::AuditView;
use wire::names::AccountName;

use super::list::{self, PageArgs};
use super::session::Session;
use super::{environment, human};

/// Verbs of `longshore audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List changes and refused attempts, newest first (admins only)
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        page: PageArgs,
        /// Only what this account did
        #[arg(long, value_name = "NAME")]
        actor: Option<AccountName>,
        /// Only this action, such as `image.delete`
        #[arg(long)]
        action: Option<String>,
        /// Only what was done to this
        #[arg(long)]
        target: Option<String>,
        /// Only where the action or the target contains this
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: AuditCommand, session: &Session) -> anyhow::Result<()> {
    let AuditCommand::List { page, actor, action, target, search } = command;
    let mut query = page.query();
    query.extend(actor.map(|name| ("actor", name.to_string())));
    query.extend(action.map(|text| ("action", text)));
    query.extend(target.map(|text| ("target", text)));
    query.extend(search.map(|text| ("search", text)));
    let answer = session.client.get(&["api", "v1", "audit"], &query).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let now = environment::now();
    let rows: Vec<_> = list::page::<AuditView>(&session.printer, &answer)?
        .into_iter()
        .map(|row| {
            let who = match (row.actor, row.acting_for) {
                (Some(actor), Some(account)) => format!("{actor} for {account}"),
                (Some(actor), None) => actor.to_string(),
                (None, _) => "-".to_owned(),
            };
            [
                human::ago(row.at, now, session.printer.language),
                who,
                row.action,
                row.target,
                row.result,
                row.ip.unwrap_or_default(),
            ]
        })
        .collect();
    session.printer.table(["WHEN", "WHO", "ACTION", "TARGET", "RESULT", "FROM"], &rows)
}
