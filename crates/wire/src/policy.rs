//! What a container may ask for. One function, called by the server before a row is written and by the agent before
//! its engine hears of it (there with the machine's own root-owned policy).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::containers::{Bind, ContainerSpec};
use crate::limits::Limits;
use crate::terminals::{ExecSpec, SIZE_MAX};
use crate::volumes::VolumeMount;

/// Least processor time in thousandths of a core: kernels refuse a smaller share of a period.
const CPU_MILLIS_MIN: u32 = 10;
/// Least shared memory in bytes: a page or less holds nothing.
const SHM_BYTES_MIN: u64 = 64 << 10;

/// The variable by which NVIDIA's toolkit decides what a container sees. It belongs to the platform.
pub const GPUS_VARIABLE: &str = "NVIDIA_VISIBLE_DEVICES";

/// The bounds. On an agent they come from `agent-policy.toml`; the defaults are these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Where ports may be published to the network; none = only to the machine itself.
    pub lan: Option<LanPorts>,
    /// First port that may be published to the machine itself.
    pub port_first: u16,
    /// Last port that may be published to the machine itself.
    pub port_last: u16,
    /// Published ports per container.
    pub ports: usize,
    /// Least memory in bytes; engines refuse less than 6 MiB.
    pub memory_bytes_min: u64,
    /// Most memory in bytes.
    pub memory_bytes_max: u64,
    /// Memory when none is asked for.
    pub memory_bytes_default: u64,
    /// Most processor time in thousandths of a core.
    pub cpu_millis_max: u32,
    /// Processor time when none is asked for.
    pub cpu_millis_default: u32,
    /// Most processes.
    pub pids_max: u32,
    /// Processes when none are asked for.
    pub pids_default: u32,
    /// Variables of the environment.
    pub env: usize,
    /// Bytes of environment, command and entry point together.
    pub text_bytes: usize,
    /// Graphics processors per container; 0 keeps them all from containers.
    pub gpus: usize,
    /// Volumes per container.
    pub volumes: usize,
}

/// Where ports of containers may be published to the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LanPorts {
    /// The machine's address on that network; `0.0.0.0` for all that it has.
    #[schema(value_type = String, example = "192.168.1.20")]
    pub address: IpAddr,
    /// First port.
    pub port_first: u16,
    /// Last port.
    pub port_last: u16,
}

impl LanPorts {
    /// From the first to the last.
    pub fn range(&self) -> RangeInclusive<u16> {
        self.port_first..=self.port_last
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            lan: None,
            port_first: 20_000,
            port_last: 29_999,
            ports: 32,
            memory_bytes_min: 6 << 20,
            memory_bytes_max: 1 << 40,
            memory_bytes_default: 1 << 30,
            cpu_millis_max: 1_024_000,
            cpu_millis_default: 1_000,
            pids_max: 32_768,
            pids_default: 1_024,
            env: 256,
            text_bytes: 128 << 10,
            gpus: 16,
            volumes: 32,
        }
    }
}

/// One thing that a container may not ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("`{field}` {message}")]
pub struct Violation {
    /// The field, as in the request: `ports[0].host`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl Policy {
    /// The ports that may be published so; none when none may.
    pub fn ports_of(&self, bind: Bind) -> Option<RangeInclusive<u16>> {
        match bind {
            Bind::Loopback => Some(self.port_first..=self.port_last),
            Bind::Lan => self.lan.as_ref().map(LanPorts::range),
        }
    }

    /// Lists every violation, not only the first.
    pub fn check(&self, spec: &ContainerSpec) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut refuse = |field: String, message: String| violations.push(Violation { field, message });

