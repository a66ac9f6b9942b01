//! What containers print: of those that are there, from their machine; of those that are gone, the end that was kept.

use std::time::Duration;

use futures::Stream;
use store::containers::{self, Desired, Row};
use store::{kept_logs, machines};
use wire::containers::{ContainerState, KeptLogView};
use wire::ids::{ContainerId, MachineId};
use wire::link::{ContainerLogs, LinkErrorCode, LogEvent};
use wire::machines::MachineState;
use wire::names::{AccountName, ContainerName};
use wire::page::{Page, PageQuery};

use super::accounts::{Named, subject};
use super::audit::{self, Event};
use super::containers::{find, may_still_read};
use crate::app::App;
use crate::blobs::{BlobKind, blocking};
use crate::caller::Caller;
use crate::error::{Error, ErrorKind, Result};
use crate::link::CallError;
use crate::log_lines::{Filter, Grep, Keeper, Source, kept_line};
use crate::streams::{Place, TooMany};

/// Most lines of a log that can be asked for by number.
const MAX_TAIL: u64 = 1_000_000;
/// How often a log that is followed looks whether its container has started, or its reader may still read.
const LOG_INTERVAL: Duration = Duration::from_secs(2);
/// How long reading a log may take that is to be kept.
const KEEP_PATIENCE: Duration = Duration::from_secs(30);
/// Text of a kept log that is passed on together.
const PIECE_BYTES: usize = 64 << 10;

/// Which part of a log.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Go on as it grows.
    pub is_followed: bool,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Only what was printed at or after this time, in seconds since 1970.
    pub since: Option<i64>,
    /// Put the time before each line.
    pub has_timestamps: bool,
    /// Only lines that hold this.
    pub grep: Option<Grep>,
}

/// A log that its reader may read.
pub struct Log {
    /// The container's name.
    pub name: ContainerName,
    source: LogSource,
    options: LogOptions,
    caller: Caller,
    place: Option<Place>,
}

enum LogSource {
    Container(Box<Row>, Option<Events>),
    Kept(kept_logs::Row),
}

type Events = crate::link::EventStream<LogEvent>;

/// Decides about a log and opens it. What can be said at once is said here and not as an end of the text.
pub async fn open(app: &App, caller: &Caller, id: &str, options: LogOptions) -> Result<Log> {
    if options.tail.is_some_and(|tail| tail > MAX_TAIL) {
        return Err(Error::invalid("tail", format!("`tail` is at most {MAX_TAIL} lines")));
    }
    let row = match find(app, caller, id).await {
        Err(error) if error.kind == ErrorKind::NotFound => {
            let kept = find_kept(app, caller, id).await?.ok_or(error)?;
            let (name, source) = (kept.name.clone(), LogSource::Kept(kept));
            return Ok(Log { name, source, options, caller: caller.clone(), place: None });
        }
        found => found?,
    };
    let place = if options.is_followed { Some(follow(app, caller)?) } else { None };
    let machine = machines::get(&app.db, &row.machine_id).await?;
    if row.engine_id.is_some() && machine.is_some_and(|machine| machine.state == MachineState::EngineDown) {
        return Err(Error::unavailable(
            "engine_down",
            "the engine of the container's machine does not answer",
        )
        .hint("try again when it is back: `longshore machine list`"));
    }
    let events = if has_log(&row, &options) {
        begin(app, &row.machine_id, &call(app, &row, &options)).await?
    } else {
        None
    };
    let name = row.name.clone();
    let source = LogSource::Container(Box::new(row), events);
    Ok(Log { name, source, options, caller: caller.clone(), place })
}

/// Whether the machine has a log to read. An engine ends the log of a container at once that it has made and not started, also
/// where it is to be followed.
fn has_log(row: &Row, options: &LogOptions) -> bool {
    row.engine_id.is_some() && !(options.is_followed && row.state == ContainerState::Starting)
}

