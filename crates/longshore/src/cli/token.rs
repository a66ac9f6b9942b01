//! `longshore token`: API tokens, for programs.

use clap::Subcommand;
use wire::accounts::{TokenCreate, TokenCreated, TokenView};
use wire::ids::TokenId;

use super::list::{self, PageArgs};
use super::session::Session;
use super::{environment, human, words};

/// Verbs of `longshore token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// List your API tokens
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Make an API token; it is shown only once
    Create {
        /// A name to tell it from others
        name: String,
        /// How long it lives, such as `30d` or `12h`; until it is deleted when absent
        #[arg(long, value_name = "TIME", value_parser = human::parse_duration)]
        expires_in: Option<u64>,
    },
    /// Delete an API token; programs that use it are shut out at once
    #[command(alias = "rm")]
    Delete {
        /// Its id, from `longshore token list`
        #[arg(value_parser = list::parse_id::<TokenId>)]
        id: TokenId,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: TokenCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        TokenCommand::List { page } => all(session, &page).await,
        TokenCommand::Create { name, expires_in } => {
            let body = TokenCreate { name, expires_in };
            let answer = session.client.post(&["api", "v1", "tokens"], &body).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let created: TokenCreated = answer.view()?;
            session.printer.say(words::TOKEN_CREATED, &[&created.name]);
            session.printer.data(&created.token)
        }
        TokenCommand::Delete { id } => {
            let id = id.to_string();
            let answer = session.client.delete(&["api", "v1", "tokens", &id]).await?;
            session.done(&answer, words::TOKEN_DELETED, &[&id])
        }
    }
}

async fn all(session: &Session, page: &PageArgs) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "tokens"], &page.query()).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let language = session.printer.language;
    let now = environment::now();
    let rows: Vec<_> = list::page::<TokenView>(&session.printer, &answer)?
        .into_iter()
        .map(|token| {
            let ago = |time| human::ago(time, now, language);
            [
                token.id.to_string(),
                token.name,
                ago(token.created_at),
                token.expires_at.map_or_else(|| language.pick(words::NEVER).to_owned(), ago),
                token.last_used_at.map_or_else(|| language.pick(words::NEVER).to_owned(), ago),
            ]
        })
        .collect();
    session.printer.table(["ID", "NAME", "CREATED", "EXPIRES", "LAST USED"], &rows)
}
