//! `longshore notification`: who hears how a git repository's runs end.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use serde_json::json;
use wire::ids::NotificationTargetId;
use wire::notifications::{NotificationKind, NotificationTargetView};

use super::session::Session;
use super::{environment, git_repo, human, list, words};

/// Verbs of `longshore notification`.
#[derive(Debug, Subcommand)]
pub(crate) enum NotificationCommand {
    /// List who hears how a git repository's runs end
    #[command(visible_alias = "ls")]
    List {
        /// The git repository (its name or number)
        repo: String,
    },
    /// Tell somebody; the address comes from standard input, because whoever knows it can write there
    #[command(alias = "create")]
    Add {
        /// The git repository (its name or number)
        repo: String,
        /// How
        kind: Kind,
        /// A file with what notifications are signed with
        #[arg(long, value_name = "FILE")]
        secret: Option<PathBuf>,
    },
    /// Send a trial message
    Test {
        /// The git repository (its name or number)
        repo: String,
        /// Its number, from `longshore notification list`
        #[arg(value_parser = list::parse_id::<NotificationTargetId>)]
        id: NotificationTargetId,
    },
    /// Tell somebody no more
    #[command(visible_alias = "rm", alias = "delete")]
    Remove {
        /// The git repository (its name or number)
        repo: String,
        /// Its number, from `longshore notification list`
        #[arg(value_parser = list::parse_id::<NotificationTargetId>)]
        id: NotificationTargetId,
    },
}

/// How somebody is told.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// A program, by signed JSON
    Webhook,
    /// A group robot of 飞书 (Lark)
    Feishu,
    /// A group robot of 钉钉
    Dingtalk,
    /// A group robot of 企业微信
    Wecom,
    /// E-mail
    Email,
}

impl From<Kind> for NotificationKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Webhook => Self::Webhook,
            Kind::Feishu => Self::Feishu,
            Kind::Dingtalk => Self::Dingtalk,
            Kind::Wecom => Self::Wecom,
            Kind::Email => Self::Email,
        }
    }
}

/// Runs a verb.
pub(crate) async fn run(command: NotificationCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        NotificationCommand::List { repo } => all(session, &repo).await,
        NotificationCommand::Add { repo, kind, secret } => {
            let repo = git_repo::find(session, &repo).await?.id.to_string();
            let secret = secret.as_deref().map(git_repo::read_file).transpose()?;
            let body = json!({
                "kind": NotificationKind::from(kind),
                "address": git_repo::read_stdin()?.trim(),
                "secret": secret.as_deref().map(str::trim),
            });
            let answer =
                session.client.post(&["api", "v1", "git-repos", &repo, "notifications"], &body).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let added: NotificationTargetView = answer.view()?;
            session.printer.say(words::NOTIFICATION_ADDED, &[&added.address]);
            session.printer.hint(words::NOTIFICATION_TEST_HINT, &[&repo, &added.id.to_string()]);
            Ok(())
        }
        NotificationCommand::Test { repo, id } => {
            let (repo, id) = (git_repo::find(session, &repo).await?.id.to_string(), id.to_string());
            let path = ["api", "v1", "git-repos", &repo, "notifications", &id, "test"];
            let answer = session.client.post_empty(&path).await?;
            session.done(&answer, words::NOTIFICATION_TESTED, &[&id])
        }
        NotificationCommand::Remove { repo, id } => {
            let (repo, id) = (git_repo::find(session, &repo).await?.id.to_string(), id.to_string());
            let answer =
                session.client.delete(&["api", "v1", "git-repos", &repo, "notifications", &id]).await?;
            session.done(&answer, words::NOTIFICATION_REMOVED, &[&id])
        }
    }
}

async fn all(session: &Session, repo: &str) -> anyhow::Result<()> {
    let repo = git_repo::find(session, repo).await?.id.to_string();
    let answer = session.client.get(&["api", "v1", "git-repos", &repo, "notifications"], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let (language, now) = (session.printer.language, environment::now());
    let targets: Vec<NotificationTargetView> = answer.view()?;
    let rows: Vec<_> = targets
        .into_iter()
        .map(|target| {
            let kind = serde_json::to_value(target.kind).unwrap_or_default();
            [
                target.id.to_string(),
                kind.as_str().unwrap_or_default().to_owned(),
                target.address,
                if target.has_secret { "yes" } else { "no" }.to_owned(),
                target.last_result.unwrap_or_default(),
                target.last_at.map(|time| human::ago(time, now, language)).unwrap_or_default(),
            ]
        })
        .collect();
    session.printer.table(["ID", "KIND", "ADDRESS", "SIGNED", "LAST RESULT", "LAST"], &rows)
}
