//! What the simulated driver shows, as its file says.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Names the file, for a whole process.
const VARIABLE: &str = "NVML_SIMULATED_SCENARIO";
/// The file beside the library, when the variable is not set: each copy of the library has a scenario of its own.
const BESIDE: &str = "scenario.json";

/// A machine's graphics processors.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Scenario {
    /// What `nvmlInit` answers, as NVML numbers it: 9 = the driver is not loaded, 18 = it is another version.
    pub(crate) init: u32,
    /// What the driver says how many there are, when that is a lie.
    pub(crate) count: Option<u32>,
    /// Whether the driver stands still, until the file says otherwise.
    pub(crate) hangs: bool,
    /// The processors.
    pub(crate) gpus: Vec<Gpu>,
}

/// One processor. What is none is not supported by it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Gpu {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) memory_mib: u64,
    pub(crate) memory_used_mib: u64,
    pub(crate) utilization_percent: Option<u32>,
    pub(crate) temperature_celsius: Option<u32>,
    pub(crate) power_watts: Option<u32>,
    /// Whether every question about it fails: it fell off the bus.
    pub(crate) is_lost: bool,
    /// Its instances, when it is divided.
    pub(crate) mig: Option<Vec<Instance>>,
    pub(crate) processes: Vec<Process>,
}

/// A part of a divided processor.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Instance {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) memory_mib: u64,
    pub(crate) memory_used_mib: u64,
    pub(crate) processes: Vec<Process>,
}

/// A process that uses a processor.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) memory_mib: Option<u64>,
    /// Whether it draws instead of computing.
    pub(crate) draws: bool,
}

impl Scenario {
    /// Reads the file; none when it is not there or not as it should be: then there is no driver.
    pub(crate) fn read() -> Option<Self> {
        let text = std::fs::read(path()?).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

#[expect(clippy::disallowed_methods, reason = "a library has no other way to be told")]
fn path() -> Option<PathBuf> {
    match std::env::var_os(VARIABLE) {
        Some(path) => Some(path.into()),
        None => Some(library()?.parent()?.join(BESIDE)),
    }
}

#[repr(C)]
struct DlInfo {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, info: *mut DlInfo) -> c_int;
}

/// Where this library was loaded from.
fn library() -> Option<PathBuf> {
    let mut info = DlInfo {
        file: std::ptr::null(),
        base: std::ptr::null_mut(),
        symbol: std::ptr::null(),
        address: std::ptr::null_mut(),
    };
    let own = path as fn() -> Option<PathBuf> as *const c_void;
    // SAFETY: the address is that of a function, and the place to write to is our own.
    let found = unsafe { dladdr(own, &raw mut info) };
    if found == 0 || info.file.is_null() {
        return None;
    }
    // SAFETY: the loader's names end with a NUL and live as long as the library.
    let file = unsafe { CStr::from_ptr(info.file) };
    Some(Path::new(OsStr::from_bytes(file.to_bytes())).to_owned())
}
