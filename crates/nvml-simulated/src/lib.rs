//! `libnvidia-ml.so` without a driver, so that what asks NVIDIA's library can be tested where there is no graphics
//! processor. It has those of NVML's functions that the agent's binding calls, and answers them from a file: the one that
//! `NVML_SIMULATED_SCENARIO` names, else `scenario.json` beside the library. The file is read anew whenever the number of
//! processors is asked for. Only tests load it.
//!
//! Safety: every function takes the pointers that NVML's header asks for, or null.

mod scenario;

use std::ffi::{c_char, c_uint};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlMemory_v2_t, nvmlProcessInfo_t, nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST as GPU_IS_LOST,
    nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE as INSUFFICIENT_SIZE,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_LIBRARY_NOT_FOUND as LIBRARY_NOT_FOUND,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED, nvmlReturn_enum_NVML_SUCCESS as SUCCESS,
    nvmlReturn_t, nvmlTemperatureSensors_t, nvmlUtilization_t,
};

use crate::scenario::{Gpu, Instance, Process, Scenario};

const MIB: u64 = 1 << 20;
/// Instances that a processor can be divided into.
const INSTANCES_MAX: u32 = 7;
/// NVML's word for a number that it does not have.
const NO_VALUE_32: c_uint = c_uint::MAX;
const NO_VALUE_64: u64 = u64::MAX;

static SCENARIO: Mutex<Option<Scenario>> = Mutex::new(None);

fn scenario() -> MutexGuard<'static, Option<Scenario>> {
    SCENARIO.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A processor, or an instance of it. A handle is the number of the processor and that of its instance, both from 1.
enum Shown {
    Whole(Gpu),
    Part(Instance),
}

fn handle(gpu: u32, instance: u32) -> nvmlDevice_t {
    std::ptr::without_provenance_mut(((gpu as usize) << 8) | instance as usize)
}

fn numbers(device: nvmlDevice_t) -> (usize, usize) {
    (device.addr() >> 8, device.addr() & 0xff)
}

/// What a handle stands for, if it can be asked.
fn shown(device: nvmlDevice_t) -> Result<Shown, nvmlReturn_t> {
    let (gpu, instance) = numbers(device);
    let gpu = whole(gpu)?;
    match instance {
        0 => Ok(Shown::Whole(gpu)),
        number => gpu
            .mig
            .and_then(|parts| parts.into_iter().nth(number - 1))
            .map(Shown::Part)
            .ok_or(INVALID_ARGUMENT),
    }
}

fn whole(number: usize) -> Result<Gpu, nvmlReturn_t> {
    let scenario = scenario();
    let gpus = scenario.as_ref().map(|scenario| scenario.gpus.as_slice()).unwrap_or_default();
    let gpu = number.checked_sub(1).and_then(|index| gpus.get(index)).ok_or(INVALID_ARGUMENT)?;
    if gpu.is_lost { Err(GPU_IS_LOST) } else { Ok(gpu.clone()) }
}

/// The whole processor behind a handle; instances cannot answer what is asked for with this.
fn only_whole(device: nvmlDevice_t) -> Result<Gpu, nvmlReturn_t> {
    match shown(device)? {
        Shown::Whole(gpu) => Ok(gpu),
        Shown::Part(_) => Err(NOT_SUPPORTED),
    }
}

unsafe fn put<T>(place: *mut T, value: Result<T, nvmlReturn_t>) -> nvmlReturn_t {
    match value {
        _ if place.is_null() => INVALID_ARGUMENT,
        Err(code) => code,
        Ok(value) => {
            place.write(value);
            SUCCESS
        }
    }
}

unsafe fn put_text(place: *mut c_char, length: c_uint, text: Result<String, nvmlReturn_t>) -> nvmlReturn_t {
    let text = match text {
        _ if place.is_null() => return INVALID_ARGUMENT,
        Err(code) => return code,
        Ok(text) => text,
    };
    // With the NUL at its end.
    if text.len() >= length as usize {
        return INSUFFICIENT_SIZE;
    }
    place.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
    place.add(text.len()).write(0);
    SUCCESS
}