/// A place for one more stream that the caller follows.
pub(super) fn follow(app: &App, caller: &Caller) -> Result<Place> {
    app.streams.enter(caller.account).map_err(|TooMany(limit)| {
        let detail = format!("an account follows at most {limit} streams at the same time");
        Error::new(ErrorKind::TooMany(10), "too_many_streams", detail).hint("close some that nobody looks at")
    })
}

fn call(app: &App, row: &Row, options: &LogOptions) -> ContainerLogs {
    ContainerLogs {
        instance: app.instance,
        container: row.id,
        follow: options.is_followed,
        tail: options.tail,
        since: options.since,
        timestamps: options.has_timestamps,
    }
}

impl Log {
    /// The log's text, as fast as it is read and no faster; dropping the stream ends the reading on the machine. A log
    /// that is followed ends when its reader may not read it any more.
    pub fn pieces(self, app: &App) -> impl Stream<Item = std::io::Result<(Source, String)>> + Send + use<> {
        let Self { source, mut options, caller, place, .. } = self;
        let grep = options.grep.take();
        let mut filter = grep.map(|grep| Filter::new(grep, options.has_timestamps));
        let app = app.clone();
        async_stream::try_stream! {
            let _place = place;
            let (row, mut events) = match source {
                LogSource::Container(row, events) => (row, events),
                LogSource::Kept(kept) => {
                    for (source, text) in kept_pieces(&app, &kept, &options).await? {
                        let text = chosen(&mut filter, source, text);
                        if !text.is_empty() {
                            yield (source, text);
                        }
                    }
                    return;
                }
            };
            let mut timer = tokio::time::interval(LOG_INTERVAL);
            timer.tick().await;
            if events.is_none() && options.is_followed {
                events = first_start(&app, &caller, &row, &options).await;
            }
            let Some(mut events) = events else { return };
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    _ = timer.tick(), if options.is_followed => {
                        if may_still_read(&app, &caller, &row).await { continue }
                        None
                    }
                    () = app.shutdown.cancelled() => None,
                };
                let (source, text) = match event {
                    None => break,
                    Some(Ok(LogEvent::Out(text))) => (Source::Out, text),
                    Some(Ok(LogEvent::Err(text))) => (Source::Err, text),
                    Some(Ok(LogEvent::Failed(error))) => Err(std::io::Error::other(error))?,
                    Some(Err(error)) => Err(std::io::Error::other(error))?,
                };
                let text = chosen(&mut filter, source, text);
                if !text.is_empty() {
                    yield (source, text);
                }
            }
            for (source, text) in filter.iter_mut().flat_map(Filter::end) {
                yield (source, text);
            }
        }
    }
}

fn chosen(filter: &mut Option<Filter>, source: Source, text: String) -> String {
    match filter {
        None => text,
        Some(filter) => filter.push(source, &text),
    }
}

/// Opens the log; none when the machine has no such container (any more).
async fn begin(app: &App, machine: &MachineId, call: &ContainerLogs) -> Result<Option<Events>> {
    match app.hub.stream(machine, call, None).await {
        Ok(events) => Ok(Some(events)),
        Err(CallError::Refused(error)) if error.code == LinkErrorCode::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until a container that is to be started has been; none when it never will be.
async fn first_start(app: &App, caller: &Caller, row: &Row, options: &LogOptions) -> Option<Events> {
    let mut pause = Duration::from_millis(50);
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = app.shutdown.cancelled() => return None,
        }
        pause = (pause * 2).min(LOG_INTERVAL);
        let now = containers::get(&app.db, row.id).await.ok()??;
        if has_log(&now, options) {
            return begin(app, &row.machine_id, &call(app, row, options)).await.ok()?;
        }
        if now.desired != Desired::Running || !may_still_read(app, caller, row).await {
            return None;
        }
    }
}