        if spec.ports.len() > self.ports {
            refuse(
                "ports".into(),
                format!("holds {}; at most {} can be published", spec.ports.len(), self.ports),
            );
        }
        for (i, port) in spec.ports.iter().enumerate() {
            if port.container == 0 {
                refuse(format!("ports[{i}].container"), "must be 1 to 65535".into());
            }
            match (self.ports_of(port.bind), port.host) {
                (None, _) => refuse(
                    format!("ports[{i}].bind"),
                    "must be `loopback`: this machine's policy keeps ports local".into(),
                ),
                (Some(range), host) if !range.contains(&host) => {
                    let range = format!("must be {} to {}", range.start(), range.end());
                    refuse(format!("ports[{i}].host"), range);
                }
                (Some(_), _) => {}
            }
            let twice =
                |other: &crate::containers::Port| other.host == port.host && other.protocol == port.protocol;
            if spec.ports[..i].iter().any(twice) {
                refuse(format!("ports[{i}].host"), "is published twice".into());
            }
        }
        let words = [("command", spec.command.as_ref()), ("entrypoint", spec.entrypoint.as_ref())];
        self.check_texts(&spec.env, &words, spec.working_dir.as_deref(), &mut refuse);
        if spec.env.contains_key(GPUS_VARIABLE) {
            refuse(format!("env.{GPUS_VARIABLE}"), "is set by the platform: ask for GPUs with `gpus`".into());
        }
        if spec.gpus.len() > self.gpus {
            let message = match self.gpus {
                0 => "are kept from containers by this machine's policy".to_owned(),
                gpus => format!("are {}; at most {gpus} can be had", spec.gpus.len()),
            };
            refuse("gpus".into(), message);
        }
        if (1..spec.gpus.len()).any(|i| spec.gpus[..i].contains(&spec.gpus[i])) {
            refuse("gpus".into(), "name one twice".into());
        }
        self.check_volumes(&spec.volumes, &mut refuse);
        violations.extend(self.check_limits(&spec.limits()));
        violations.extend(self.check_shm(spec.shm_bytes, spec.memory_bytes));
        violations
    }

    /// The same for limits alone.
    pub fn check_limits(&self, limits: &Limits) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut refuse =
            |field: &str, message: String| violations.push(Violation { field: field.into(), message });
        if !(self.memory_bytes_min..=self.memory_bytes_max).contains(&limits.memory_bytes) {
            let message = format!("must be {} to {} bytes", self.memory_bytes_min, self.memory_bytes_max);
            refuse("memory_bytes", message);
        }
        if !(CPU_MILLIS_MIN..=self.cpu_millis_max).contains(&limits.cpu_millis) {
            refuse("cpu_millis", format!("must be {CPU_MILLIS_MIN} to {}", self.cpu_millis_max));
        }
        if !(1..=self.pids_max).contains(&limits.pids) {
            refuse("pids", format!("must be 1 to {}", self.pids_max));
        }
        violations
    }

    /// Shared memory is memory of the container: more than all of it cannot be had.
    pub fn check_shm(&self, shm_bytes: Option<u64>, memory_bytes: u64) -> Option<Violation> {
        let bytes = shm_bytes?;
        if (SHM_BYTES_MIN..=memory_bytes).contains(&bytes) {
            return None;
        }
        let message = format!("must be {SHM_BYTES_MIN} bytes to the {memory_bytes} of its memory");
        Some(Violation { field: "shm_bytes".into(), message })
    }

    /// Where volumes may be: beside what is the kernel's, the engine's or everything.
    fn check_volumes(&self, volumes: &[VolumeMount], refuse: &mut impl FnMut(String, String)) {
        if volumes.len() > self.volumes {
            let message = format!("holds {}; at most {} can be had", volumes.len(), self.volumes);
            refuse("volumes".into(), message);
        }
        for (i, volume) in volumes.iter().enumerate() {
            let target = volume.target.as_str();
            let field = || format!("volumes[{i}].target");
            let mut parts = target.split('/').skip(1);
            let is_path = target.starts_with('/')
                && target.len() <= 1024
                && !target.chars().any(char::is_control)
                && parts.all(|part| !matches!(part, "" | "." | ".."));
            if !is_path {
                let rule = "must be an absolute path of at most 1024 bytes, without `.`, `..`, doubled or trailing slashes";
                refuse(field(), rule.into());
            } else if is_kept(target) {
                refuse(field(), "must not be what belongs to the engine or the kernel".into());
            } else if volumes[..i].iter().any(|other| other.target == target) {
                refuse(field(), "is named twice".into());
            }
        }
    }

    /// The same for a command that is to run in a container.
    pub fn check_exec(&self, exec: &ExecSpec) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut refuse = |field: String, message: String| violations.push(Violation { field, message });

        if exec.command.first().is_none_or(String::is_empty) {
            refuse("command".into(), "must name a program".into());
        }
        let words = [("command", Some(&exec.command))];
        self.check_texts(&exec.env, &words, exec.working_dir.as_deref(), &mut refuse);
        if !exec.size.is_valid() {
            refuse("columns".into(), format!("and `rows` must be 1 to {SIZE_MAX}"));
        }
        violations
    }

    /// What a program is given in words: bounded in number and length, and nothing in it that ends a C string early.
    fn check_texts(
        &self,
        env: &BTreeMap<String, String>,
        lists: &[(&str, Option<&Vec<String>>)],
        working_dir: Option<&str>,
        refuse: &mut impl FnMut(String, String),
    ) {
        if env.len() > self.env {
            refuse("env".into(), format!("holds {} variables; at most {} can be set", env.len(), self.env));
        }
        for (name, value) in env {
            if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_control) {
                refuse("env".into(), format!("has the name `{}`, which is not one", name.escape_debug()));
            } else if value.contains('\0') {
                refuse(format!("env.{name}"), "holds a NUL character".into());
            }
        }
        for (field, words) in lists {
            if words.iter().copied().flatten().any(|word| word.contains('\0')) {
                refuse((*field).into(), "holds a NUL character".into());
            }
        }
        if let Some(folder) = working_dir
            && (!folder.starts_with('/') || folder.len() > 1024 || folder.chars().any(char::is_control))
        {
            refuse("working_dir".into(), "must be an absolute path of at most 1024 bytes".into());
        }
        let words = lists.iter().filter_map(|(_, words)| *words).flatten();
        let text_bytes = env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            + words.map(String::len).sum::<usize>();
        if text_bytes > self.text_bytes {
            let message = format!("with all words is {text_bytes} bytes; at most {}", self.text_bytes);
            refuse("env".into(), message);
        }
    }
}

