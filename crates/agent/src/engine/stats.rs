//! What containers use: once a second while somebody looks, and seldom for those that run, so that there is a past to look
//! at. The past is in memory, bounded by time and by number, and gone with the agent.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::models::{ContainerBlkioStatEntry, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptions;
use futures::StreamExt;
use futures::future::join_all;
use tokio::sync::mpsc::Sender;
use tokio::time::{MissedTickBehavior, interval};
use wire::container_uses::ReadUsesDone;
use wire::containers::ContainerSample;
use wire::ids::InstanceId;
use wire::link::{ContainerStats, LinkError, LinkErrorCode, ObservedState, StatsEvent};
use wire::time::Timestamp;

use super::{Engine, containers, link_error, within};
use crate::Agent;

/// How often those that run are looked at when nobody asks, and how many looks make the past: one hour.
const SAMPLE_EVERY: Duration = Duration::from_secs(15);
const SAMPLES_KEPT: usize = 240;
const KEPT_SECS: i64 = 3600;
/// Containers with a past; further ones have none.
const PASTS_MAX: usize = 512;
/// Containers looked at together, and how long the engine may take for each.
const LOOKED_AT_TOGETHER: usize = 4;
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// The past of the machine's containers, by the engine's id.
#[derive(Default)]
pub(crate) struct Pasts {
    pasts: Mutex<HashMap<String, Past>>,
}

#[derive(Default)]
struct Past {
    last: Option<Reading>,
    samples: VecDeque<ContainerSample>,
}

impl Pasts {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Past>> {
        self.pasts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, id: &str) -> Vec<ContainerSample> {
        self.lock().get(id).map(|past| past.samples.iter().copied().collect()).unwrap_or_default()
    }

    /// The last sample of each that ran when it was looked at.
    fn last(&self) -> Vec<(String, ContainerSample)> {
        let running = |(id, past): (&String, &Past)| {
            past.last.as_ref()?;
            Some((id.clone(), *past.samples.back()?))
        };
        self.lock().iter().filter_map(running).collect()
    }

    /// Takes readings of those that run, and forgets those that are gone.
    fn take(&self, known: &[(String, ObservedState)], readings: Vec<(String, Reading)>) {
        let mut pasts = self.lock();
        pasts.retain(|id, _| known.iter().any(|(known, _)| known == id));
        let mut readings: HashMap<_, _> = readings.into_iter().collect();
        for (id, past) in pasts.iter_mut() {
            match readings.remove(id) {
                Some(reading) => past.take(reading),
                // Its counters may begin anew.
                None => past.last = None,
            }
        }
        for (id, reading) in readings.into_iter().take(PASTS_MAX.saturating_sub(pasts.len())) {
            pasts.entry(id).or_default().take(reading);
        }
    }
}

impl Past {
    fn take(&mut self, reading: Reading) {
        self.samples.extend(self.last.as_ref().and_then(|last| reading.since(last)));
        let oldest = reading.at.plus_secs(-KEPT_SECS);
        while self.samples.len() > SAMPLES_KEPT
            || self.samples.front().is_some_and(|sample| sample.at < oldest)
        {
            self.samples.pop_front();
        }
        self.last = Some(reading);
    }
}

/// What all that run were last seen to use.
pub(crate) fn uses(agent: &Agent) -> ReadUsesDone {
    ReadUsesDone { containers: agent.pasts().last() }
}

/// Looks at those that run, seldom and for ever.
pub(super) async fn remember(agent: &Agent, instance: InstanceId) {
    let mut tick = interval(SAMPLE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Err(error) = look_at_all(agent, instance).await {
            tracing::debug!("what containers use cannot be read: {error}");
        }
    }
}

async fn look_at_all(agent: &Agent, instance: InstanceId) -> Result<(), LinkError> {
    let engine = agent.engine();
    let known = containers::list(engine, instance, None).await?;
    let running: Vec<&str> = known
        .iter()
        .filter(|(_, state)| *state == ObservedState::Running)
        .map(|(id, _)| id.as_str())
        .take(PASTS_MAX)
        .collect();
    let mut readings = Vec::new();
    for some in running.chunks(LOOKED_AT_TOGETHER) {
        let found = join_all(some.iter().map(|id| look(engine, id))).await;
        let with_ids = some.iter().zip(found);
        readings.extend(with_ids.filter_map(|(id, reading)| Some(((*id).to_owned(), reading?))));
    }
    agent.pasts().take(&known, readings);
    Ok(())
}

