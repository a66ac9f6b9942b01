//! What the machines were last seen doing. Kept in memory alone: a watch begins with everything there is, so after a
//! restart of anything this is right again.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use tokio::sync::Notify;
use wire::gpus::GPUS_MAX;
use wire::ids::{ContainerId, MachineId};
use wire::link::ObservedContainer;

/// Of the engine's word on why a container could not start; agents send less.
const COMPLAINT_BYTES_MAX: usize = 4 << 10;
/// Digits of an engine's id.
const ENGINE_ID_DIGITS: usize = 64;

/// Whether an engine can have such a container: an agent is not trusted to be right or brief.
pub(super) fn is_plausible(seen: &ObservedContainer) -> bool {
    let is_id = seen.engine_id.len() == ENGINE_ID_DIGITS
        && seen.engine_id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let is_brief = seen.error.as_ref().is_none_or(|error| error.len() <= COMPLAINT_BYTES_MAX);
    is_id && is_brief && seen.gpus.len() <= GPUS_MAX
}

/// All machines.
#[derive(Debug, Default)]
pub(super) struct World {
    machines: Mutex<Machines>,
    /// Told when something was seen that may need a step.
    pub(super) wake: Notify,
}

#[derive(Debug, Default)]
struct Machines {
    known: HashMap<MachineId, Machine>,
    /// Counts what was seen, so that an answer can be told from what was seen after its question.
    version: u64,
    /// What was seen since the reconciler looked last.
    dirty: HashSet<(MachineId, ContainerId)>,
}

#[derive(Debug, Default)]
struct Machine {
    containers: HashMap<ContainerId, Seen>,
}

#[derive(Debug)]
struct Seen {
    container: ObservedContainer,
    version: u64,
}

/// What is known of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Its machine cannot be seen.
    Unreachable,
    /// Its machine has no such container.
    Absent,
    /// It was seen like this.
    Present(ObservedContainer),
}

impl World {
    fn machines(&self) -> std::sync::MutexGuard<'_, Machines> {
        self.machines.lock().expect("no code panics while it holds this lock")
    }

    /// What is known of a container.
    pub(super) fn view(&self, machine: &MachineId, id: ContainerId) -> View {
        match self.machines().known.get(machine) {
            None => View::Unreachable,
            Some(machine) => match machine.containers.get(&id) {
                None => View::Absent,
                Some(seen) => View::Present(seen.container.clone()),
            },
        }
    }

    /// The machines that can be seen.
    pub(super) fn reachable(&self) -> Vec<MachineId> {
        self.machines().known.keys().cloned().collect()
    }

    /// Whether a machine can be seen.
    pub(super) fn is_reachable(&self, machine: &MachineId) -> bool {
        self.machines().known.contains_key(machine)
    }

    /// The containers that a machine has.
    pub(super) fn containers_of(&self, machine: &MachineId) -> HashSet<ContainerId> {
        self.machines()
            .known
            .get(machine)
            .map(|machine| machine.containers.keys().copied().collect())
            .unwrap_or_default()
    }

    /// How many containers a machine has.
    pub(super) fn count_of(&self, machine: &MachineId) -> usize {
        self.machines().known.get(machine).map_or(0, |machine| machine.containers.len())
    }

    /// Everything that a machine has; replaces what was known of it.
    pub(super) fn list(&self, machine: &MachineId, containers: Vec<ObservedContainer>) {
        let mut machines = self.machines();
        machines.version += 1;
        let version = machines.version;
        let seen = |container: ObservedContainer| (container.container, Seen { container, version });
        let containers = containers.into_iter().map(seen).collect();
        machines.known.insert(machine.clone(), Machine { containers });
    }

    /// Marks containers for a look.
    pub(super) fn mark(&self, machine: &MachineId, ids: impl IntoIterator<Item = ContainerId>) {
        self.machines().dirty.extend(ids.into_iter().map(|id| (machine.clone(), id)));
        self.wake.notify_one();
    }

    /// One container, as the machine reports it.
    pub(super) fn changed(&self, machine: &MachineId, container: ObservedContainer) {
        let id = container.container;
        self.put(machine, container);
        self.mark(machine, [id]);
    }

    /// One container, unless a newer look at it is known: reports and answers come by different ways, and the end of a
    /// process must not be believed after the start that followed it.
    pub(super) fn put(&self, machine: &MachineId, container: ObservedContainer) {
        let mut machines = self.machines();
        machines.version += 1;
        let version = machines.version;
        let Some(machine) = machines.known.get_mut(machine) else { return };
        let known = machine.containers.get(&container.container);
        if known.is_none_or(|known| known.container.look <= container.look) {
            machine.containers.insert(container.container, Seen { container, version });
        }
    }

    /// A container is gone; a newer one under the same number stays.
    pub(super) fn removed(&self, machine: &MachineId, id: ContainerId, engine_id: &str) {
        if let Some(machine) = self.machines().known.get_mut(machine)
            && machine.containers.get(&id).is_some_and(|seen| seen.container.engine_id == engine_id)
        {
            machine.containers.remove(&id);
        }
        self.mark(machine, [id]);
    }

    /// A machine cannot be seen any more.
    pub(super) fn lost(&self, machine: &MachineId) {
        let mut machines = self.machines();
        machines.known.remove(machine);
        machines.dirty.retain(|(its_machine, _)| its_machine != machine);
    }

    /// The count of what was seen, to give to [`World::answered`] with the answer to a question asked now.
    pub(super) fn version(&self) -> u64 {
        self.machines().version
    }

    /// What a call answered about a container. That there is none counts only when nothing was reported of it since the
    /// call began, because nobody looked at what is not there: then the report may be newer than the answer.
    pub(super) fn answered(
        &self,
        machine: &MachineId,
        id: ContainerId,
        asked_at: u64,
        container: Option<ObservedContainer>,
    ) {
        if let Some(container) = container {
            return self.put(machine, container);
        }
        let mut machines = self.machines();
        let Some(machine) = machines.known.get_mut(machine) else { return };
        if machine.containers.get(&id).is_some_and(|seen| seen.version <= asked_at) {
            machine.containers.remove(&id);
        }
    }

    /// A container was removed for certain.
    pub(super) fn forget(&self, machine: &MachineId, id: ContainerId) {
        if let Some(machine) = self.machines().known.get_mut(machine) {
            machine.containers.remove(&id);
        }
    }

    /// Marks a container for the next look, without asking for one.
    pub(super) fn keep(&self, key: &(MachineId, ContainerId)) {
        self.machines().dirty.insert(key.clone());
    }

    /// Takes what was marked.
    pub(super) fn take_marked(&self) -> HashSet<(MachineId, ContainerId)> {
        std::mem::take(&mut self.machines().dirty)
    }
}

