//! The machine's graphics processors, as NVIDIA's own library shows them. It is loaded while the agent runs: a machine
//! without it has none, and that is no error. A driver may stand still for ever, so that everything is asked on a thread of its
//! own, which nobody waits for.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::device::Device;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use tokio::sync::watch;
use wire::gpus::{GPUS_MAX, GpuProcess, GpuReading, GpuSample, INSTANCES_MAX, NAME_CHARS_MAX, PROCESSES_MAX};
use wire::ids::GpuId;
use wire::machines::{GpuFacts, GpuInstanceFacts};

use crate::processes;

const MIB: u64 = 1 << 20;
/// The name under which the system's loader finds the library that belongs to the driver.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// How often they are read.
const READ_EVERY: Duration = Duration::from_secs(5);
/// How often a driver is looked for that was not there.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long facts wait for the first reading. Drivers that nobody keeps awake take seconds to begin; what they show then
/// is told as news.
const FIRST_TIMEOUT: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Found {
    /// What they are, by their number on the machine.
    pub(crate) facts: BTreeMap<String, GpuFacts>,
    /// What they do.
    pub(crate) reading: GpuReading,
}

/// Reads the graphics processors as long as it lives.
pub(crate) struct Gpus {
    found: watch::Receiver<Option<Arc<Found>>>,
    /// Dropped with this, which ends the thread.
    _stop: mpsc::Sender<Infallible>,
}

impl Gpus {
    /// Begins to read. `library` is where the driver's library is, when not where the system looks; `is_kept` marks what is
    /// found as not for containers.
    pub(crate) fn start(library: Option<PathBuf>, is_kept: bool) -> Self {
        let (found, receiver) = watch::channel(None);
        let (stop, stopped) = mpsc::channel();
        let reader = Reader { library, is_kept, nvml: None };
        let thread = std::thread::Builder::new().name("gpus".to_owned());
        if let Err(error) = thread.spawn(move || reader.run(&found, &stopped)) {
            tracing::warn!("graphics processors are not looked for: {error}");
        }
        Self { found: receiver, _stop: stop }
    }

    /// What is there. Waits a little for the first reading, and goes on without when there is none.
    pub(crate) async fn found(&self) -> Arc<Found> {
        let mut found = self.found.clone();
        let first = tokio::time::timeout(FIRST_TIMEOUT, found.wait_for(Option::is_some)).await;
        match first {
            Ok(Ok(found)) => found.clone().unwrap_or_default(),
            _ => Arc::default(),
        }
    }

    /// Tells of every change; none until there was a first reading.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Found>>> {
        self.found.clone()
    }
}

struct Reader {
    library: Option<PathBuf>,
    is_kept: bool,
    /// Kept open, because the driver goes to sleep with the last who uses it and takes seconds to wake up.
    nvml: Option<Nvml>,
}

impl Reader {
    fn run(mut self, found: &watch::Sender<Option<Arc<Found>>>, stopped: &mpsc::Receiver<Infallible>) {
        loop {
            let now = self.look();
            let wait = if self.nvml.is_some() { READ_EVERY } else { LOOK_EVERY };
            found.send_if_modified(|before| {
                let is_new = before.as_deref() != Some(&now);
                if is_new {
                    tell_problem(before.as_deref(), &now);
                    *before = Some(Arc::new(now));
                }
                is_new
            });
            match stopped.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&mut self) -> Found {
        let nvml = match self.nvml.take() {
            Some(nvml) => Ok(nvml),
            None => open(self.library.as_deref()),
        };
        match nvml.and_then(|nvml| Ok((read(&nvml, self.is_kept)?, nvml))) {
            Ok((found, nvml)) => {
                self.nvml = Some(nvml);
                found
            }
            // The library is closed and opened again: what has become of the driver meanwhile is seen only then.
            Err(error) => {
                let problem = problem(&error, self.library.as_deref());
                Found { reading: GpuReading { gpus: Vec::new(), problem }, ..Found::default() }
            }
        }
    }
}

fn tell_problem(before: Option<&Found>, now: &Found) {
    let before = before.and_then(|before| before.reading.problem.as_ref());
    match &now.reading.problem {
        Some(problem) if before != Some(problem) => tracing::warn!("graphics processors: {problem}"),
        None if before.is_some() => tracing::info!("graphics processors can be used again"),
        _ => {}
    }
}

fn open(library: Option<&Path>) -> Result<Nvml, NvmlError> {
    let path = library.map_or(OsStr::new(LIBRARY), Path::as_os_str);
    Nvml::builder().lib_path(path).init()
}

/// What an error of the driver means for its machine; none where there is just no driver.
fn problem(error: &NvmlError, library: Option<&Path>) -> Option<String> {
    Some(match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            let library = library?.display();
            format!("the library `{library}` cannot be loaded: is it the driver's `{LIBRARY}`?")
        }
        NvmlError::DriverNotLoaded => {
            "the NVIDIA driver is installed but not loaded; `nvidia-smi` and `dmesg` say more".to_owned()
        }
        NvmlError::LibRmVersionMismatch => {
            "the NVIDIA driver was updated while the old one runs: restart the machine".to_owned()
        }
        NvmlError::NoPermission => "the agent may not use the NVIDIA driver: run it as root".to_owned(),
        NvmlError::FailedToLoadSymbol(_) => "the NVIDIA driver is too old: update it".to_owned(),
        other => format!("the NVIDIA driver does not answer as it should: {other}"),
    })
}