/// Whether a path is the engine's or the kernel's in every container.
fn is_kept(path: &str) -> bool {
    let is_in =
        |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ["/proc", "/sys", "/dev"].into_iter().any(is_in)
        || ["/etc", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"].contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::{Port, Protocol};

    fn honest() -> ContainerSpec {
        ContainerSpec {
            ports: vec![Port {
                container: 80,
                protocol: Protocol::Tcp,
                host: 20_000,
                bind: Bind::Loopback,
                is_pooled: false,
            }],
            env: [("A".to_owned(), "b".to_owned())].into(),
            command: Some(vec!["serve".into()]),
            entrypoint: None,
            working_dir: Some("/srv".into()),
            memory_bytes: 64 << 20,
            cpu_millis: 500,
            pids: 64,
            gpus: vec!["GPU-1".parse().unwrap()],
            shm_bytes: None,
            volumes: vec![volume("/data")],
            tty: false,
        }
    }

    fn volume(target: &str) -> VolumeMount {
        let name = "data".parse().unwrap();
        VolumeMount { volume: crate::ids::VolumeId(1), name, target: target.into(), is_read_only: false }
    }

    fn fields(change: impl FnOnce(&mut ContainerSpec)) -> Vec<String> {
        let mut spec = honest();
        change(&mut spec);
        Policy::default().check(&spec).into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn an_honest_container_passes() {
        assert_eq!(fields(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn each_bound_is_held() {
        assert_eq!(fields(|s| s.ports[0].host = 22), ["ports[0].host"]);
        assert_eq!(fields(|s| s.ports[0].host = 30_000), ["ports[0].host"]);
        assert_eq!(fields(|s| s.ports[0].container = 0), ["ports[0].container"]);
        assert_eq!(fields(|s| s.ports[0].bind = Bind::Lan), ["ports[0].bind"]);
        assert_eq!(fields(|s| s.ports.push(s.ports[0].clone())), ["ports[1].host"]);
        let lan = LanPorts { address: [192, 0, 2, 1].into(), port_first: 30_000, port_last: 30_010 };
        let open = Policy { lan: Some(lan), ..Policy::default() };
        for (host, bind, refused) in [
            (30_000, Bind::Lan, None),
            (30_010, Bind::Lan, None),
            (30_011, Bind::Lan, Some("ports[0].host")),
            (20_000, Bind::Lan, Some("ports[0].host")),
            (30_000, Bind::Loopback, Some("ports[0].host")),
            (20_000, Bind::Loopback, None),
        ] {
            let mut spec = honest();
            (spec.ports[0].host, spec.ports[0].bind) = (host, bind);
            let found = open.check(&spec);
            assert_eq!(found.first().map(|violation| violation.field.as_str()), refused, "{host} {bind:?}");
        }
        assert_eq!(fields(|s| s.memory_bytes = 1), ["memory_bytes"]);
        assert_eq!(fields(|s| s.memory_bytes = u64::MAX), ["memory_bytes"]);
        assert_eq!(fields(|s| s.cpu_millis = 9), ["cpu_millis"]);
        assert_eq!(fields(|s| s.pids = 0), ["pids"]);
        assert_eq!(fields(|s| s.pids = 1_000_000), ["pids"]);
        assert_eq!(fields(|s| s.gpus.push(s.gpus[0].clone())), ["gpus"]);
        assert_eq!(
            fields(|s| s.gpus = (0..17).map(|i| format!("GPU-{i}").parse().unwrap()).collect()),
            ["gpus"]
        );
        assert_eq!(
            fields(|s| drop(s.env.insert(GPUS_VARIABLE.into(), "all".into()))),
            ["env.NVIDIA_VISIBLE_DEVICES"]
        );
        assert_eq!(fields(|s| s.working_dir = Some("relative".into())), ["working_dir"]);
        assert_eq!(fields(|s| s.shm_bytes = Some(1)), ["shm_bytes"]);
        assert_eq!(fields(|s| s.shm_bytes = Some((64 << 20) + 1)), ["shm_bytes"]);
        assert_eq!(fields(|s| s.volumes = (0..33).map(|i| volume(&format!("/v{i}"))).collect()), ["volumes"]);
        assert_eq!(fields(|s| s.volumes.push(volume("/data"))), ["volumes[1].target"]);
        for target in [
            "",
            "data",
            "/",
            "//",
            "/a/",
            "/a//b",
            "/a/../b",
            "/./a",
            "/proc",
            "/proc/self",
            "/sys/fs",
            "/dev/shm",
            "/etc",
            "/etc/hosts",
            "/a\nb",
        ] {
            assert_eq!(fields(|s| s.volumes = vec![volume(target)]), ["volumes[0].target"], "{target}");
        }
        for target in ["/etc/app", "/process", "/a/b.c", "/home/me"] {
            assert_eq!(fields(|s| s.volumes = vec![volume(target)]), Vec::<String>::new(), "{target}");
        }
        assert_eq!(fields(|s| s.command = Some(vec!["a\0".into()])), ["command"]);
        assert_eq!(fields(|s| drop(s.env.insert("A=B".into(), String::new()))), ["env"]);
        assert_eq!(fields(|s| drop(s.env.insert("BIG".into(), "x".repeat(200_000)))), ["env"]);
        assert_eq!(fields(|s| s.env = (0..300).map(|i| (format!("V{i}"), String::new())).collect()), ["env"]);
        assert_eq!(
            fields(|s| s.ports = (0..33).map(|i| Port { host: 20_000 + i, ..s.ports[0].clone() }).collect()),
            ["ports"]
        );
    }

    #[test]
    fn a_command_in_a_container_is_held_to_bounds_too() {
        use crate::terminals::TerminalSize;

        let fields = |change: fn(&mut ExecSpec)| {
            let mut exec = ExecSpec {
                command: vec!["sh".into()],
                is_tty: true,
                has_input: true,
                env: [("TERM".to_owned(), "xterm".to_owned())].into(),
                working_dir: None,
                size: TerminalSize::default(),
            };
            change(&mut exec);
            let violations = Policy::default().check_exec(&exec);
            violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
        };

        assert_eq!(fields(|_| ()), Vec::<String>::new());
        assert_eq!(fields(|e| e.command.clear()), ["command"]);
        assert_eq!(fields(|e| e.command = vec![String::new(), "x".into()]), ["command"]);
        assert_eq!(fields(|e| e.command.push("a\0b".into())), ["command"]);
        assert_eq!(fields(|e| e.command.push("x".repeat(200_000))), ["env"]);
        assert_eq!(fields(|e| drop(e.env.insert("A=B".into(), String::new()))), ["env"]);
        assert_eq!(fields(|e| e.working_dir = Some("..".into())), ["working_dir"]);
        assert_eq!(fields(|e| e.size.rows = 0), ["columns"]);
        assert_eq!(fields(|e| e.size.columns = 1001), ["columns"]);
    }

    #[test]
    fn a_machine_can_keep_its_graphics_processors_to_itself() {
        let policy = Policy { gpus: 0, ..Policy::default() };

        let violations = policy.check(&honest());

        assert_eq!(violations.len(), 1);
        assert!(violations[0].to_string().contains("kept from containers"), "{}", violations[0]);
        assert_eq!(policy.check(&ContainerSpec { gpus: Vec::new(), ..honest() }), []);
    }

    #[test]
    fn every_violation_is_listed() {
        let listed = fields(|s| {
            s.cpu_millis = 0;
            s.memory_bytes = 0;
        });

        assert_eq!(listed, ["memory_bytes", "cpu_millis"]);
    }
}
