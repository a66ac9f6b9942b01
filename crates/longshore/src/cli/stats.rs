//! `longshore container stats`: what a container uses, once or each second.

use wire::container_uses::ContainerUseView;
use wire::containers::{ContainerSample, ContainerStatsView};

use super::session::Session;
use super::{human, sse, words};

/// Shows what all containers that run were last seen to use.
pub(crate) async fn list(session: &Session, is_all: bool) -> anyhow::Result<()> {
    let query: Vec<_> = is_all.then(|| ("all", "true".to_owned())).into_iter().collect();
    let answer = session.client.get(&["api", "v1", "container-uses"], &query).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let uses: Vec<ContainerUseView> = answer.view()?;
    if uses.is_empty() {
        session.printer.say(words::NOTHING_THERE, &[]);
        return Ok(());
    }
    let rows: Vec<_> = uses
        .into_iter()
        .map(|use_| {
            let [cpu, memory, limit, pids, network, disk] = cells(&use_.sample);
            [use_.name.to_string(), cpu, memory, limit, pids, network, disk]
        })
        .collect();
    let [cpu, memory, limit, pids, network, disk] = HEADINGS;
    session.printer.table(["CONTAINER", cpu, memory, limit, pids, network, disk], &rows)
}

/// Shows a container's statistics.
pub(crate) async fn show(session: &Session, container: &str, is_followed: bool) -> anyhow::Result<()> {
    let path = ["api", "v1", "containers", container, "stats"];
    if is_followed {
        return follow(session, &path).await;
    }
    let answer = session.client.get(&path, &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let view: ContainerStatsView = answer.view()?;
    let Some(sample) = view.current else {
        session.printer.say(words::NOTHING_USED, &[container, &super::list::name_of(&view.state)]);
        return Ok(());
    };
    session.printer.table(HEADINGS, &[cells(&sample)])
}

async fn follow(session: &Session, path: &[&str]) -> anyhow::Result<()> {
    let printer = &session.printer;
    let mut has_headings = printer.is_json;
    sse::follow(session, path, &[], |event| {
        if event.name != "sample" {
            return Ok(());
        }
        if printer.is_json {
            return printer.data(&event.data);
        }
        if !std::mem::replace(&mut has_headings, true) {
            printer.data(&line(&HEADINGS.map(str::to_owned)))?;
        }
        printer.data(&line(&cells(&serde_json::from_str(&event.data)?)))
    })
    .await
}

const HEADINGS: [&str; 6] = ["CPU", "MEMORY", "LIMIT", "PIDS", "NETWORK IN/OUT", "DISK IN/OUT"];

fn cells(sample: &ContainerSample) -> [String; 6] {
    let both = |one, other| format!("{} / {}", human::size(one), human::size(other));
    let cores = u32::try_from(sample.cpu_millis).unwrap_or(u32::MAX);
    [
        human::cores(cores),
        human::size(sample.memory_bytes),
        human::size(sample.memory_limit_bytes),
        sample.pids.to_string(),
        both(sample.network_received_bytes, sample.network_sent_bytes),
        both(sample.disk_read_bytes, sample.disk_written_bytes),
    ]
}

/// Lines come one at a time, so that columns have a width of their own.
fn line(cells: &[String; 6]) -> String {
    let [cpu, memory, limit, pids, network, disk] = cells;
    format!("{cpu:<8}  {memory:<10}  {limit:<10}  {pids:<6}  {network:<23}  {disk}")
}