#[cfg(test)]
mod tests {
    use wire::link::ObservedState;

    use super::*;

    fn seen(engine_id: &str, look: u64, state: ObservedState) -> ObservedContainer {
        ObservedContainer {
            container: ContainerId(1),
            engine_id: engine_id.into(),
            state,
            exit_code: None,
            is_oom_killed: false,
            error: None,
            look,
            gpus: Vec::new(),
            started_at: None,
        }
    }

    fn world() -> (World, MachineId) {
        let (world, machine) = (World::default(), "m".parse().unwrap());
        world.list(&machine, Vec::new());
        (world, machine)
    }

    #[test]
    fn a_machine_that_was_never_listed_cannot_be_seen() {
        let (world, machine) = world();

        assert_eq!(world.view(&"other".parse().unwrap(), ContainerId(1)), View::Unreachable);
        assert_eq!(world.view(&machine, ContainerId(1)), View::Absent);
        world.lost(&machine);
        assert_eq!(world.view(&machine, ContainerId(1)), View::Unreachable);
    }

    fn state(world: &World, machine: &MachineId) -> ObservedState {
        let View::Present(container) = world.view(machine, ContainerId(1)) else { panic!("it is there") };
        container.state
    }

    #[test]
    fn the_newest_look_counts_in_whatever_order_report_and_answer_arrive() {
        let exited = seen("a", 7, ObservedState::Exited);
        let running = seen("a", 8, ObservedState::Running);

        // A restart: the end of the old process is reported before, or after, the call has answered with the new one.
        let (world, machine) = world();
        let asked_at = world.version();
        world.changed(&machine, exited.clone());
        world.answered(&machine, ContainerId(1), asked_at, Some(running.clone()));
        assert_eq!(state(&world, &machine), ObservedState::Running);
        world.changed(&machine, exited);
        assert_eq!(state(&world, &machine), ObservedState::Running);

        // The new process ends before the call has answered.
        let asked_at = world.version();
        world.changed(&machine, seen("a", 9, ObservedState::Exited));
        world.answered(&machine, ContainerId(1), asked_at, Some(running));
        assert_eq!(state(&world, &machine), ObservedState::Exited);
    }

    #[test]
    fn an_answer_that_there_is_none_does_not_hide_what_was_reported_since() {
        let (world, machine) = world();
        let asked_at = world.version();

        world.changed(&machine, seen("a", 1, ObservedState::Created));
        world.answered(&machine, ContainerId(1), asked_at, None);

        assert!(matches!(world.view(&machine, ContainerId(1)), View::Present(_)));
    }

    #[test]
    fn a_new_list_replaces_what_an_earlier_process_of_the_agent_saw() {
        let (world, machine) = world();
        world.changed(&machine, seen("a", 1_000, ObservedState::Running));

        world.list(&machine, vec![seen("a", 1, ObservedState::Exited)]);

        assert_eq!(state(&world, &machine), ObservedState::Exited);
    }

    #[test]
    fn a_late_report_of_a_removal_does_not_hide_a_newer_container() {
        let (world, machine) = world();
        world.changed(&machine, seen("new", 1, ObservedState::Created));

        world.removed(&machine, ContainerId(1), "old");

        assert!(matches!(world.view(&machine, ContainerId(1)), View::Present(_)));
    }
}
