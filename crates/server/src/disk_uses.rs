//! What volumes and containers were last seen to hold on the machines' disks. In memory alone: it is counted again after a
//! restart, and nothing is written while containers only work.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use wire::ids::{AccountId, ContainerId, MachineId, VolumeId};

/// All machines.
#[derive(Debug, Default)]
pub struct DiskUses {
    machines: Mutex<HashMap<MachineId, DiskUse>>,
}

/// One machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Bytes in each volume, and whose it is.
    pub volumes: HashMap<VolumeId, (AccountId, u64)>,
    /// Bytes that each container has written beside its volumes, and whose it is.
    pub containers: HashMap<ContainerId, (AccountId, u64)>,
}

impl DiskUses {
    /// Keeps what was counted on a machine; it replaces what was known of it.
    pub fn put(&self, machine: &MachineId, counted: DiskUse) {
        self.machines().insert(machine.clone(), counted);
    }

    /// Forgets machines that are none any more.
    pub fn keep_only(&self, machines: &[MachineId]) {
        self.machines().retain(|machine, _| machines.contains(machine));
    }

    /// Bytes in a volume; none when they were not counted yet.
    pub fn of_volume(&self, machine: &MachineId, volume: VolumeId) -> Option<u64> {
        Some(self.machines().get(machine)?.volumes.get(&volume)?.1)
    }

    /// Bytes that an account holds on all machines, as far as they were counted.
    pub fn of_account(&self, account: AccountId) -> u64 {
        let machines = self.machines();
        let held = |use_: &DiskUse| {
            let of_volumes = use_.volumes.values();
            let all = of_volumes.chain(use_.containers.values()).filter(|(of, _)| *of == account);
            all.fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes))
        };
        machines.values().map(held).fold(0, u64::saturating_add)
    }

    fn machines(&self) -> MutexGuard<'_, HashMap<MachineId, DiskUse>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_charged_for_what_it_has_on_all_machines() {
        let (alice, bob) = (AccountId(1), AccountId(2));
        let machine = |name: &str| name.parse::<MachineId>().unwrap();
        let uses = DiskUses::default();
        let counted = |volume, bytes| DiskUse {
            volumes: [(VolumeId(volume), (alice, bytes))].into(),
            containers: [(ContainerId(volume), (bob, 1)), (ContainerId(volume + 1), (alice, u64::MAX / 2))]
                .into(),
        };

        uses.put(&machine("m1"), counted(1, 5));
        assert_eq!((uses.of_account(alice), uses.of_account(bob)), (u64::MAX / 2 + 5, 1));
        uses.put(&machine("m2"), counted(3, 7));
        assert_eq!((uses.of_account(alice), uses.of_account(bob)), (u64::MAX, 2));
        assert_eq!(uses.of_volume(&machine("m1"), VolumeId(1)), Some(5));
        assert_eq!(uses.of_volume(&machine("m2"), VolumeId(1)), None);
        uses.keep_only(&[machine("m1")]);
        assert_eq!(uses.of_account(bob), 1);
    }
}