fn start() -> nvmlReturn_t {
    let Some(read) = Scenario::read() else { return LIBRARY_NOT_FOUND };
    let code = read.init;
    *scenario() = Some(read);
    code
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    start()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlInitWithFlags(_: c_uint) -> nvmlReturn_t {
    start()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    *scenario() = None;
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(place: *mut c_char, length: c_uint) -> nvmlReturn_t {
    put_text(place, length, Ok("570.00.00".to_owned()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(place: *mut c_uint) -> nvmlReturn_t {
    // Without a file there is nothing new, and nothing that stands still.
    while let Some(read) = Scenario::read() {
        let hangs = read.hangs;
        *scenario() = Some(read);
        if !hangs {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let count = scenario().as_ref().map_or(Ok(0), |scenario| {
        scenario.count.map_or_else(|| u32::try_from(scenario.gpus.len()).map_err(|_| INVALID_ARGUMENT), Ok)
    });
    put(place, count)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    place: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    put(place, whole(index as usize + 1).map(|_| handle(index + 1, 0)))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(
    device: nvmlDevice_t,
    place: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    let name = shown(device).map(|shown| match shown {
        Shown::Whole(gpu) => gpu.name,
        Shown::Part(instance) => instance.name,
    });
    put_text(place, length, name)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(
    device: nvmlDevice_t,
    place: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    let uuid = shown(device).map(|shown| match shown {
        Shown::Whole(gpu) => gpu.uuid,
        Shown::Part(instance) => instance.uuid,
    });
    put_text(place, length, uuid)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvmlDevice_t,
    place: *mut nvmlMemory_v2_t,
) -> nvmlReturn_t {
    let memory = shown(device).map(|shown| {
        let (total, used) = match shown {
            Shown::Whole(gpu) => (gpu.memory_mib, gpu.memory_used_mib),
            Shown::Part(instance) => (instance.memory_mib, instance.memory_used_mib),
        };
        let (total, used) = (total.saturating_mul(MIB), used.saturating_mul(MIB));
        nvmlMemory_v2_t { version: 2, total, reserved: 0, free: total.saturating_sub(used), used }
    });
    put(place, memory)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUtilizationRates(
    device: nvmlDevice_t,
    place: *mut nvmlUtilization_t,
) -> nvmlReturn_t {
    let rate = only_whole(device).and_then(|gpu| gpu.utilization_percent.ok_or(NOT_SUPPORTED));
    put(place, rate.map(|gpu| nvmlUtilization_t { gpu, memory: 0 }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperature(
    device: nvmlDevice_t,
    _: nvmlTemperatureSensors_t,
    place: *mut c_uint,
) -> nvmlReturn_t {
    put(place, only_whole(device).and_then(|gpu| gpu.temperature_celsius.ok_or(NOT_SUPPORTED)))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerUsage(device: nvmlDevice_t, place: *mut c_uint) -> nvmlReturn_t {
    let milliwatts = |watts: u32| watts.saturating_mul(1_000);
    put(place, only_whole(device).and_then(|gpu| gpu.power_watts.map(milliwatts).ok_or(NOT_SUPPORTED)))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: nvmlDevice_t,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> nvmlReturn_t {
    let mode = only_whole(device).map(|gpu| c_uint::from(gpu.mig.is_some()));
    match put(current, mode) {
        SUCCESS => put(pending, mode),
        code => code,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(
    device: nvmlDevice_t,
    place: *mut c_uint,
) -> nvmlReturn_t {
    put(place, only_whole(device).map(|gpu| if gpu.mig.is_some() { INSTANCES_MAX } else { 0 }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: nvmlDevice_t,
    index: c_uint,
    place: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    let found = only_whole(device).and_then(|gpu| {
        let parts = gpu.mig.unwrap_or_default();
        let is_there = parts.get(index as usize).is_some();
        let number = u32::try_from(numbers(device).0).map_err(|_| INVALID_ARGUMENT)?;
        if is_there { Ok(handle(number, index + 1)) } else { Err(NOT_FOUND) }
    });
    put(place, found)
}

unsafe fn put_processes(
    device: nvmlDevice_t,
    draws: bool,
    count: *mut c_uint,
    place: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    let processes: Vec<Process> = match shown(device) {
        _ if count.is_null() => return INVALID_ARGUMENT,
        Err(code) => return code,
        Ok(Shown::Whole(gpu)) => gpu.processes,
        Ok(Shown::Part(instance)) => instance.processes,
    };
    let processes: Vec<Process> = processes.into_iter().filter(|process| process.draws == draws).collect();
    let room = count.read() as usize;
    count.write(c_uint::try_from(processes.len()).unwrap_or(c_uint::MAX));
    if processes.len() > room || (place.is_null() && !processes.is_empty()) {
        return INSUFFICIENT_SIZE;
    }
    for (index, process) in processes.into_iter().enumerate() {
        place.add(index).write(nvmlProcessInfo_t {
            pid: process.pid,
            usedGpuMemory: process.memory_mib.map_or(NO_VALUE_64, |mib| mib.saturating_mul(MIB)),
            gpuInstanceId: NO_VALUE_32,
            computeInstanceId: NO_VALUE_32,
        });
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: nvmlDevice_t,
    count: *mut c_uint,
    place: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    put_processes(device, false, count, place)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v3(
    device: nvmlDevice_t,
    count: *mut c_uint,
    place: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    put_processes(device, true, count, place)
}