/// Keeps the end of a container's log before the container is removed. What cannot be kept is no reason to keep the
/// container: its owner wants it gone.
pub(crate) async fn keep(app: &App, row: &Row) {
    let kept = tokio::select! {
        kept = tokio::time::timeout(KEEP_PATIENCE, read_and_keep(app, row)) => kept,
        () = app.shutdown.cancelled() => return,
    };
    match kept {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(container.id = %row.id, %error, "the log of a container that is deleted is not kept");
        }
        Err(_) => {
            tracing::warn!(container.id = %row.id, "the log of a container that is deleted is not kept: too slow");
        }
    }
}

async fn read_and_keep(app: &App, row: &Row) -> Result<()> {
    let limit = usize::try_from(app.config.containers.kept_log_bytes).unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(());
    }
    let options = LogOptions { has_timestamps: true, ..LogOptions::default() };
    let Some(mut events) = begin(app, &row.machine_id, &call(app, row, &options)).await? else {
        return Ok(());
    };
    let mut keeper = Keeper::new(limit);
    while let Some(event) = events.next().await {
        match event? {
            LogEvent::Out(text) => keeper.push(Source::Out, &text),
            LogEvent::Err(text) => keeper.push(Source::Err, &text),
            LogEvent::Failed(error) => return Err(error.into()),
        }
    }
    let (text, dropped_bytes) = keeper.finish();
    if text.is_empty() {
        return Ok(());
    }
    let kept = kept_logs::Row {
        container_id: row.id,
        account_id: row.account_id,
        name: row.name.clone(),
        image_name: row.image_name.clone(),
        machine_id: row.machine_id.clone(),
        bytes: text.len() as u64,
        dropped_bytes,
        removed_at: app.now(),
    };
    let (blobs, name) = (app.blobs.clone(), row.id.to_string());
    blocking(move || blobs.write(BlobKind::ContainerLog, &name, &text)).await?;
    Ok(kept_logs::put(&app.db, &kept).await?)
}

/// The kept log of a number (the caller's own; any for an admin) or of the newest container of a name.
async fn find_kept(app: &App, caller: &Caller, id: &str) -> Result<Option<kept_logs::Row>> {
    let found = match id.parse::<ContainerId>() {
        Ok(number) => kept_logs::get(&app.db, number).await?,
        Err(_) => match id.parse::<ContainerName>() {
            Ok(name) => kept_logs::by_name(&app.db, caller.account, &name).await?,
            Err(_) => None,
        },
    };
    Ok(found.filter(|row| caller.may_act_for(row.account_id)))
}

/// The chosen part of a kept log, in pieces of one source.
async fn kept_pieces(
    app: &App,
    kept: &kept_logs::Row,
    options: &LogOptions,
) -> std::io::Result<Vec<(Source, String)>> {
    let (blobs, name) = (app.blobs.clone(), kept.container_id.to_string());
    let (dropped_bytes, options) = (kept.dropped_bytes, options.clone());
    let read = move || std::fs::read(blobs.path(BlobKind::ContainerLog, &name));
    let text = blocking(read).await.map_err(std::io::Error::other)?;
    Ok(choose(&String::from_utf8_lossy(&text), dropped_bytes, &options))
}

fn choose(text: &str, dropped_bytes: u64, options: &LogOptions) -> Vec<(Source, String)> {
    let since = options.since.unwrap_or(i64::MIN).saturating_mul(1_000_000);
    let lines: Vec<_> = text.lines().filter_map(kept_line).filter(|(_, at, _)| *at >= since).collect();
    let skipped = options
        .tail
        .map_or(0, |tail| lines.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX)));
    let mut pieces: Vec<(Source, String)> = Vec::new();
    if dropped_bytes > 0 && skipped == 0 && options.since.is_none() {
        pieces.push((Source::Err, format!("[{dropped_bytes} earlier bytes of this log were not kept]\n")));
    }
    for (source, _, line) in &lines[skipped..] {
        let shown =
            if options.has_timestamps { line } else { line.split_once(' ').map_or(*line, |(_, text)| text) };
        match pieces.last_mut() {
            Some((of, piece)) if of == source && piece.len() < PIECE_BYTES => {
                piece.push_str(shown);
                piece.push('\n');
            }
            _ => pieces.push((*source, format!("{shown}\n"))),
        }
    }
    pieces
}