/// One reading. None when there is nothing to read: it has just ended, or the engine is busy.
async fn look(engine: &Engine, id: &str) -> Option<Reading> {
    let options = StatsOptions { stream: false, one_shot: true };
    let docker = engine.docker().await.ok()?;
    let mut answers = Box::pin(docker.stats(id, Some(options)));
    let answer = within(LOOK_TIMEOUT, async { answers.next().await.transpose() }).await;
    Reading::of(&answer.ok()??)
}

/// Memory that a container uses now; none when it does not run, or nobody says.
pub(super) async fn memory_used(engine: &Engine, id: &str) -> Option<u64> {
    look(engine, id).await.map(|reading| reading.sample.memory_bytes)
}

/// A container to look at.
pub(crate) struct Subject(String);

/// Finds it, so that a missing one is said at once.
pub(crate) async fn find(engine: &Engine, call: ContainerStats) -> Result<Subject, LinkError> {
    let found = containers::find(engine, call.instance, call.container).await?;
    found.map(Subject).ok_or_else(|| {
        let message = format!("container {} is not on the machine", call.container);
        LinkError::new(LinkErrorCode::NotFound, message)
    })
}

/// Tells what it used, and then each second what it uses, until it is gone.
pub(crate) async fn follow(
    agent: &Agent,
    Subject(id): Subject,
    events: &Sender<StatsEvent>,
) -> Result<(), LinkError> {
    if events.send(StatsEvent::History(agent.pasts().of(&id))).await.is_err() {
        return Ok(());
    }
    let docker = agent.engine().docker().await?;
    let options = StatsOptions { stream: true, one_shot: false };
    let mut answers = Box::pin(docker.stats(&id, Some(options)));
    let mut last: Option<Reading> = None;
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(link_error)?;
        // The engine goes on with empty answers when it does not run.
        let Some(reading) = Reading::of(&answer) else {
            last = None;
            continue;
        };
        // Whoever reads too slowly misses some: old ones are worth nothing.
        if let Some(sample) = last.as_ref().and_then(|last| reading.since(last)) {
            events.try_send(StatsEvent::Sample(sample)).ok();
        }
        last = Some(reading);
    }
    Ok(())
}

/// What the engine says at one moment; the processor's time is a sum.
#[derive(Clone, Debug)]
struct Reading {
    at: Timestamp,
    cpu_nanos: u64,
    sample: ContainerSample,
}

impl Reading {
    fn of(answer: &ContainerStatsResponse) -> Option<Self> {
        let read = answer.read.as_ref()?;
        let at: Timestamp = serde_json::from_value(read.as_str().into()).ok()?;
        let cpu_nanos = answer.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
        // The engine's zero time, of a container that does not run.
        if at.0 <= 0 {
            return None;
        }
        let mut sample = ContainerSample { at, ..ContainerSample::default() };
        if let Some(memory) = &answer.memory_stats {
            sample.memory_bytes = memory_in_use(memory);
            sample.memory_limit_bytes = memory.limit.unwrap_or_default();
        }
        for network in answer.networks.iter().flat_map(HashMap::values) {
            sample.network_received_bytes += network.rx_bytes.unwrap_or_default();
            sample.network_sent_bytes += network.tx_bytes.unwrap_or_default();
        }
        let disk = answer.blkio_stats.as_ref().and_then(|disk| disk.io_service_bytes_recursive.as_deref());
        sample.disk_read_bytes = moved(disk, "read");
        sample.disk_written_bytes = moved(disk, "write");
        sample.pids = answer.pids_stats.as_ref().and_then(|pids| pids.current).unwrap_or_default();
        Some(Self { at, cpu_nanos, sample })
    }

    /// Both together; none when they are not two moments of one run.
    fn since(&self, earlier: &Self) -> Option<ContainerSample> {
        let micros = u64::try_from(self.at.0.checked_sub(earlier.at.0)?).ok().filter(|micros| *micros > 0)?;
        let nanos = self.cpu_nanos.checked_sub(earlier.cpu_nanos)?;
        // Nanoseconds of work in a microsecond are thousandths of a core.
        Some(ContainerSample { cpu_millis: nanos / micros, ..self.sample })
    }
}

