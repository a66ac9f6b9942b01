//! `longshore chart key`: public keys by which signed charts are verified, and whether charts must be signed.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use wire::chart_keys::{ChartKeyCreate, ChartKeyView};
use wire::chart_repos::ChartRepoUpdate;
use wire::ids::ChartKeyId;

use super::session::Session;
use super::{environment, human, list, words};

/// Verbs of `longshore chart key`.
#[derive(Debug, Subcommand)]
pub(crate) enum ChartKeyCommand {
    /// List the keys that count for a chart repository, or for every one
    #[command(visible_alias = "ls")]
    List {
        /// For this chart repository
        #[arg(long, value_name = "NAME")]
        repo: Option<String>,
    },
    /// Add a public key, as `gpg --armor --export` writes it
    Add {
        /// The file with the key
        file: PathBuf,
        /// Only for charts of this repository; without it for every one, which admins may say
        #[arg(long, value_name = "NAME")]
        repo: Option<String>,
    },
    /// Require that the charts of a repository are signed: those that are not verified are neither handed out nor installed
    Require {
        /// The chart repository
        repo: String,
        /// Require it no longer
        #[arg(long)]
        off: bool,
    },
    /// Delete a key: what was signed with it is not verified any more
    #[command(alias = "rm")]
    Delete {
        /// Its id, from `longshore chart key list`
        #[arg(value_parser = list::parse_id::<ChartKeyId>)]
        id: ChartKeyId,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: ChartKeyCommand, session: &Session) -> anyhow::Result<()> {
    let path = ["api", "v1", "chart-keys"];
    match command {
        ChartKeyCommand::List { repo } => {
            let query: Vec<_> = repo.map(|repo| ("repo", repo)).into_iter().collect();
            let answer = session.client.get(&path, &query).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let (language, now) = (session.printer.language, environment::now());
            let rows: Vec<_> = list::page::<ChartKeyView>(&session.printer, &answer)?
                .into_iter()
                .map(|key| {
                    let scope = if key.repo_id.is_some() { "repository" } else { "all" };
                    [
                        key.id.to_string(),
                        key.identity,
                        key.fingerprint,
                        scope.to_owned(),
                        human::ago(key.created_at, now, language),
                    ]
                })
                .collect();
            session.printer.table(["ID", "IDENTITY", "FINGERPRINT", "FOR", "ADDED"], &rows)
        }
        ChartKeyCommand::Add { file, repo } => {
            let key = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read `{}`", file.display()))?;
            let answer = session.client.post(&path, &ChartKeyCreate { key, repo }).await?;
            let added: Vec<ChartKeyView> = answer.view()?;
            let who: Vec<String> = added.into_iter().map(|key| key.identity).collect();
            session.done(&answer, words::CHART_KEY_ADDED, &[&who.join(", ")])
        }
        ChartKeyCommand::Require { repo, off } => {
            let change = ChartRepoUpdate { requires_signature: Some(!off), ..ChartRepoUpdate::default() };
            let answer = session.client.patch(&["api", "v1", "chart-repos", &repo], &change).await?;
            let word = if off { words::SIGNATURES_NOT_REQUIRED } else { words::SIGNATURES_REQUIRED };
            session.done(&answer, word, &[&repo])
        }
        ChartKeyCommand::Delete { id } => {
            let id = id.to_string();
            let answer = session.client.delete(&["api", "v1", "chart-keys", &id]).await?;
            session.done(&answer, words::CHART_KEY_DELETED, &[&id])
        }
    }
}