/// Lists the logs that are kept of containers that are gone, newest first: the caller's own; an admin may ask for others.
pub async fn list_kept(
    app: &App,
    caller: &Caller,
    is_all: bool,
    account: Option<&str>,
    page: PageQuery,
) -> Result<Page<KeptLogView>> {
    if is_all && !caller.is_admin() {
        return Err(Error::forbidden("admin_only", "only an admin can list every account's logs"));
    }
    let account = match (is_all, account) {
        (true, None) => None,
        (_, name) => Some(subject(app, caller, name.map(Named::Account)).await?.account),
    };
    let found = kept_logs::list(&app.db, account, page).await?;
    let kept_secs = kept_secs(app);
    Ok(super::page_of(found, page, |(row, account)| view(row, account, kept_secs)))
}

fn kept_secs(app: &App) -> i64 {
    i64::from(app.config.containers.kept_log_days) * 24 * 3600
}

fn view(row: kept_logs::Row, account: AccountName, kept_secs: i64) -> KeptLogView {
    KeptLogView {
        container_id: row.container_id,
        name: row.name,
        account,
        image: row.image_name,
        machine_id: row.machine_id,
        bytes: row.bytes,
        dropped_bytes: row.dropped_bytes,
        removed_at: row.removed_at,
        kept_until: row.removed_at.plus_secs(kept_secs),
    }
}

/// Deletes a kept log.
pub async fn delete_kept(app: &App, caller: &Caller, id: &str) -> Result<()> {
    let kept = find_kept(app, caller, id).await?.ok_or_else(|| Error::not_found("kept log", id))?;
    let tx = app.db.begin().await?;
    kept_logs::delete(&tx, kept.container_id).await?;
    let event =
        Event { action: "kept_log.delete", target: kept.name.as_str(), acting_for: Some(kept.account_id) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    remove_text(app, kept.container_id).await
}

async fn remove_text(app: &App, id: ContainerId) -> Result<()> {
    let blobs = app.blobs.clone();
    blocking(move || blobs.delete(BlobKind::ContainerLog, &id.to_string())).await
}

/// Removes what was kept for long enough, and what an account has too much of; how many there were.
pub(crate) async fn remove_expired(app: &App) -> Result<u64> {
    let before = app.now().plus_secs(-kept_secs(app));
    let surplus = kept_logs::surplus(&app.db, before, app.config.containers.kept_logs).await?;
    for id in &surplus {
        kept_logs::delete(&app.db, *id).await?;
        remove_text(app, *id).await?;
    }
    Ok(surplus.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &str = "o2026-01-01T00:00:00.5Z one\ne2026-01-01T00:00:01Z two\no2026-01-01T00:00:02Z three\no2026-01-01T00:00:03Z four\n";

    fn chosen_of(options: &LogOptions) -> String {
        choose(KEPT, 0, options).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_kept_log_is_read_like_any_other() {
        assert_eq!(chosen_of(&LogOptions::default()), "one\ntwo\nthree\nfour\n");
        assert_eq!(chosen_of(&LogOptions { tail: Some(2), ..LogOptions::default() }), "three\nfour\n");
        assert_eq!(
            chosen_of(&LogOptions { tail: Some(9), ..LogOptions::default() }),
            "one\ntwo\nthree\nfour\n"
        );
        let since = LogOptions { since: Some(1_767_225_602), has_timestamps: true, ..LogOptions::default() };
        assert_eq!(chosen_of(&since), "2026-01-01T00:00:02Z three\n2026-01-01T00:00:03Z four\n");
        let sources: Vec<_> =
            choose(KEPT, 5, &LogOptions::default()).into_iter().map(|(source, _)| source).collect();
        assert_eq!(sources, [Source::Err, Source::Out, Source::Err, Source::Out], "what was dropped is said");
    }
}