/// Without what the kernel keeps of files only as long as nobody needs the memory.
fn memory_in_use(memory: &ContainerMemoryStats) -> u64 {
    let detail = |name: &str| memory.stats.as_ref().and_then(|stats| stats.get(name)).copied();
    let cache = detail("total_inactive_file").or_else(|| detail("inactive_file")).unwrap_or_default();
    memory.usage.unwrap_or_default().saturating_sub(cache)
}

fn moved(entries: Option<&[ContainerBlkioStatEntry]>, way: &str) -> u64 {
    let is_way =
        |entry: &&ContainerBlkioStatEntry| entry.op.as_ref().is_some_and(|op| op.eq_ignore_ascii_case(way));
    let values = entries.unwrap_or_default().iter().filter(is_way);
    values.map(|entry| entry.value.unwrap_or_default()).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(json: &serde_json::Value) -> Option<Reading> {
        Reading::of(&serde_json::from_value(json.clone()).unwrap())
    }

    fn at(secs: i64, cpu_nanos: u64) -> Reading {
        let sample = ContainerSample { at: Timestamp(0).plus_secs(secs), ..ContainerSample::default() };
        Reading { at: sample.at, cpu_nanos, sample }
    }

    #[test]
    fn both_kinds_of_control_groups_are_read() {
        let first = serde_json::json!({
            "read": "2026-01-01T00:00:01.5Z",
            "cpu_stats": {"cpu_usage": {"total_usage": 1_000_000_000_u64}},
            "memory_stats": {"usage": 1000, "limit": 5000, "stats": {"total_inactive_file": 300, "inactive_file": 1}},
            "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"op": "Read", "value": 7}, {"op": "Read", "value": 1}, {"op": "Write", "value": 9}, {"op": "Total", "value": 99},
            ]},
            "pids_stats": {"current": 3},
        });
        let second = serde_json::json!({
            "read": "2026-01-01T00:00:02.5Z",
            "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000_u64}},
            "memory_stats": {"usage": 1000, "limit": 5000, "stats": {"inactive_file": 400}},
            "blkio_stats": {"io_service_bytes_recursive": null},
        });

        let (first, second) = (reading(&first).unwrap(), reading(&second).unwrap());
        let sample = second.since(&first).unwrap();

        assert_eq!((first.sample.memory_bytes, first.sample.memory_limit_bytes), (700, 5000));
        assert_eq!((first.sample.network_received_bytes, first.sample.network_sent_bytes), (11, 22));
        assert_eq!((first.sample.disk_read_bytes, first.sample.disk_written_bytes), (8, 9));
        assert_eq!(first.sample.pids, 3);
        assert_eq!((sample.cpu_millis, sample.memory_bytes, sample.at), (1500, 600, second.at));
        assert!(first.since(&second).is_none(), "time goes one way");
        assert!(at(5, 1).since(&at(4, 2)).is_none(), "it was started anew");
    }

    #[test]
    fn a_container_that_does_not_run_has_nothing_to_read() {
        let stopped = serde_json::json!({
            "read": "0001-01-01T00:00:00Z",
            "cpu_stats": {"cpu_usage": {"total_usage": 0}},
            "memory_stats": {},
        });

        assert!(reading(&stopped).is_none());
        assert!(reading(&serde_json::json!({})).is_none());
    }

    #[test]
    fn the_past_is_bounded() {
        let pasts = Pasts::default();
        let known: Vec<_> =
            (0..PASTS_MAX + 10).map(|number| (number.to_string(), ObservedState::Running)).collect();

        for look in 0..300 {
            let all = known.iter().map(|(id, _)| (id.clone(), at(look * 15, 0))).collect();
            pasts.take(&known, all);
        }

        assert_eq!(pasts.lock().len(), PASTS_MAX);
        let (id, samples) =
            pasts.lock().iter().next().map(|(id, past)| (id.clone(), past.samples.len())).unwrap();
        assert_eq!(samples, SAMPLES_KEPT);
        pasts.take(&known, vec![(id.clone(), at(100_000, 0))]);
        assert_eq!(pasts.of(&id).len(), 1, "what is old is gone");
        pasts.take(&known, Vec::new());
        pasts.take(&known, vec![(id.clone(), at(100_015, 0))]);
        assert_eq!(pasts.of(&id).len(), 1, "nothing is made up for the time in which it did not run");
        pasts.take(&known[..0], Vec::new());
        assert!(pasts.lock().is_empty());
    }
}
