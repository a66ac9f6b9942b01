//! `longshore registry`: where images lie.

use std::time::Duration;

use clap::Subcommand;
use tokio::time::Instant;
use wire::builds::OperationState;
use wire::ids::CollectionId;
use wire::registry::CollectionView;

use super::failure::Failure;
use super::list::{self, PageArgs, name_of};
use super::session::Session;
use super::{environment, human, words};

/// First and longest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Verbs of `longshore registry`.
#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Remove what no image needs, and tell how much that freed; pushes wait meanwhile, pulls go on
    Gc {
        /// Return as soon as it is accepted
        #[arg(long)]
        detach: bool,
        /// Longest wait
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = human::parse_duration)]
        timeout: u64,
    },
    /// Give up a tidying up that removes nothing yet
    Cancel {
        /// Its id
        id: CollectionId,
    },
    /// List when that was done, and what it freed
    Collections {
        #[command(flatten)]
        page: PageArgs,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: RegistryCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        RegistryCommand::Gc { detach, timeout } => {
            collect(session, detach, Duration::from_secs(timeout)).await
        }
        RegistryCommand::Cancel { id } => cancel(session, id).await,
        RegistryCommand::Collections { page } => collections(session, &page).await,
    }
}

async fn collect(session: &Session, detach: bool, timeout: Duration) -> anyhow::Result<()> {
    let path = ["api", "v1", "registry", "collections"];
    let mut answer = session.client.post_empty(&path).await?;
    let mut view: CollectionView = answer.view()?;
    let id = view.id.to_string();
    if detach {
        if !session.shown_as_json(&answer)? {
            session.printer.data(&id)?;
        }
        return Ok(());
    }
    let (deadline, mut pause) = (Instant::now() + timeout, PAUSE.0);
    let mut phase = view.phase;
    while !view.state.is_final() {
        if Instant::now() >= deadline {
            return Err(Failure::new(session.printer.language.say(words::COLLECTION_GOES_ON, &[&id])).into());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
        answer = session.client.get(&["api", "v1", "registry", "collections", &id], &[]).await?;
        view = answer.view()?;
        if view.phase != phase && !view.state.is_final() {
            phase = view.phase;
            session.printer.say(words::COLLECTION_PHASE, &[&name_of(&phase)]);
        }
    }
    if session.printer.is_json {
        session.printer.json(&answer.text)?;
    }
    if view.state != OperationState::Succeeded {
        let why = view.message.or(view.reason).unwrap_or_else(|| name_of(&view.state));
        return Err(Failure::new(session.printer.language.say(words::COLLECTION_FAILED, &[&why])).into());
    }
    let freed = human::size(view.freed_bytes.unwrap_or_default());
    let left = human::size(view.bytes_after.unwrap_or_default());
    session.printer.say(words::COLLECTED, &[&freed, &left]);
    Ok(())
}

async fn cancel(session: &Session, id: CollectionId) -> anyhow::Result<()> {
    let id = id.to_string();
    let answer = session.client.post_empty(&["api", "v1", "registry", "collections", &id, "cancel"]).await?;
    if !session.shown_as_json(&answer)? {
        session.printer.say(words::COLLECTION_CANCELLED, &[&id]);
    }
    Ok(())
}

async fn collections(session: &Session, page: &PageArgs) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "registry", "collections"], &page.query()).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let now = environment::now();
    let rows: Vec<_> = list::page::<CollectionView>(&session.printer, &answer)?
        .into_iter()
        .map(|collection| {
            let size = |bytes: Option<u64>| bytes.map(human::size).unwrap_or_default();
            [
                collection.id.to_string(),
                name_of(&collection.state),
                name_of(&collection.phase),
                size(collection.freed_bytes),
                size(collection.bytes_after),
                human::ago(collection.created_at, now, session.printer.language),
            ]
        })
        .collect();
    session.printer.table(["ID", "STATE", "PHASE", "FREED", "LEFT", "CREATED"], &rows)
}
