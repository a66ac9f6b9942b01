//! A simulated NVIDIA driver: the agent loads it as it loads the real one, and it shows what a test wants.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::path::PathBuf;
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

/// A process of the machine's own; ended with the test.
pub(crate) struct Outsider(Child);

impl Outsider {
    pub(crate) fn start() -> Self {
        Self(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
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