/// Reads everything. A processor that cannot be read is left out, and said to be.
fn read(nvml: &Nvml, is_kept: bool) -> Result<Found, NvmlError> {
    let count = nvml.device_count()?;
    let mut found = Found::default();
    let mut people = HashMap::new();
    let mut problems = Vec::new();
    for index in 0..count.min(u32::try_from(GPUS_MAX).unwrap_or(u32::MAX)) {
        match nvml.device_by_index(index).and_then(|device| read_one(&device, is_kept, &mut people)) {
            Ok((facts, samples)) => {
                found.facts.insert(index.to_string(), facts);
                found.reading.gpus.extend(samples);
            }
            Err(error) => problems.push(format!("GPU {index} cannot be used: {error}")),
        }
    }
    if count as usize > GPUS_MAX {
        problems.push(format!("the driver shows {count} GPUs, and {GPUS_MAX} are looked at"));
    }
    // One that is broken breaks nothing else; eight that are broken are one problem.
    found.reading.problem =
        (!problems.is_empty()).then(|| problems.join("; ")).map(|text| clip(&text, 1_000));
    Ok(found)
}

type People = HashMap<u32, processes::Process>;

fn read_one(
    device: &Device<'_>,
    is_kept: bool,
    people: &mut People,
) -> Result<(GpuFacts, Vec<GpuSample>), NvmlError> {
    let uuid = id_of(device)?;
    let memory = device.memory_info()?;
    let mut samples = vec![GpuSample {
        uuid: uuid.clone(),
        memory_used: memory.used / MIB,
        utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu.min(100)),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        power_watts: device.power_usage().ok().map(|milliwatts| milliwatts.saturating_add(500) / 1_000),
        processes: processes_on(device, people),
    }];
    let instances = read_instances(device, people, &mut samples);
    let facts = GpuFacts {
        model: clip(&device.name()?, NAME_CHARS_MAX),
        memory: memory.total / MIB,
        uuid: Some(uuid),
        instances,
        is_kept,
    };
    Ok((facts, samples))
}

/// The instances of a divided processor; none when it is whole.
fn read_instances(
    device: &Device<'_>,
    people: &mut People,
    samples: &mut Vec<GpuSample>,
) -> Option<Vec<GpuInstanceFacts>> {
    /// NVML's word for a processor that is divided.
    const IS_DIVIDED: u32 = 1;
    // Most models cannot be divided and answer with an error.
    let mode = device.mig_mode().ok()?;
    if mode.current != IS_DIVIDED {
        return None;
    }
    let count = device.mig_device_count().unwrap_or(0);
    let mut instances = Vec::new();
    for index in 0..count.min(u32::try_from(INSTANCES_MAX).unwrap_or(u32::MAX)) {
        // The numbers have holes: only those that were made answer.
        let Ok(instance) = device.mig_device_by_index(index) else { continue };
        let (Ok(uuid), Ok(memory)) = (id_of(&instance), instance.memory_info()) else { continue };
        samples.push(GpuSample {
            uuid: uuid.clone(),
            memory_used: memory.used / MIB,
            utilization_percent: None,
            temperature_celsius: None,
            power_watts: None,
            processes: processes_on(&instance, people),
        });
        let model = instance.name().or_else(|_| device.name()).unwrap_or_default();
        let model = clip(&model, NAME_CHARS_MAX);
        instances.push(GpuInstanceFacts { model, memory: memory.total / MIB, uuid });
    }
    Some(instances)
}

fn id_of(device: &Device<'_>) -> Result<GpuId, NvmlError> {
    device.uuid()?.parse().map_err(|_| NvmlError::Unknown)
}

/// Who computes or draws on a processor. A program may do both.
fn processes_on(device: &Device<'_>, people: &mut People) -> Vec<GpuProcess> {
    let computing = device.running_compute_processes().unwrap_or_default();
    let drawing = device.running_graphics_processes().unwrap_or_default();
    let mut found = BTreeMap::new();
    for process in computing.into_iter().chain(drawing) {
        if found.len() >= PROCESSES_MAX {
            break;
        }
        found.entry(process.pid).or_insert(match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes / MIB),
            UsedGpuMemory::Unavailable => None,
        });
    }
    let told = |(pid, memory)| {
        let process = people.entry(pid).or_insert_with(|| processes::look(pid)).clone();
        GpuProcess { pid, name: process.name, user: process.user, memory, engine_id: process.engine_id }
    };
    found.into_iter().map(told).collect()
}

fn clip(text: &str, chars: usize) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_has_no_problem() {
        let missing = open(Some(Path::new("/nonexistent/libnvidia-ml.so.1"))).unwrap_err();

        assert_eq!(problem(&missing, None), None);
        let named = problem(&missing, Some(Path::new("/nonexistent/libnvidia-ml.so.1"))).unwrap();
        assert!(named.contains("/nonexistent/libnvidia-ml.so.1"), "{named}");
    }

    #[test]
    fn a_driver_that_does_not_work_says_what_to_do() {
        let told = |error| problem(&error, None).unwrap();

        assert!(told(NvmlError::DriverNotLoaded).contains("nvidia-smi"));
        assert!(told(NvmlError::LibRmVersionMismatch).contains("restart the machine"));
        assert!(told(NvmlError::NoPermission).contains("root"));
    }
}
