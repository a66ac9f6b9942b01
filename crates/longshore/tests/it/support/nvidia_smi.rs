//! `nvidia-smi`, the tool that comes with a driver: a process of its own, so that what it says of the graphics processors that are
//! really there does not come from what is tested. What Longshore shows is compared with it, value by value.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::gpus::Driver;
use super::setting;

/// How far what changes all the time may lie outside of what the tool said before and after: it is read every few seconds.
const MEMORY_MIB_SLACK: f64 = 16.0;
const UTILIZATION_SLACK: f64 = 25.0;
const CELSIUS_SLACK: f64 = 3.0;
const WATTS_SLACK: f64 = 15.0;

const COLUMNS: &str = "index,uuid,name,memory.total,memory.used,utilization.gpu,temperature.gpu,power.draw";

/// What stands in for the tool where there is none: it reads the scenario that lies beside it.
const STAND_IN: &str = r#"
scenario=${0%/*}/scenario.json
told='def told: if . == null then "[N/A]" else tostring end;'
case "$1" in
  --query-gpu=*)
    jq -r "$told"' .gpus | to_entries[] | [.key, (.value | .uuid, .name, .memory_mib, .memory_used_mib,
      .utilization_percent, .temperature_celsius, .power_watts)] | map(told) | join(", ")' "$scenario" ;;
  --query-compute-apps=*)
    jq -r "$told"' .gpus[] | .uuid as $uuid | .processes[]? | [$uuid, .pid, .memory_mib] | map(told) | join(", ")' "$scenario" ;;
  -L) jq -r '.gpus[] | "GPU: \(.name) (UUID: \(.uuid))", (.mig[]? | "  MIG: (UUID: \(.uuid))")' "$scenario" ;;
  *) exit 2 ;;
esac
"#;

/// Graphics processors that count as really there, and the tool that says what they are.
pub(crate) struct RealGpus {
    /// The driver's library; none = where the system looks for it.
    library: Option<PathBuf>,
    /// The tool's command line, up to its options.
    tool: Vec<OsString>,
}

/// What the tool says of one. What is none cannot be told of it.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) key: String,
    pub(crate) uuid: String,
    pub(crate) model: String,
    pub(crate) memory: Option<f64>,
    pub(crate) memory_used: Option<f64>,
    pub(crate) utilization_percent: Option<f64>,
    pub(crate) temperature_celsius: Option<f64>,
    pub(crate) power_watts: Option<f64>,
}

/// What the tool says of a process that computes.
#[derive(Clone, Debug)]
pub(crate) struct SaidProcess {
    pub(crate) uuid: String,
    pub(crate) pid: u64,
    pub(crate) memory: Option<f64>,
}

impl RealGpus {
    /// What `LONGSHORE_TEST_GPU` names: the driver's library, or `1` for the one that the system's loader finds.
    pub(crate) fn here() -> Option<Self> {
        let named = setting("LONGSHORE_TEST_GPU").filter(|named| !named.is_empty())?;
        let library = (named != "1").then(|| PathBuf::from(named));
        if let Some(library) = &library {
            assert!(
                library.is_file(),
                "LONGSHORE_TEST_GPU is `1` or a driver's library: {}",
                library.display()
            );
        }
        Some(Self { library, tool: vec!["nvidia-smi".into()] })
    }

    /// A simulated driver that counts as a real one, with what stands in for the tool.
    pub(crate) fn simulated(driver: &Driver) -> Self {
        let tool = driver.folder().join("nvidia-smi");
        std::fs::write(&tool, STAND_IN).unwrap();
        Self { library: Some(driver.path()), tool: vec!["sh".into(), tool.into()] }
    }

    /// The settings of a server whose machine has them.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        self.library.iter().map(|library| ("machine.nvml", library.display().to_string())).collect()
    }

    /// What the tool says of each; never none, or there would be nothing to compare with.
    pub(crate) fn said(&self) -> Vec<Said> {
        let rows = self.table(&format!("--query-gpu={COLUMNS}"));
        assert!(!rows.is_empty(), "{:?} knows of no GPU: nothing can be compared", self.tool);
        let row = |row: Vec<String>| {
            let [key, uuid, model, memory, memory_used, utilization, temperature, power] =
                <[String; 8]>::try_from(row).expect("as many columns as were asked for");
            Said {
                key,
                uuid,
                model,
                memory: number(&memory),
                memory_used: number(&memory_used),
                utilization_percent: number(&utilization),
                temperature_celsius: number(&temperature),
                power_watts: number(&power),
            }
        };
        rows.into_iter().map(row).collect()
    }

    /// The processes that compute; there may be none.
    pub(crate) fn processes(&self) -> Vec<SaidProcess> {
        let row = |row: Vec<String>| {
            let [uuid, pid, memory] =
                <[String; 3]>::try_from(row).expect("as many columns as were asked for");
            SaidProcess { uuid, pid: pid.parse().unwrap(), memory: number(&memory) }
        };
        self.table("--query-compute-apps=gpu_uuid,pid,used_memory").into_iter().map(row).collect()
    }

    /// The ids of all, and of the instances of those that are divided.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        let listed = self.ask(&["-L"]);
        let id = |line: &str| Some(line.split_once("(UUID: ")?.1.split_once(')')?.0.to_owned());
        let ids: BTreeSet<String> = listed.lines().filter_map(id).collect();
        assert!(!ids.is_empty(), "{:?} lists no GPU: nothing can be compared", self.tool);
        ids
    }

    fn table(&self, query: &str) -> Vec<Vec<String>> {
        let cells = |line: &str| line.split(", ").map(|cell| cell.trim().to_owned()).collect();
        self.ask(&[query, "--format=csv,noheader,nounits"]).lines().map(cells).collect()
    }

    fn ask(&self, options: &[&str]) -> String {
        let mut tool = Command::new(&self.tool[0]);
        let output = tool.args(&self.tool[1..]).args(options).output();
        let output =
            output.unwrap_or_else(|error| panic!("{:?} says what must be shown: {error}", self.tool));
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?} {options:?}: {problem}", self.tool);
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Whether NVIDIA's container toolkit is installed here, so that an engine can give its containers real ones.
pub(crate) fn has_toolkit() -> bool {
    let found = Command::new("sh").args(["-c", "command -v nvidia-container-runtime-hook"]).output();
    found.is_ok_and(|found| found.status.success())
}

/// The numbers of the devices in `/dev` that belong to a graphics processor, from the driver.
pub(crate) fn device_of(uuid: &str) -> String {
    for folder in std::fs::read_dir("/proc/driver/nvidia/gpus").unwrap() {
        let text = std::fs::read_to_string(folder.unwrap().path().join("information")).unwrap();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        if value("GPU UUID").as_deref() == Some(uuid) {
            return format!("nvidia{}", value("Device Minor").expect("the driver numbers its devices"));
        }
    }
    panic!("the driver knows no {uuid}")
}

/// The tool's word for what it cannot tell is in brackets, or just `N/A`.
fn number(cell: &str) -> Option<f64> {
    let is_missing = cell.starts_with('[') || cell == "N/A";
    (!is_missing).then(|| cell.parse().unwrap_or_else(|_| panic!("`{cell}` is no number")))
}

/// Where what Longshore shows is not what the tool said just before and just after. Instances of divided ones are not among it.
pub(crate) fn differences(shown: &[Value], before: &[Said], after: &[Said]) -> Vec<String> {
    let is_whole = |gpu: &&Value| !gpu["key"].as_str().unwrap().contains('.');
    let whole: Vec<&Value> = shown.iter().filter(is_whole).collect();
    if (whole.len(), after.len()) != (before.len(), before.len()) {
        return vec![format!("{} are shown, {} were said, then {}", whole.len(), before.len(), after.len())];
    }
    let pairs = whole.into_iter().zip(before.iter().zip(after));
    pairs.flat_map(|(gpu, (before, after))| differences_of(gpu, before, after)).collect()
}

fn differences_of(gpu: &Value, before: &Said, after: &Said) -> Vec<String> {
    let text = |column: &str, said: &str| {
        (gpu[column] != said).then(|| format!("{column} is {} instead of `{said}`", gpu[column]))
    };
    let near = |column: &str, of: fn(&Said) -> Option<f64>, slack: f64| {
        let is_near = match (gpu[column].as_f64(), of(before), of(after)) {
            (Some(shown), Some(before), Some(after)) => {
                (before.min(after) - slack..=before.max(after) + slack).contains(&shown)
            }
            (None, None, None) => gpu[column].is_null(),
            _ => false,
        };
        let (before, after) = (of(before), of(after));
        (!is_near).then(|| format!("{column} is {}, said was {before:?}, then {after:?}", gpu[column]))
    };
    let found = [
        text("key", &before.key),
        text("uuid", &before.uuid),
        text("type", &before.model),
        // Bytes that are no whole number of MiB are cut off by one and rounded by the other.
        near("memory", |said| said.memory, 1.0),
        near("memory_used", |said| said.memory_used, MEMORY_MIB_SLACK),
        near("utilization_percent", |said| said.utilization_percent, UTILIZATION_SLACK),
        near("temperature_celsius", |said| said.temperature_celsius, CELSIUS_SLACK),
        near("power_watts", |said| said.power_watts, WATTS_SLACK),
    ];
    found.into_iter().flatten().map(|what| format!("GPU {}: {what}", before.key)).collect()
}

/// Where the processes that Longshore shows are not those that the tool named. It names those that compute; who draws is shown, too.
pub(crate) fn process_differences(shown: &[Value], said: &[SaidProcess]) -> Vec<String> {
    let difference = |process: &SaidProcess| {
        let SaidProcess { uuid, pid, memory } = process;
        let is_it = |shown: &&Value| shown["pid"] == *pid;
        let gpu = shown.iter().find(|gpu| gpu["uuid"] == *uuid);
        let found = gpu.and_then(|gpu| gpu["processes"].as_array()?.iter().find(is_it));
        match (found.map(|found| found["memory"].as_f64()), memory) {
            (None, _) => Some(format!("process {pid} on {uuid} is not shown")),
            (Some(None), None) => None,
            (Some(Some(shown)), Some(said)) if (shown - said).abs() <= MEMORY_MIB_SLACK => None,
            (Some(shown), said) => Some(format!("process {pid} uses {shown:?}, said was {said:?}")),
        }
    };
    said.iter().filter_map(difference).collect()
}
