//! `longshore git-repo secret`: what steps of a git repository's builds may read.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;
use wire::git_repo_secrets::{GitRepoSecretView, VALUE_BYTES};
use wire::names::SecretName;

use super::session::Session;
use super::{environment, git_repo, human, words};

/// Verbs of `longshore git-repo secret`.
#[derive(Debug, Subcommand)]
pub(crate) enum GitRepoSecretCommand {
    /// List the names of a git repository's secrets; their values are never shown
    #[command(visible_alias = "ls")]
    List {
        /// The git repository (its name or number)
        repo: String,
    },
    /// Set a secret that steps of its builds in a cluster read with `RUN --mount=type=secret,id=NAME`; the value comes from
    /// standard input
    #[command(alias = "add")]
    Set {
        /// The git repository (its name or number)
        repo: String,
        /// The secret's name
        name: SecretName,
        /// Read the value from a file, as it is
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Forget a secret
    #[command(visible_alias = "rm", alias = "delete")]
    Remove {
        /// The git repository (its name or number)
        repo: String,
        /// The secret's name
        name: SecretName,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: GitRepoSecretCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        GitRepoSecretCommand::List { repo } => all(session, &repo).await,
        GitRepoSecretCommand::Set { repo, name, file } => {
            let value = match &file {
                Some(path) => git_repo::read_file(path)?,
                None => read_value()?,
            };
            let repo = git_repo::find(session, &repo).await?;
            let id = repo.id.to_string();
            let path = ["api", "v1", "git-repos", &id, "secrets", name.as_str()];
            let answer = session.client.put(&path, &json!({"value": value})).await?;
            session.done(&answer, words::GIT_REPO_SECRET_SET, &[name.as_str(), &repo.repo_name])
        }
        GitRepoSecretCommand::Remove { repo, name } => {
            let repo = git_repo::find(session, &repo).await?;
            let id = repo.id.to_string();
            let path = ["api", "v1", "git-repos", &id, "secrets", name.as_str()];
            let answer = session.client.delete(&path).await?;
            session.done(&answer, words::GIT_REPO_SECRET_REMOVED, &[name.as_str(), &repo.repo_name])
        }
    }
}

/// All of standard input, without the end of its last line: several lines are one value.
fn read_value() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(VALUE_BYTES as u64 + 3).read_to_string(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

async fn all(session: &Session, repo: &str) -> anyhow::Result<()> {
    let repo = git_repo::find(session, repo).await?.id.to_string();
    let answer = session.client.get(&["api", "v1", "git-repos", &repo, "secrets"], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let (language, now) = (session.printer.language, environment::now());
    let secrets: Vec<GitRepoSecretView> = answer.view()?;
    let rows: Vec<_> = secrets
        .into_iter()
        .map(|secret| [secret.name.to_string(), human::ago(secret.updated_at, now, language)])
        .collect();
    session.printer.table(["NAME", "SET"], &rows)
}
