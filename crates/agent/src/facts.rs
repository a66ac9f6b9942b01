//! What the machine is: processors, memory, disk, address. Graphics processors are read by `gpu`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use sysinfo::{DiskRefreshKind, Disks, MemoryRefreshKind, System};
use wire::ids::MachineId;
use wire::machines::{Capacity, CpuFacts, MachineFacts};

use crate::{Agent, Error};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// What is left of memory or disk may move by this share of the total before it is news.
const NOTICEABLE_PERCENT: u64 = 5;

/// The machine's id: systemd's, else one that is made once and kept.
pub fn machine_id(state_dir: &Path) -> Result<MachineId, Error> {
    let kept = state_dir.join("machine-id");
    for path in [Path::new("/etc/machine-id"), &kept] {
        let id = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<MachineId>().ok());
        // systemd writes `uninitialized` into the file of an image that has not booted yet.
        if let Some(id) = id.filter(|id| id.as_str() != "uninitialized") {
            return Ok(id);
        }
    }
    let id = uuid::Uuid::now_v7().simple().to_string();
    std::fs::create_dir_all(state_dir)
        .and_then(|()| std::fs::write(&kept, format!("{id}\n")))
        .map_err(|source| Error::MachineId { path: kept, source })?;
    Ok(id.parse().expect("hex digits are a machine id"))
}

/// Asks the machine and its engine. Never fails: what is not known is left empty.
pub(crate) async fn gather(agent: &Agent) -> MachineFacts {
    let engine = agent.engine().info().await.ok();
    let data_root = engine.as_ref().map(|info| info.data_root.clone());
    let machine_id = agent.machine_id().clone();
    let registry = agent.engine().registry().to_owned();
    let lan = agent.policy().lan.clone();
    // Reads `/proc` and asks file systems, one of which may hang.
    let read = tokio::task::spawn_blocking(move || MachineFacts {
        machine_id,
        hostname: System::host_name().unwrap_or_default(),
        ip: address(),
        cpu: sockets(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        gpu: BTreeMap::new(),
        memory: memory(),
        disk: disk(data_root.as_deref().unwrap_or("/var/lib/docker")),
        engine_version: None,
        os: operating_system(),
        architecture: architecture().to_owned(),
        registry,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        lan,
    });
    let facts = read.await.expect("reading facts does not panic");
    let gpu = agent.gpus().found().await.facts.clone();
    MachineFacts { engine_version: engine.map(|info| info.version), gpu, ..facts }
}

/// Whether a change is worth telling: memory and disk always move a little.
pub(crate) fn is_noticeable(old: &MachineFacts, new: &MachineFacts) -> bool {
    let moved = |old: Capacity, new: Capacity| {
        old.total != new.total || old.free.abs_diff(new.free) * 100 > new.total * NOTICEABLE_PERCENT
    };
    let still = MachineFacts { memory: old.memory, disk: old.disk, ..new.clone() };
    moved(old.memory, new.memory) || moved(old.disk, new.disk) || still != *old
}

/// The address from which this machine would leave for the outside. Nothing is sent.
fn address() -> String {
    let route = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        // TEST-NET-1: routed like any address, and nobody's.
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    match route {
        Ok(address) if !address.ip().is_unspecified() => address.ip().to_string(),
        _ => interface_address().unwrap_or_else(|| Ipv4Addr::LOCALHOST.to_string()),
    }
}

/// For a machine without a way out: the first address that is not its own loopback.
fn interface_address() -> Option<String> {
    let networks = sysinfo::Networks::new_with_refreshed_list().ok()?;
    let mut addresses: Vec<_> = networks
        .iter()
        .flat_map(|(name, data)| data.ip_networks().iter().map(move |network| (name.clone(), network.addr)))
        .filter(|(name, address)| {
            address.is_ipv4() && !address.is_loopback() && !name.to_string_lossy().starts_with("docker")
        })
        .collect();
    addresses.sort();
    addresses.first().map(|(_, address)| address.to_string())
}

fn memory() -> Capacity {
    let Ok(mut system) = System::new() else { return Capacity::default() };
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    Capacity { total: system.total_memory() / MIB, free: system.available_memory() / MIB }
}

/// The file system that holds the folder: the one with the longest mount point above it.
fn disk(folder: &str) -> Capacity {
    let refresh = DiskRefreshKind::nothing().with_storage();
    let Ok(disks) = Disks::new_with_refreshed_list_specifics(refresh) else { return Capacity::default() };
    let holder = disks
        .iter()
        .filter(|disk| Path::new(folder).starts_with(disk.mount_point()))
        .max_by_key(|disk| disk.mount_point().as_os_str().len());
    holder.map_or_else(Capacity::default, |disk| Capacity {
        total: disk.total_space() / GIB,
        free: disk.available_space() / GIB,
    })
}

fn operating_system() -> String {
    let name = System::long_os_version().unwrap_or_else(|_| "Linux".to_owned());
    match System::kernel_version() {
        Ok(kernel) => format!("{name}, kernel {kernel}"),
        Err(_) => name,
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `/proc/cpuinfo` as one entry per socket. Where the kernel names no sockets (ARM), all processors are one.
fn sockets(cpuinfo: &str) -> BTreeMap<String, CpuFacts> {
    let mut sockets: BTreeMap<u32, CpuFacts> = BTreeMap::new();
    for processor in cpuinfo.split("\n\n") {
        let value = |key: &str| {
            processor
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.trim() == key)
                .map(|(_, value)| value.trim())
        };
        if value("processor").is_none() {
            continue;
        }
        let socket = value("physical id").and_then(|id| id.parse().ok()).unwrap_or(0);
        let model = value("model name").unwrap_or(std::env::consts::ARCH).to_owned();
        sockets.entry(socket).or_insert(CpuFacts { model, cores: 0 }).cores += 1;
    }
    // Numbered from 0 without holes, whatever numbers the firmware gave.
    sockets.into_values().enumerate().map(|(index, facts)| (index.to_string(), facts)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_per_socket() {
        let processor = |n: u32, socket: u32| {
            format!("processor\t: {n}\nmodel name\t: Xeon Gold\nphysical id\t: {socket}\ncore id\t: 0\n\n")
        };
        let cpuinfo: String = (0..8).map(|n| processor(n, if n < 6 { 0 } else { 3 })).collect();

        let sockets = sockets(&cpuinfo);

        let counts: Vec<_> =
            sockets.iter().map(|(key, cpu)| (key.as_str(), cpu.cores, cpu.model.as_str())).collect();
        assert_eq!(counts, [("0", 6, "Xeon Gold"), ("1", 2, "Xeon Gold")]);
    }

    #[test]
    fn processors_without_a_socket_are_one() {
        let sockets = sockets("processor\t: 0\nBogoMIPS\t: 50\n\nprocessor\t: 1\nBogoMIPS\t: 50\n");

        assert_eq!(sockets.len(), 1);
        assert_eq!(sockets["0"].cores, 2);
    }

    #[test]
    fn this_machine_has_memory_disk_and_an_address() {
        assert!(memory().total > 0 && memory().free > 0);
        assert!(disk("/var/lib/docker").total > 0);
        assert!(address().parse::<std::net::IpAddr>().is_ok());
    }

    #[test]
    fn a_machine_without_an_id_keeps_the_one_it_makes() {
        let folder = tempfile::tempdir().unwrap();

        let first = machine_id(folder.path()).unwrap();

        assert_eq!(machine_id(folder.path()).unwrap(), first);
    }
}
