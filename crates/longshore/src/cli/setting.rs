//! `longshore setting`: how the installation is set, and what can be set while it runs.

use clap::Subcommand;
use wire::settings::{SettingSet, SettingView};

use super::list::name_of;
use super::session::Session;
use super::words;

/// Verbs of `longshore setting`.
#[derive(Debug, Subcommand)]
pub(crate) enum SettingCommand {
    /// List all settings with their values and where these come from (admins only)
    #[command(visible_alias = "ls")]
    List,
    /// Choose a value of a setting that can change while the server runs (admins only)
    Set {
        /// Its name, such as `auth.registration`
        name: String,
        /// The value
        value: String,
    },
    /// Take such a choice back: what the server was started with holds again (admins only)
    Reset {
        /// Its name
        name: String,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: SettingCommand, session: &Session) -> anyhow::Result<()> {
    let path = ["api", "v1", "settings"];
    match command {
        SettingCommand::List => {
            let answer = session.client.get(&path, &[]).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let rows: Vec<_> = answer
                .view::<Vec<SettingView>>()?
                .into_iter()
                .map(|it| {
                    let value = if it.is_secret { "…".to_owned() } else { it.value.unwrap_or_default() };
                    [it.name, value, name_of(&it.source), it.choices.join(", ")]
                })
                .collect();
            session.printer.table(["NAME", "VALUE", "FROM", "CHOICES"], &rows)
        }
        SettingCommand::Set { name, value } => {
            let answer =
                session.client.put(&[path[0], path[1], path[2], &name], &SettingSet { value }).await?;
            said(session, &answer)
        }
        SettingCommand::Reset { name } => {
            let answer = session.client.delete(&[path[0], path[1], path[2], &name]).await?;
            said(session, &answer)
        }
    }
}

fn said(session: &Session, answer: &super::client::Answer) -> anyhow::Result<()> {
    let now: SettingView = answer.view()?;
    session.done(answer, words::SETTING_IS, &[&now.name, &now.value.unwrap_or_default()])
}
