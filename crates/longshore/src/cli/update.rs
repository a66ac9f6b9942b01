//! `longshore container update` and `rename`: changes of what is there.

use clap::Args;
use wire::containers::{ContainerUpdate, ContainerView};
use wire::names::ContainerName;

use super::container::ContainerArg;
use super::session::Session;
use super::{human, words};

/// What to change.
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// Its name or number
    container: ContainerArg,
    #[command(flatten)]
    change: ChangeArgs,
}

/// The changes themselves: at least one.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
struct ChangeArgs {
    /// The name to show; an empty text removes it
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Most memory, such as `512m` or `2g`
    #[arg(long, value_parser = human::parse_size)]
    memory: Option<u64>,
    /// Most processor time in cores, such as `1.5`
    #[arg(long, value_parser = human::parse_cores)]
    cpus: Option<u32>,
    /// Most processes
    #[arg(long)]
    pids: Option<u32>,
}

/// Which, and its new name.
#[derive(Args, Debug)]
pub(crate) struct RenameArgs {
    /// Its name or number
    container: ContainerArg,
    /// The new name
    name: ContainerName,
}

/// Runs `update`.
pub(crate) async fn update(session: &Session, args: UpdateArgs) -> anyhow::Result<()> {
    let body = ContainerUpdate {
        name: None,
        display_name: args.change.display_name.map(|text| Some(text).filter(|text| !text.is_empty())),
        memory_bytes: args.change.memory,
        cpu_millis: args.change.cpus,
        pids: args.change.pids,
    };
    change(session, &args.container, &body, words::CONTAINER_UPDATED).await
}

/// Runs `rename`.
pub(crate) async fn rename(session: &Session, args: RenameArgs) -> anyhow::Result<()> {
    let body = ContainerUpdate { name: Some(args.name), ..ContainerUpdate::default() };
    change(session, &args.container, &body, words::CONTAINER_RENAMED).await
}

async fn change(
    session: &Session,
    container: &ContainerArg,
    body: &ContainerUpdate,
    word: words::Word,
) -> anyhow::Result<()> {
    let answer = session.client.patch(&["api", "v1", "containers", &container.0], body).await?;
    let view: ContainerView = answer.view()?;
    session.done(&answer, word, &[view.name.as_str()])
}
