//! A simulated NVIDIA driver: the agent loads it as it loads the real one, and it shows what a test wants.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A driver of a test's own. Its file is a copy, because the loader loads each file once per process.
pub(crate) struct Driver {
    folder: tempfile::TempDir,
}

impl Driver {
    /// A driver that shows these graphics processors.
    pub(crate) fn with(gpus: &[Value]) -> Self {
        let driver = Self { folder: tempfile::tempdir().unwrap() };
        driver.show(&json!({ "gpus": gpus }));
        // cargo leaves it beside the test, as it does with every library that the test depends on.
        let built = std::env::current_exe().unwrap().with_file_name("libnvidia_ml.so");
        std::fs::copy(&built, driver.path()).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        driver
    }

    /// Where it and its scenario are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it is, for `machine.nvml`.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }

    /// The same as text.
    pub(crate) fn setting(&self) -> String {
        self.path().display().to_string()
    }

    /// Shows something else from now on.
    pub(crate) fn show(&self, scenario: &Value) {
        // In one step: the agent may be reading.
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join("scenario.json"));
        std::fs::write(&new, scenario.to_string()).unwrap();
        std::fs::rename(new, file).unwrap();
    }
}

/// One graphics processor that works.
pub(crate) fn gpu(uuid: &str, model: &str, memory_mib: u64) -> Value {
    json!({
        "uuid": uuid, "name": model, "memory_mib": memory_mib, "memory_used_mib": 512, "utilization_percent": 7,
        "temperature_celsius": 41, "power_watts": 55,
    })
}

/// The same, used by these processes.
pub(crate) fn used_by(mut gpu: Value, processes: &[u32]) -> Value {
    let used: Vec<Value> = processes.iter().map(|pid| json!({ "pid": pid, "memory_mib": 300 })).collect();
    gpu["processes"] = json!(used);
    gpu
}

/// Takes memory of a graphics processor as any program does that computes on one, and keeps it until its input ends.
const COMPUTING: &str = r#"
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
def must(code):
    if code: sys.exit(f"CUDA answers {code}")
device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
must(cuda.cuInit(0))
must(cuda.cuDeviceGet(ctypes.byref(device), 0))
must(cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device))
must(cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(256 << 20)))
print("ready", flush=True)
sys.stdin.read()
"#;

/// A process of the machine's own; ended with the test.
pub(crate) struct Outsider(Child);

impl Outsider {
    pub(crate) fn start() -> Self {
        Self(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
    }

    /// One that computes on a real graphics processor, or why none can here.
    pub(crate) fn computing() -> Result<Self, String> {
        let mut python = Command::new("python3");
        python.args(["-c", COMPUTING]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Self(python.spawn().map_err(|error| format!("python3: {error}"))?);
        let mut said = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said == "ready\n" {
            return Ok(process);
        }
        let mut problem = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut problem).unwrap();
        Err(problem)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
