//! What the machines' graphics processors were last seen doing. Kept in memory alone: a watch begins with it, so after a
//! restart of anything it is right again, and nothing is written while machines only work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::gpus::{GPUS_MAX, GpuProcess, GpuReading, INSTANCES_MAX, NAME_CHARS_MAX, PROCESSES_MAX};
use wire::ids::{GpuId, MachineId};

/// Of a problem in words.
const PROBLEM_CHARS_MAX: usize = 1_000;
/// Of an engine's id of a container.
const ENGINE_ID_CHARS: usize = 64;

/// All machines.
#[derive(Debug, Default)]
pub struct GpuReadings {
    machines: Mutex<HashMap<MachineId, Arc<GpuReading>>>,
}

impl GpuReadings {
    /// Keeps what a machine says; it replaces what was known of it. Whether somebody else uses one, or there are others: how hot one is
    /// changes every few seconds, and makes no room for anybody.
    pub fn put(&self, machine: &MachineId, reading: GpuReading) -> bool {
        let reading = Arc::new(bounded(reading));
        let before = self.machines().insert(machine.clone(), Arc::clone(&reading));
        before.is_none_or(|before| uses(&before) != uses(&reading))
    }

    /// A machine cannot be seen any more.
    pub fn forget(&self, machine: &MachineId) {
        self.machines().remove(machine);
    }

    /// What a machine said last; none when it cannot be seen, or its agent is too old to say.
    pub fn get(&self, machine: &MachineId) -> Option<Arc<GpuReading>> {
        self.machines().get(machine).cloned()
    }

    fn machines(&self) -> MutexGuard<'_, HashMap<MachineId, Arc<GpuReading>>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type User<'a> = (u32, Option<&'a str>);

/// Which there are, and who uses them.
fn uses(reading: &GpuReading) -> Vec<(&GpuId, Vec<User<'_>>)> {
    fn user(process: &GpuProcess) -> User<'_> {
        (process.pid, process.engine_id.as_deref())
    }
    reading.gpus.iter().map(|gpu| (&gpu.uuid, gpu.processes.iter().map(user).collect())).collect()
}

/// An agent is not trusted to be brief.
fn bounded(mut reading: GpuReading) -> GpuReading {
    reading.gpus.truncate(GPUS_MAX * (INSTANCES_MAX + 1));
    for gpu in &mut reading.gpus {
        gpu.processes.truncate(PROCESSES_MAX);
        for process in &mut gpu.processes {
            clip(&mut process.name, NAME_CHARS_MAX);
            if let Some(user) = &mut process.user {
                clip(user, NAME_CHARS_MAX);
            }
            process.engine_id = process.engine_id.take().filter(|id| {
                id.len() == ENGINE_ID_CHARS
                    && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            });
        }
        gpu.processes.shrink_to_fit();
    }
    reading.gpus.shrink_to_fit();
    if let Some(problem) = &mut reading.problem {
        clip(problem, PROBLEM_CHARS_MAX);
    }
    reading
}

fn clip(text: &mut String, chars: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars) {
        text.truncate(end);
    }
    text.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use wire::gpus::GpuSample;

    use super::*;

    #[test]
    fn a_machine_that_says_too_much_is_cut_short() {
        let process = |engine_id: &str| GpuProcess {
            pid: 1,
            name: "ä".repeat(1_000),
            user: Some("x".repeat(1_000)),
            memory: Some(u64::MAX),
            engine_id: Some(engine_id.to_owned()),
        };
        let (right, wrong) = ("a".repeat(64), format!("../{}", "a".repeat(61)));
        let sample = GpuSample {
            uuid: "GPU-1".parse().unwrap(),
            memory_used: u64::MAX,
            utilization_percent: Some(u32::MAX),
            temperature_celsius: None,
            power_watts: None,
            processes: Vec::new(),
        };
        let processes = [process(&right), process(&wrong)].into_iter().cycle().take(1_000).collect();
        let mut gpus = vec![sample; 5_000];
        gpus[0].processes = processes;
        let readings = GpuReadings::default();
        let machine: MachineId = "m".parse().unwrap();
        assert_eq!(readings.get(&machine), None);

        assert!(readings.put(&machine, GpuReading { gpus, problem: Some("p".repeat(1 << 20)) }));

        let kept = readings.get(&machine).unwrap();
        assert_eq!(kept.gpus.len(), GPUS_MAX * (INSTANCES_MAX + 1));
        assert_eq!(kept.gpus[0].processes.len(), PROCESSES_MAX);
        let first = &kept.gpus[0].processes[0];
        assert_eq!(first.name.chars().count(), NAME_CHARS_MAX);
        assert_eq!(first.user.as_ref().unwrap().len(), NAME_CHARS_MAX);
        assert_eq!(
            (first.engine_id.as_ref(), kept.gpus[0].processes[1].engine_id.as_ref()),
            (Some(&right), None)
        );
        assert_eq!(kept.problem.as_ref().unwrap().len(), PROBLEM_CHARS_MAX);
        readings.forget(&machine);
        assert_eq!(readings.get(&machine), None);
    }

    #[test]
    fn only_who_uses_a_gpu_is_news_for_those_who_wait() {
        let process = GpuProcess { pid: 7, name: "x".into(), user: None, memory: Some(1), engine_id: None };
        let sample = GpuSample {
            uuid: "GPU-1".parse().unwrap(),
            memory_used: 1,
            utilization_percent: Some(1),
            temperature_celsius: Some(40),
            power_watts: Some(50),
            processes: vec![process.clone()],
        };
        let (readings, machine) = (GpuReadings::default(), "m".parse().unwrap());
        let put =
            |gpus: &[GpuSample]| readings.put(&machine, GpuReading { gpus: gpus.to_vec(), problem: None });

        assert!(put(std::slice::from_ref(&sample)));
        let busier = GpuProcess { memory: Some(2), ..process.clone() };
        let hotter = GpuSample { temperature_celsius: Some(90), processes: vec![busier], ..sample.clone() };
        assert!(!put(&[hotter]));
        let other = GpuProcess { pid: 8, ..process };
        assert!(put(&[GpuSample { processes: vec![other], ..sample.clone() }]));
        assert!(put(&[GpuSample { processes: Vec::new(), ..sample }]));
        assert!(put(&[]));
    }
}
